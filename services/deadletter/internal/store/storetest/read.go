package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var readRules = map[string]func(*testing.T, store.Store){
	"Get/of what there is not": func(t *testing.T, s store.Store) {
		put(t, s, arrival(task.NewID(), 1))
		for _, id := range []string{task.NewID(), "", "x", "' OR 1=1 --"} {
			requireGone(t, s, id)
		}
	},
}

var listRules = map[string]func(*testing.T, store.Store){
	"List/is stable while others come in": stableList,
	"List/of one that came in again":      keepsPlace,
	"List/oldest first":                   listsOldestFirst,
	"List/of a state":                     listsState,
	"List/keeps to its limits":            keepsToLimits,
	"List/of full ones ends at a size":    keepsToBytes,
	"List/is empty in an empty store":     listsNothing,
	"List/shows full ones only if asked":  listsViews,
}

func putMany(t *testing.T, s store.Store, n int) []string {
	t.Helper()
	added := make([]string, n)
	arrivals := make([]store.Arrival, n)
	for i := range arrivals {
		added[i] = task.NewID()
		arrivals[i] = store.Arrival{
			ID: added[i], Type: taskType, Occurrence: store.Occurrence{Run: 1, Cause: task.CauseExpired, DeadTime: epoch},
		}
	}
	put(t, s, arrivals...)
	return added
}

// stableList reads 5,000 in pages while 500 come in, and some of the 5,000 come
// in again.
func stableList(t *testing.T, s store.Store) {
	const there, meanwhile, size = 5000, 500, 137
	want := putMany(t, s, there)
	slices.Reverse(want)
	first, err := s.List(t.Context(), store.Query{Limit: size})
	require.NoError(t, err)

	done := make(chan error, 1)
	go func() {
		for i := 0; i < meanwhile; i += 10 {
			var arrivals []store.Arrival
			for j := range 10 {
				arrivals = append(arrivals, arrival(task.NewID(), 1), arrival(want[(i+j)*9], 2))
			}
			if _, err := s.Put(t.Context(), arrivals); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	got := ids(first.DeadLetters)
	rest := list(t, s, store.Query{Limit: size, After: first.DeadLetters[size-1].Sequence})
	require.NoError(t, <-done)
	require.Equal(t, want, append(got, ids(rest)...))

	n, err := s.Count(t.Context(), store.Query{})
	require.NoError(t, err)
	require.EqualValues(t, there+meanwhile, n)
	require.Len(t, list(t, s, store.Query{Limit: store.MaxPage}), there+meanwhile)
}

func keepsPlace(t *testing.T, s store.Store) {
	added := putMany(t, s, 3)
	was := get(t, s, added[0])
	put(t, s, arrival(added[0], 2))
	require.Equal(t, was.Sequence, get(t, s, added[0]).Sequence)
	require.Equal(t, added[0], ids(list(t, s, store.Query{Limit: 2}))[2])
}

func listsOldestFirst(t *testing.T, s store.Store) {
	added := putMany(t, s, 10)
	require.Equal(t, added, ids(list(t, s, store.Query{Limit: 3, OldestFirst: true})))
	slices.Reverse(added)
	require.Equal(t, added, ids(list(t, s, store.Query{Limit: 3})))
}

func listsState(t *testing.T, s store.Store) {
	added := putMany(t, s, 8)
	replay(t, s, added[0], 2)
	resolveNow(t, s, added[1])
	discard(t, s, added[2])
	for state, want := range map[store.State][]string{
		0: added, store.StateInReplay: added[:1], store.StateResolved: added[1:2], store.StateDiscarded: added[2:3], store.StateOpen: added[3:],
	} {
		q := store.Query{State: state, OldestFirst: true, Limit: 2}
		require.Equal(t, want, ids(list(t, s, q)))
		q.Filter = parse(t, `run = 1`)
		require.Equal(t, want, ids(list(t, s, q)))
		// What belongs to the page doesn't matter to the count.
		q.After, q.Limit, q.Full = 1<<40, 1, true
		n, err := s.Count(t.Context(), q)
		require.NoError(t, err)
		require.EqualValues(t, len(want), n)
		q.Filter = parse(t, `run = 2`)
		n, err = s.Count(t.Context(), q)
		require.NoError(t, err)
		require.Zero(t, n)
	}
}

func keepsToLimits(t *testing.T, s store.Store) {
	putMany(t, s, store.MaxPage+5)
	page, err := s.List(t.Context(), store.Query{Limit: 10 * store.MaxPage})
	require.NoError(t, err)
	require.Len(t, page.DeadLetters, store.MaxPage)
	require.True(t, page.More)
	page, err = s.List(t.Context(), store.Query{Limit: 5, After: page.DeadLetters[store.MaxPage-1].Sequence})
	require.NoError(t, err)
	require.Len(t, page.DeadLetters, 5)
	require.False(t, page.More)
	for _, limit := range []int{0, -1} {
		page, err = s.List(t.Context(), store.Query{Limit: limit})
		require.NoError(t, err)
		require.Empty(t, page.DeadLetters)
	}
}

func keepsToBytes(t *testing.T, s store.Store) {
	var added []string
	for _, size := range []int{store.MaxPageBytes + 1, store.MaxPageBytes / 2, store.MaxPageBytes/2 - 10_000, 10, 20_000} {
		a := foreign(task.NewID())
		a.Message.Body = make([]byte, size)
		put(t, s, a)
		added = append(added, a.ID)
	}
	after := int64(0)
	for _, want := range [][]string{added[:1], added[1:4], added[4:]} {
		page, err := s.List(t.Context(), store.Query{Limit: 100, Full: true, OldestFirst: true, After: after})
		require.NoError(t, err)
		require.Equal(t, want, ids(page.DeadLetters))
		require.Equal(t, want[len(want)-1] != added[4], page.More)
		after = page.DeadLetters[len(want)-1].Sequence
	}
	page, err := s.List(t.Context(), store.Query{Limit: 100})
	require.NoError(t, err)
	require.Len(t, page.DeadLetters, 5)
	require.False(t, page.More)
}

func listsNothing(t *testing.T, s store.Store) {
	page, err := s.List(t.Context(), store.Query{Limit: 10})
	require.NoError(t, err)
	require.Empty(t, page.DeadLetters)
	require.False(t, page.More)
	n, err := s.Count(t.Context(), store.Query{})
	require.NoError(t, err)
	require.Zero(t, n)
	intents, err := s.Intents(t.Context(), store.IntentPending, 0, 10)
	require.NoError(t, err)
	require.Empty(t, intents)
	due, err := s.DueNotifications(t.Context(), store.BuiltInRule, time.Now(), 10)
	require.NoError(t, err)
	require.Empty(t, due)
}

func listsViews(t *testing.T, s store.Store) {
	a, b := arrival(task.NewID(), 1), foreign(task.NewID())
	put(t, s, a, b)
	full := list(t, s, store.Query{Limit: 1, Full: true})
	require.Equal(t, []store.DeadLetter{get(t, s, b.ID), get(t, s, a.ID)}, full)
	require.Equal(t, []store.DeadLetter{basic(full[0]), basic(full[1])}, list(t, s, store.Query{Limit: 1}))
}
