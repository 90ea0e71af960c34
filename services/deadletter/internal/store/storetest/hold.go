package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// requireKept requires that nothing can be done with an OPEN dead letter and a
// DISCARDED one, but for what loses nothing.
func requireKept(t *testing.T, s store.Store, open, discarded string) {
	t.Helper()
	wasOpen, wasDiscarded := get(t, s, open), get(t, s, discarded)
	_, _, err := s.BeginReplay(t.Context(), store.ReplayRequest{ID: open, Run: 9})
	require.ErrorIs(t, err, store.ErrHeld)
	_, err = s.Discard(t.Context(), store.DiscardRequest{ID: open})
	require.ErrorIs(t, err, store.ErrHeld)
	require.Equal(t, store.ObstacleHeld, change(t, s, store.BulkDiscard, open).Obstacle)
	require.Equal(t, store.ObstacleHeld, change(t, s, store.BulkPurge, discarded).Obstacle)
	require.Equal(t, []store.DeadLetter{wasOpen, wasDiscarded}, []store.DeadLetter{get(t, s, open), get(t, s, discarded)})
	require.Equal(t, store.ObstacleNone, change(t, s, store.BulkRestore, discarded).Obstacle)
}

func keepsHeld(t *testing.T, s store.Store) {
	open, discarded := inState(t, s, store.StateOpen), inState(t, s, store.StateDiscarded)
	for _, id := range []string{open, discarded} {
		require.Equal(t, store.ObstacleNone, change(t, s, store.BulkHold, id).Obstacle)
		require.True(t, get(t, s, id).OnHold)
		require.Equal(t, store.ObstacleDone, change(t, s, store.BulkHold, id).Obstacle)
	}
	requireKept(t, s, open, discarded)
	resolveNow(t, s, open) // what is known is known
	requireChange(t, s, arrival(open, 2), store.ChangeDiedAgain, store.StateOpen)
	require.True(t, get(t, s, open).OnHold)
	require.Equal(t, store.ObstacleNone, change(t, s, store.BulkRelease, open).Obstacle)
	replay(t, s, open, 3)
}

func holdsState(t *testing.T, s store.Store) {
	id := inState(t, s, store.StateOpen)
	was := get(t, s, id)
	change(t, s, store.BulkHold, id)
	got := get(t, s, id)
	require.Equal(t, was.UpdateTime, got.UpdateTime)
	require.Equal(t, was.OperatorReason, got.OperatorReason)
	require.NotEqual(t, was.Etag, got.Etag)
	require.Equal(t, []string{id}, ids(changesAfter(t, s, was.Change, nil, 10).DeadLetters))
	_, err := s.Discard(t.Context(), store.DiscardRequest{ID: id, Etag: was.Etag})
	require.ErrorIs(t, err, store.ErrEtag)
}

func holdsType(t *testing.T, s store.Store) {
	open, discarded, other := inState(t, s, store.StateOpen), inState(t, s, store.StateDiscarded), arrival(task.NewID(), 1)
	other.Type = "other.v1.A.B"
	put(t, s, other)
	setPolicy(t, s, taskType, store.Settings{store.PolicyHold: 1})
	requireKept(t, s, open, discarded)
	require.False(t, get(t, s, open).OnHold)
	discard(t, s, other.ID)
	setPolicy(t, s, store.AllTypes, store.Settings{store.PolicyHold: 1})
	require.Equal(t, store.ObstacleHeld, change(t, s, store.BulkPurge, other.ID).Obstacle)
	setPolicy(t, s, taskType, store.Settings{store.PolicyHold: 0})
	replay(t, s, open, 2)
}

func restoresCount(t *testing.T, s store.Store) {
	id := inState(t, s, store.StateQuarantined)
	require.Equal(t, 1, get(t, s, id).ReplayCount)
	change(t, s, store.BulkRestore, id)
	got := get(t, s, id)
	require.Equal(t, store.StateOpen, got.State)
	require.Zero(t, got.ReplayCount)
	require.Equal(t, "why", got.OperatorReason)
	replay(t, s, id, 3)
	require.Equal(t, 1, get(t, s, id).ReplayCount)
	requireChange(t, s, arrival(id, 3), store.ChangeDiedAgain, store.StateQuarantined)
}

func discardsQuarantined(t *testing.T, s store.Store) {
	id := inState(t, s, store.StateQuarantined)
	_, _, err := s.BeginReplay(t.Context(), store.ReplayRequest{ID: id, Run: 3})
	var notOpen *store.NotOpenError
	require.ErrorAs(t, err, &notOpen)
	require.Equal(t, store.StateQuarantined, notOpen.State)
	require.Equal(t, store.StateDiscarded, discard(t, s, id).State)
}

func quarantines(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 1))
	for run := 2; run <= 10; run++ {
		replay(t, s, id, run)
		requireChange(t, s, arrival(id, run), store.ChangeDiedAgain, store.StateOpen)
	}
	replay(t, s, id, 11)
	a := arrival(id, 11)
	a.Notify = true
	changes := put(t, s, a)
	require.Equal(t, []store.Change{{
		ID: id, Kind: store.ChangeDiedAgain, State: store.StateQuarantined, Run: 11, Notified: true, ReplaysEnded: 1,
	}}, changes)
	d := get(t, s, id)
	require.Equal(t, []int{10, 11}, []int{d.ReplayCount, d.Run}, "10 is the default")
	require.Equal(t, store.OutcomeDeadLettered, requireIntents(t, s, 0, 0, 10)[9].Outcome)
	entries, err := s.Audit(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, store.StateQuarantined, entries[len(entries)-1].To)
	requireChange(t, s, arrival(id, 12), store.ChangeDiedAgain, store.StateQuarantined)
}

func quarantinesByReplays(t *testing.T, s store.Store) {
	setPolicy(t, s, taskType, store.Settings{store.PolicyMaxReplays: 1})
	id := task.NewID()
	for run := 1; run <= 3; run++ {
		put(t, s, arrival(id, run))
	}
	require.Equal(t, store.StateOpen, get(t, s, id).State, "nobody has replayed it")
	replay(t, s, id, 5)
	requireChange(t, s, arrival(id, 4), store.ChangeHistory, store.StateInReplay)
	requireChange(t, s, arrival(id, 5), store.ChangeDiedAgain, store.StateQuarantined)
}

func quarantinesByType(t *testing.T, s store.Store) {
	setPolicy(t, s, store.AllTypes, store.Settings{store.PolicyMaxReplays: 1})
	setPolicy(t, s, "never.v1.A.B", store.Settings{store.PolicyMaxReplays: 0})
	for taskType, state := range map[string]store.State{"some.v1.A.B": store.StateQuarantined, "never.v1.A.B": store.StateOpen} {
		a := arrival(task.NewID(), 1)
		a.Type = taskType
		put(t, s, a)
		replay(t, s, a.ID, 2)
		a.Occurrence.Run = 2
		requireChange(t, s, a, store.ChangeDiedAgain, state)
	}
}

func quarantinedResolves(t *testing.T, s store.Store) {
	id := inState(t, s, store.StateQuarantined)
	require.Equal(t, store.StateResolved, resolveNow(t, s, id).State)
}
