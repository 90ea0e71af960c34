package storetest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var regroupRules = map[string]func(*testing.T, store.Store){
	"Regroup/groups what has no group":             groupsTheUngrouped,
	"Regroup/moves runs by a later fingerprint":    movesRuns,
	"Regroup/leaves a run that has come meanwhile": leavesNews,
	"Ungrouped/ends where its page is full":        boundsUngrouped,
}

// ungrouped are those that the first version of the fingerprint has not grouped.
func ungrouped(t test, s store.Store, limit int) []store.Ungrouped {
	t.Helper()
	found, err := s.Ungrouped(t.Context(), 1, limit)
	require.NoError(t, err)
	return found
}

func groupsTheUngrouped(t *testing.T, s store.Store) {
	a, b := arrival(task.NewID(), 1), arrival(task.NewID(), 1)
	put(t, s, a, b, arrival(a.ID, 2), in(7, arrival(task.NewID(), 1)))
	discard(t, s, b.ID)
	before := list(t, s, store.Query{Limit: 10})
	found := ungrouped(t, s, 10)
	require.Len(t, found, 2)
	require.Equal(t, store.Ungrouped{Sequence: before[2].Sequence, Type: taskType, Runs: []store.UngroupedRun{
		{Run: 1, Cause: a.Occurrence.Cause, Reason: "BROKEN_1", Failure: a.Occurrence.Failure},
		{Run: 2, Cause: a.Occurrence.Cause, Reason: "BROKEN_2", Failure: arrival(a.ID, 2).Occurrence.Failure},
	}}, found[0])
	regroupAll(t, s, 1)
	require.Empty(t, ungrouped(t, s, 10))
	require.Equal(t, groupID(100), get(t, s, a.ID).GroupID, "that of its last run")
	require.Equal(t, groupID(101), get(t, s, b.ID).GroupID)
	g := group(t, s, 101)
	require.EqualValues(t, 2, g.Count)
	require.EqualValues(t, 1, g.DeadLetters)
	require.Zero(t, g.Open)
	require.Equal(t, 13, g.Code)
	require.Equal(t, store.GroupOpen, g.State)
	requireCounted(t, s)
	after := list(t, s, store.Query{Limit: 10})
	for i := range after {
		after[i].GroupID = before[i].GroupID
	}
	require.Equal(t, before, after, "nothing else has changed")
}

func movesRuns(t *testing.T, s store.Store) {
	id, other := task.NewID(), task.NewID()
	put(t, s, in(1, arrival(id, 1)), in(1, arrival(other, 2)))
	note := "ours"
	_, err := s.UpdateGroup(t.Context(), store.GroupUpdate{ID: groupID(1), Note: &note})
	require.NoError(t, err)
	resolved := setGroup(t, s, 1, store.GroupResolved)
	require.Empty(t, ungrouped(t, s, 10))
	regroupAll(t, s, 2)
	require.Equal(t, groupID(201), get(t, s, id).GroupID)
	require.Equal(t, groupID(200), get(t, s, other).GroupID)
	_, err = s.Group(t.Context(), groupID(1))
	require.ErrorIs(t, err, store.ErrNoGroup, "nothing is left of it")
	for _, n := range []int{200, 201} {
		g := group(t, s, n)
		require.Equal(t, store.GroupResolved, g.State, "what was said of it holds, and nothing is REGRESSED")
		require.Equal(t, "ours", g.Note)
		require.Equal(t, resolved.StateTime, g.StateTime)
		require.EqualValues(t, 1, g.Count)
		require.Equal(t, 2, g.FingerprintVersion)
	}
	requireCounted(t, s)
}

func leavesNews(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 1))
	found := ungrouped(t, s, 10)
	put(t, s, arrival(id, 2), in(3, arrival(id, 3)))
	require.NoError(t, s.Regroup(t.Context(), []store.Regrouping{{
		Sequence: found[0].Sequence, Version: 1, Runs: map[int]store.Fingerprint{1: {GroupID: groupID(1), Version: 1}},
	}}))
	require.Equal(t, groupID(3), get(t, s, id).GroupID)
	require.Len(t, ungrouped(t, s, 10), 1, "a run is without a group still")
	regroupAll(t, s, 1)
	requireCounted(t, s)
}

func boundsUngrouped(t *testing.T, s store.Store) {
	for range 3 {
		a := arrival(task.NewID(), 1)
		a.Occurrence.Failure.Stack = strings.Repeat("x", 3<<20)
		put(t, s, a)
	}
	require.Len(t, ungrouped(t, s, 10), 1)
	require.Len(t, ungrouped(t, s, 1), 1)
	require.Empty(t, ungrouped(t, s, 0))
}
