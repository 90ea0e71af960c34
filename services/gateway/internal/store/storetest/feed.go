package storetest

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var feedRules = map[string]func(*testing.T, store.Store){
	"Feed/goes on after each event":               feedGoesOn,
	"Feed/has stored events only":                 feedHasStoredOnly,
	"Feed/of a large transaction":                 feedOfLargeTransaction,
	"Feed/compares the event's state":             feedComparesState,
	"Feed/keeps to the limits of bodies":          feedKeepsToBytes,
	"Feed/ends a search that finds little":        feedEndsSearch,
	"Feed/passes over purged tasks":               feedPassesOverPurged,
	"Feed/refuses positions that are not its own": feedRefusesPositions,
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
