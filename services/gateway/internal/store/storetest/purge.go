package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var purgeRules = map[string]func(*testing.T, store.Store){
	"PurgeEnded/forgets what ended before":          purgesEndedBefore,
	"PurgeEnded/keeps what has not ended, or died":  purgeKeeps,
	"PurgeEnded/the oldest first":                   purgesOldestFirst,
	"PurgeEnded/counts rows":                        purgeCountsRows,
	"PurgeEnded/keeps to MaxPurge":                  purgeKeepsToMax,
	"PurgeEnded/in steps shows no part of a task":   purgeShowsNoPart,
	"PurgeEnded/in steps of a task that comes back": purgeOfRevived,
	"Tombstone/drops late events":                   tombstoneDrops,
	"Tombstone/lets a higher run revive the task":   tombstoneRevives,
	"Tombstone/of a task that came back":            tombstoneAgain,
	"PurgeTombstones/lets late events revive":       purgesTombstones,
	"PurgeTombstones/keeps to its limit":            purgesTombstonesToLimit,
	"PurgeTombstones/keeps those with rows left":    purgeTombstonesKeepsUnfinished,
}

// endedRows is how many rows a task has that endedAt made and that succeeded:
// itself, its events, its payload and its result.
const endedRows = 1 + 3 + 2

// endedAt makes a task that ended so many seconds after the first event.
func endedAt(second int, phase task.Phase) (string, []task.Event) {
	id := task.NewID()
	end := delivered(id, phase)
	end.Time = at(second)
	return id, []task.Event{queued(id), started(id), end}
}

// purge calls PurgeEnded once.
func purge(t test, s store.Store, before time.Time, limit int) int {
	t.Helper()
	n, err := s.PurgeEnded(t.Context(), store.Ended{Before: before}, limit)
	require.NoError(t, err)
	return n
}

// purgeAll purges whatever has ended.
func purgeAll(t test, s store.Store) int {
	t.Helper()
	total := 0
	for {
		n := purge(t, s, at(1_000_000), store.MaxPurge)
		total += n
		if n < store.MaxPurge {
			return total
		}
	}
}

func purgesEndedBefore(t *testing.T, s store.Store) {
	old, oldEvents := endedAt(10, task.PhaseSucceeded)
	cancelled, cancelledEvents := endedAt(11, task.PhaseCancelled)
	recent, recentEvents := endedAt(20, task.PhaseSucceeded)
	apply(t, s, oldEvents...)
	apply(t, s, cancelledEvents...)
	apply(t, s, recentEvents...)
	require.Equal(t, 2*endedRows-1, purge(t, s, at(20), 100), "a cancelled task has no result")
	requireGone(t, s, old)
	requireGone(t, s, cancelled)
	require.Equal(t, task.StateSucceeded, get(t, s, recent).State)
	require.Len(t, all(t, s, recent), 3)
	require.Zero(t, purge(t, s, at(20), 100))
}

func purgeKeeps(t *testing.T, s store.Store) {
	dead, deadEvents := endedAt(10, task.PhaseDeadLettered)
	apply(t, s, deadEvents...)
	replayed, replayedEvents := endedAt(10, task.PhaseSucceeded)
	apply(t, s, append(replayedEvents, inRun(2, queued(replayed)))...)
	next, nextEvents := endedAt(10, task.PhaseSucceeded)
	apply(t, s, append(nextEvents, inRun(2, numbered(next, task.PhaseProgress, 1)))...)
	running := task.NewID()
	apply(t, s, queued(running), started(running))
	require.Zero(t, purgeAll(t, s))
	for _, id := range []string{dead, replayed, next, running} {
		get(t, s, id)
	}
}

func purgesOldestFirst(t *testing.T, s store.Store) {
	var ids []string
	for i := range 5 {
		id, events := endedAt(50-i, task.PhaseSucceeded)
		ids = append(ids, id)
		apply(t, s, events...)
	}
	require.Zero(t, purge(t, s, at(100), 0))
	require.Zero(t, purge(t, s, at(100), -1))
	require.Equal(t, 2*endedRows, purge(t, s, at(100), 2*endedRows))
	requireGone(t, s, ids[4])
	requireGone(t, s, ids[3])
	get(t, s, ids[2])
	require.Equal(t, 3*endedRows, purge(t, s, at(100), 100))
}

func purgeCountsRows(t *testing.T, s store.Store) {
	for _, limit := range []int{1, 2, endedRows - 1, endedRows, endedRows + 1} {
		for range 3 {
			_, events := endedAt(10, task.PhaseSucceeded)
			apply(t, s, events...)
		}
		total := 0
		for n := limit; n == limit; total += n {
			n = purge(t, s, at(100), limit)
			require.LessOrEqual(t, n, limit)
		}
		require.Equal(t, 3*endedRows, total)
		require.Zero(t, purge(t, s, at(100), limit))
	}
}

func purgeKeepsToMax(t *testing.T, s store.Store) {
	var events []task.Event
	for range store.MaxPurge/3 + 1 {
		events = append(events, succeeded(task.NewID()))
	}
	apply(t, s, events...)
	const rows = 1 + 1 + 1
	require.Equal(t, store.MaxPurge, purge(t, s, at(1_000_000), 10*store.MaxPurge))
	require.Equal(t, rows*len(events)-store.MaxPurge, purge(t, s, at(1_000_000), 10*store.MaxPurge))
}

// bigTask applies a task that takes several calls to purge, and says how many
// rows it has.
func bigTask(t *testing.T, s store.Store) (string, []task.Event, int) {
	id := task.NewID()
	events := append(stream(id, 300, 10), succeeded(id))
	apply(t, s, events...)
	bodies := len(events) - 1
	return id, events, 1 + len(events) + bodies
}

func purgeShowsNoPart(t *testing.T, s store.Store) {
	id, events, rows := bigTask(t, s)
	other, otherEvents := endedAt(1_000, task.PhaseSucceeded)
	apply(t, s, otherEvents...)
	const limit = 50
	total := 0
	for n := limit; n == limit; {
		n = purge(t, s, events[len(events)-1].Time.Add(time.Second), limit)
		total += n
		for number := int64(1); number <= int64(len(events)); number += 40 {
			_, err := s.Body(t.Context(), id, number)
			require.ErrorIs(t, err, store.ErrNotFound)
		}
		requireGone(t, s, id)
		require.Empty(t, apply(t, s, events...), "a late event")
	}
	require.Equal(t, rows+endedRows, total)
	requireGone(t, s, other)
}

func purgeOfRevived(t *testing.T, s store.Store) {
	id, events, rows := bigTask(t, s)
	last := int64(len(events))
	require.Equal(t, 10, purge(t, s, at(1_000_000), 10))
	changes := apply(t, s, append(events, inRun(2, queued(id)))...)
	require.Equal(t, []store.Change{{TaskID: id, Version: last + 1, State: task.StateQueued}}, changes)
	for range 2 {
		require.Equal(t, []int64{last + 1}, numbers(all(t, s, id)))
		history, err := s.History(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, []int64{last + 1}, numbers(history))
		_, err = s.Body(t.Context(), id, last)
		require.ErrorIs(t, err, store.ErrNotFound)
		purge(t, s, at(1_000_000), 10)
	}
	require.Empty(t, apply(t, s, events...))
	apply(t, s, inRun(2, succeeded(id)))
	require.Equal(t, rows-20-10+1+2+2, purgeAll(t, s))
	requireGone(t, s, id)
	changes = apply(t, s, inRun(3, queued(id)))
	require.Equal(t, []store.Change{{TaskID: id, Version: last + 3, State: task.StateQueued}}, changes)
}

func purgeTombstonesKeepsUnfinished(t *testing.T, s store.Store) {
	id, events, _ := bigTask(t, s)
	purge(t, s, at(1_000_000), 10)
	n, err := s.PurgeTombstones(t.Context(), time.Now().Add(time.Hour), 10)
	require.NoError(t, err)
	require.Zero(t, n)
	require.Empty(t, apply(t, s, events...))
	purgeAll(t, s)
	n, err = s.PurgeTombstones(t.Context(), time.Now().Add(time.Hour), 10)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	apply(t, s, queued(id))
	require.Equal(t, []int64{1}, numbers(all(t, s, id)))
}

func tombstoneDrops(t *testing.T, s store.Store) {
	id, events := endedAt(10, task.PhaseSucceeded)
	apply(t, s, events...)
	purgeAll(t, s)
	other := task.NewID()
	late := append(slices.Clone(events), numbered(id, task.PhaseProgress, 1), numbered(id, task.PhaseMessage, 1), queued(other))
	changes := apply(t, s, late...)
	require.Equal(t, []store.Change{{TaskID: other, Version: 1, State: task.StateQueued}}, changes)
	requireGone(t, s, id)
}

func tombstoneRevives(t *testing.T, s store.Store) {
	id, events := endedAt(10, task.PhaseSucceeded)
	apply(t, s, events...)
	purgeAll(t, s)
	changes := apply(t, s, started(id), inRun(2, queued(id)), numbered(id, task.PhaseMessage, 1))
	require.Equal(t, []store.Change{{TaskID: id, Version: 4, State: task.StateQueued}}, changes)
	require.Equal(t, []int64{4}, numbers(all(t, s, id)))
	got := get(t, s, id)
	require.Equal(t, 2, got.Run)
	require.EqualValues(t, 4, got.PayloadNumber)
	// What was purged stays so, also when the tombstone is gone.
	n, err := s.PurgeTombstones(t.Context(), time.Now().Add(time.Hour), 10)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Empty(t, apply(t, s, events...))
	require.Equal(t, got, get(t, s, id))
}

func tombstoneAgain(t *testing.T, s store.Store) {
	id, events := endedAt(10, task.PhaseSucceeded)
	apply(t, s, events...)
	purgeAll(t, s)
	second := []task.Event{inRun(2, queued(id)), inRun(2, succeeded(id))}
	apply(t, s, second...)
	require.Equal(t, 1+2+2, purgeAll(t, s))
	requireGone(t, s, id)
	require.Empty(t, apply(t, s, slices.Concat(events, second)...))
	changes := apply(t, s, inRun(3, queued(id)))
	require.Equal(t, []store.Change{{TaskID: id, Version: 6, State: task.StateQueued}}, changes)
}

func purgesTombstones(t *testing.T, s store.Store) {
	id, events := endedAt(10, task.PhaseSucceeded)
	apply(t, s, events...)
	purgeAll(t, s)
	n, err := s.PurgeTombstones(t.Context(), time.Now().Add(-time.Hour), 10)
	require.NoError(t, err)
	require.Zero(t, n)
	require.Empty(t, apply(t, s, events...))
	n, err = s.PurgeTombstones(t.Context(), time.Now().Add(time.Hour), 10)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []store.Change{{TaskID: id, Version: 3, State: task.StateSucceeded}}, apply(t, s, events...))
	require.Equal(t, []int64{1, 2, 3}, numbers(all(t, s, id)))
}

func purgesTombstonesToLimit(t *testing.T, s store.Store) {
	for range 5 {
		_, events := endedAt(10, task.PhaseSucceeded)
		apply(t, s, events...)
	}
	purgeAll(t, s)
	for _, c := range []struct{ limit, want int }{{0, 0}, {-1, 0}, {2, 2}, {10, 3}, {10, 0}} {
		n, err := s.PurgeTombstones(t.Context(), time.Now().Add(time.Hour), c.limit)
		require.NoError(t, err)
		require.Equal(t, c.want, n)
	}
}
