package storetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var feedRules = map[string]func(*testing.T, store.Store){
	"Feed/has each stored event once, beside writers": feedBesideWriters,
	"Feed/goes on after each event":                   feedGoesOn,
	"Feed/has stored events only":                     feedHasStoredOnly,
	"Feed/of a large transaction":                     feedOfLargeTransaction,
	"Feed/compares the event's state":                 feedComparesState,
	"Feed/keeps to the limits of bodies":              feedKeepsToBytes,
	"Feed/ends a search that finds little":            feedEndsSearch,
	"Feed/passes over purged tasks":                   feedPassesOverPurged,
	"Feed/refuses positions that are not its own":     feedRefusesPositions,
	"TrimFeed/forgets the oldest":                     trimsOldest,
	"TrimFeed/keeps what is recent":                   trimKeepsRecent,
}

// feedBegin is the end of an empty feed.
func feedBegin(t test, s store.Store) store.FeedPosition {
	t.Helper()
	p, err := s.FeedEnd(t.Context())
	require.NoError(t, err)
	if p.Row > 1 {
		p.Row = 1
	}
	return p
}

func feed(t test, s store.Store, q store.FeedQuery) store.FeedPage {
	t.Helper()
	q.QueuePrefix = queuePrefix
	page, err := s.Feed(t.Context(), q)
	require.NoError(t, err)
	require.LessOrEqual(t, len(page.Entries), max(q.Limit, 1))
	return page
}

// feedAll reads all pages.
func feedAll(t test, s store.Store, q store.FeedQuery) []store.FeedEntry {
	t.Helper()
	var all []store.FeedEntry
	for {
		page := feed(t, s, q)
		all = append(all, page.Entries...)
		if q.From = page.Next; !page.More {
			return all
		}
	}
}

// eventName names an event.
type eventName struct {
	id     string
	number int64
}

func namesOf(entries []store.FeedEntry) []eventName {
	names := []eventName{}
	for _, e := range entries {
		names = append(names, eventName{e.Event.TaskID, e.Event.Number})
	}
	return names
}

// feedBesideWriters has a reader follow several writers, forgetting what it has
// read, while tasks that have ended are purged.
func feedBesideWriters(t *testing.T, s store.Store) {
	const writers, tasks = 3, 40
	begin := feedBegin(t, s)
	g, ctx := errgroup.WithContext(t.Context())
	written := make(chan []eventName, writers*tasks)
	var writing errgroup.Group
	for range writers {
		writing.Go(func() error { return writeTasks(ctx, s, tasks, written) })
	}
	g.Go(func() error {
		defer close(written)
		return writing.Wait()
	})
	seen := map[eventName]int{}
	g.Go(func() error { return followFeed(ctx, s, begin, written, seen) })
	require.NoError(t, g.Wait())
	for name, times := range seen {
		require.Equal(t, 1, times, name)
	}
}

// writeTasks applies tasks event by event, each of them twice. Every other one is
// purged when it has ended.
func writeTasks(ctx context.Context, s store.Store, tasks int, written chan<- []eventName) error {
	for i := range tasks {
		id := task.NewID()
		kept := []eventName{{id, 1}, {id, 2}, {id, 3}}
		end := delivered(id, task.PhaseDeadLettered)
		if i%2 == 0 {
			end, kept = succeeded(id), nil
		}
		for _, events := range [][]task.Event{{queued(id)}, {queued(id), started(id)}, {started(id), end}} {
			if _, err := s.Apply(ctx, events); err != nil {
				return err
			}
		}
		if _, err := s.PurgeEnded(ctx, store.Ended{Before: at(1_000_000)}, store.MaxPurge); err != nil {
			return err
		}
		written <- kept
	}
	return nil
}

// followFeed reads the feed until all that is known to be written was seen.
func followFeed(ctx context.Context, s store.Store, from store.FeedPosition, written <-chan []eventName, seen map[eventName]int) error {
	last, trimmed := map[string]int64{}, from.Row
	for left := true; left; {
		names, more := <-written
		left = more
		page, err := s.Feed(ctx, store.FeedQuery{From: from, Limit: 7})
		for ; err == nil; page, err = s.Feed(ctx, store.FeedQuery{From: from, Limit: 7}) {
			for _, e := range page.Entries {
				if e.Event.Number <= last[e.Event.TaskID] {
					return fmt.Errorf("event %d of %s after event %d", e.Event.Number, e.Event.TaskID, last[e.Event.TaskID])
				}
				last[e.Event.TaskID] = e.Event.Number
				seen[eventName{e.Event.TaskID, e.Event.Number}]++
			}
			if from = page.Next; !page.More {
				break
			}
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if seen[name] != 1 {
				return fmt.Errorf("%v was seen %d times", name, seen[name])
			}
		}
		// All rows before this place were read.
		n, err := s.TrimFeed(ctx, time.Now().Add(time.Hour), int(from.Row-trimmed))
		if err != nil {
			return err
		}
		trimmed += int64(n)
	}
	return nil
}

func feedGoesOn(t *testing.T, s store.Store) {
	begin := feedBegin(t, s)
	ids := newIDs(t, 3)
	apply(t, s, queued(ids[0]))
	apply(t, s, started(ids[0]), queued(ids[1]), queued(ids[2]), succeeded(ids[0]))
	apply(t, s, started(ids[1]))
	want := []eventName{{ids[0], 1}, {ids[0], 2}, {ids[1], 1}, {ids[2], 1}, {ids[0], 3}, {ids[1], 2}}
	for _, limit := range []int{-1, 0, 1, 2, 3, 6, 10 * store.MaxPage} {
		entries := feedAll(t, s, store.FeedQuery{From: begin, Limit: limit})
		require.Equal(t, want, namesOf(entries))
		for i, e := range entries {
			require.Equal(t, want[i+1:], namesOf(feedAll(t, s, store.FeedQuery{From: e.Next, Limit: 10})))
			require.Equal(t, get(t, s, e.Event.TaskID), e.Task, "as it is now")
			events, err := s.Events(t.Context(), e.Event.TaskID, e.Event.Number-1, 1, false)
			require.NoError(t, err)
			require.Equal(t, events[0], e.Event)
		}
	}
	end, err := s.FeedEnd(t.Context())
	require.NoError(t, err)
	page := feed(t, s, store.FeedQuery{From: end, Limit: 10})
	require.Empty(t, page.Entries)
	require.Equal(t, end, page.Next)
	require.False(t, page.More)
	apply(t, s, succeeded(ids[2]))
	require.Equal(t, []eventName{{ids[2], 2}}, namesOf(feedAll(t, s, store.FeedQuery{From: end, Limit: 10})))
}

func feedHasStoredOnly(t *testing.T, s store.Store) {
	begin := feedBegin(t, s)
	id := task.NewID()
	apply(t, s, queued(id), queued(id))
	apply(t, s, queued(id), numbered(id, task.PhaseProgress, 1))
	bad := succeeded(id)
	bad.Type = ""
	_, err := s.Apply(t.Context(), []task.Event{started(id), bad})
	require.ErrorIs(t, err, store.ErrBadEvent)
	apply(t, s, started(id))
	require.Equal(t, []eventName{{id, 1}, {id, 2}}, namesOf(feedAll(t, s, store.FeedQuery{From: begin, Limit: 10})))
}

func feedOfLargeTransaction(t *testing.T, s store.Store) {
	begin := feedBegin(t, s)
	var events []task.Event
	var want []eventName
	for range 5000 {
		events = append(events, queued(task.NewID()))
		want = append(want, eventName{events[len(events)-1].TaskID, 1})
	}
	apply(t, s, events...)
	require.Equal(t, want, namesOf(feedAll(t, s, store.FeedQuery{From: begin, Limit: 700})))
	for i := range 3 {
		entries := feed(t, s, store.FeedQuery{From: begin, Limit: 1 + i*499}).Entries
		next := feed(t, s, store.FeedQuery{From: entries[len(entries)-1].Next, Limit: 1}).Entries
		require.Equal(t, want[len(entries)], namesOf(next)[0])
	}
}

func feedComparesState(t *testing.T, s store.Store) {
	begin := feedBegin(t, s)
	id := task.NewID()
	apply(t, s, queued(id), started(id), succeeded(id))
	for text, want := range map[string][]int64{
		`state = RUNNING`:  {2},
		`state != RUNNING`: {1, 3},
		`state = QUEUED AND end_time > "2000-01-01T00:00:00Z"`: {1},
		`attempt = 1`:                        {1, 2, 3},
		`attempt.worker_id = "w-1"`:          {1, 2, 3},
		`labels.customer = acme AND run = 2`: {},
	} {
		got := []int64{}
		for _, e := range feedAll(t, s, store.FeedQuery{From: begin, Filter: parse(t, text), Limit: 10}) {
			got = append(got, e.Event.Number)
			require.Equal(t, task.StateSucceeded, e.Task.State)
		}
		require.Equal(t, want, got, text)
	}
}

func feedKeepsToBytes(t *testing.T, s store.Store) {
	begin := feedBegin(t, s)
	id := task.NewID()
	apply(t, s, stream(id, 4, store.MaxEventBytes/2-10)...)
	huge := succeeded(id)
	huge.Message = make([]byte, store.MaxEventBytes+1)
	apply(t, s, huge)
	from := begin
	for _, want := range [][]int64{{1, 2, 3, 4}, {5, 6}, {7}} {
		page := feed(t, s, store.FeedQuery{From: from, Limit: 100, Bodies: true})
		var got []task.NumberedEvent
		for _, e := range page.Entries {
			got = append(got, e.Event)
		}
		require.Equal(t, want, numbers(got))
		events, err := s.Events(t.Context(), id, want[0]-1, len(want), true)
		require.NoError(t, err)
		require.Equal(t, events, got)
		require.Equal(t, want[0] < 7, page.More)
		from = page.Next
	}
	require.Len(t, feed(t, s, store.FeedQuery{From: begin, Limit: 100}).Entries, 7)
}

// feedEndsSearch: a search for little goes on page by page.
func feedEndsSearch(t *testing.T, s store.Store) {
	begin := feedBegin(t, s)
	var events []task.Event
	for range 5000 {
		events = append(events, queued(task.NewID()))
	}
	apply(t, s, events...)
	apply(t, s, started(events[7].TaskID))
	q := store.FeedQuery{From: begin, Filter: parse(t, `state = RUNNING`), Limit: 10}
	page := feed(t, s, q)
	require.Empty(t, page.Entries)
	require.True(t, page.More)
	require.NotEqual(t, begin, page.Next)
	require.Equal(t, []eventName{{events[7].TaskID, 2}}, namesOf(feedAll(t, s, q)))
}

func feedPassesOverPurged(t *testing.T, s store.Store) {
	begin := feedBegin(t, s)
	id, events, _ := bigTask(t, s)
	last := int64(len(events))
	other := task.NewID()
	apply(t, s, queued(other))
	purge(t, s, at(1_000_000), 10)
	all := func() []eventName {
		return namesOf(feedAll(t, s, store.FeedQuery{From: begin, Limit: 50, Bodies: true}))
	}
	require.Equal(t, []eventName{{other, 1}}, all())
	apply(t, s, append(events, inRun(2, queued(id)))...)
	require.Equal(t, []eventName{{other, 1}, {id, last + 1}}, all())
	purgeAll(t, s)
	require.Equal(t, []eventName{{other, 1}, {id, last + 1}}, all())
}

func feedRefusesPositions(t *testing.T, s store.Store) {
	begin := feedBegin(t, s)
	apply(t, s, queued(task.NewID()), queued(task.NewID()))
	end, err := s.FeedEnd(t.Context())
	require.NoError(t, err)
	strange := map[string]store.FeedPosition{"none": {}}
	for name, spoil := range map[string]func(*store.FeedPosition){
		"of another store": func(p *store.FeedPosition) { p.Store[3]++ },
		"after the end":    func(p *store.FeedPosition) { p.Row++ },
		"in the next row":  func(p *store.FeedPosition) { p.Index = 1 },
		"before the first": func(p *store.FeedPosition) { p.Row = 0 },
		"negative":         func(p *store.FeedPosition) { p.Row = -1 },
	} {
		p := end
		spoil(&p)
		strange[name] = p
	}
	for name, index := range map[string]int{"after a row's last": 2, "far after it": 1 << 30, "before a row's first": -1} {
		p := begin
		p.Index = index
		strange[name] = p
	}
	for _, name := range slices.Sorted(maps.Keys(strange)) {
		_, err := s.Feed(t.Context(), store.FeedQuery{From: strange[name], Limit: 10})
		require.ErrorIs(t, err, store.ErrFeedPosition, name)
	}
}

func trimsOldest(t *testing.T, s store.Store) {
	begin := feedBegin(t, s)
	future := time.Now().Add(time.Hour)
	trim := func(limit int) int {
		n, err := s.TrimFeed(t.Context(), future, limit)
		require.NoError(t, err)
		return n
	}
	require.Zero(t, trim(10), "there is nothing")
	id := task.NewID()
	events := stream(id, 8, 1)
	for _, e := range events {
		apply(t, s, e)
	}
	entries := feed(t, s, store.FeedQuery{From: begin, Limit: 100}).Entries
	require.Len(t, entries, 10)
	require.Zero(t, trim(0))
	require.Zero(t, trim(-1))
	require.Equal(t, 3, trim(3))
	_, err := s.Feed(t.Context(), store.FeedQuery{From: begin, Limit: 100})
	require.ErrorIs(t, err, store.ErrFeedTrimmed)
	_, err = s.Feed(t.Context(), store.FeedQuery{From: entries[1].Next, Limit: 100})
	require.ErrorIs(t, err, store.ErrFeedTrimmed)
	require.Equal(t, entries[3:], feed(t, s, store.FeedQuery{From: entries[2].Next, Limit: 100}).Entries, "it has missed nothing")

	end, err := s.FeedEnd(t.Context())
	require.NoError(t, err)
	require.Equal(t, 6, trim(1<<20), "the last one stays")
	require.Zero(t, trim(10))
	again, err := s.FeedEnd(t.Context())
	require.NoError(t, err)
	require.Equal(t, end, again)
	require.Equal(t, entries[9:], feed(t, s, store.FeedQuery{From: entries[8].Next, Limit: 100}).Entries)
	apply(t, s, succeeded(id))
	require.Equal(t, []eventName{{id, 11}}, namesOf(feed(t, s, store.FeedQuery{From: end, Limit: 100}).Entries))
}

func trimKeepsRecent(t *testing.T, s store.Store) {
	begin := feedBegin(t, s)
	id := task.NewID()
	apply(t, s, queued(id))
	apply(t, s, started(id))
	n, err := s.TrimFeed(t.Context(), time.Now().Add(-time.Hour), 10)
	require.NoError(t, err)
	require.Zero(t, n)
	require.Len(t, feed(t, s, store.FeedQuery{From: begin, Limit: 10}).Entries, 2)
}
