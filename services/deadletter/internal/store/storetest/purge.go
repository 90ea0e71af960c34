package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var purgeRules = map[string]func(*testing.T, store.Store){
	"Purge/leaves a tombstone":                         leavesTombstone,
	"Purge/then a later death makes it OPEN again":     purgedDiesAgain,
	"Purge/then what was known comes in for nothing":   purgedKnows,
	"Purge/of a resolved one drops what came too late": purgedResolved,
}

// tombstone is what is left of a full dead letter that is purged.
func tombstone(d store.DeadLetter) store.DeadLetter {
	d.Revision, d.Revisions = 1, nil
	d.State, d.Decision, d.Labels = store.StatePurged, "", nil
	d.Occurrences, d.Message, d.Template, d.FirstTemplate = nil, nil, nil, nil
	if d.Failure != nil {
		d.Failure = &task.Failure{Code: d.Failure.Code, Kind: d.Failure.Kind}
	}
	return d
}

// purge discards a dead letter and has it purged.
func purge(t *testing.T, s store.Store, id string) {
	t.Helper()
	discard(t, s, id)
	require.Equal(t, store.ObstacleNone, change(t, s, store.BulkPurge, id).Obstacle)
}

func leavesTombstone(t *testing.T, s store.Store) {
	id, other := task.NewID(), task.NewID()
	put(t, s, arrival(id, 1), arrival(id, 2), arrival(other, 1))
	_, intent := replay(t, s, id, 3)
	put(t, s, arrival(id, 3))
	discard(t, s, id)
	was := get(t, s, id)
	purged := change(t, s, store.BulkPurge, id)
	require.Equal(t, store.BulkItem{ID: id, State: store.StateDiscarded}, purged)

	got := get(t, s, id)
	requireSame(t, tombstone(was), got)
	require.Equal(t, "hopeless", got.OperatorReason)
	require.Equal(t, 3, got.OccurrenceCount)
	require.Zero(t, got.ReplayCount)
	require.Greater(t, got.Change, was.Change)
	require.NotEqual(t, was.Etag, got.Etag)
	page := changesAfter(t, s, was.Change, nil, 10)
	require.Equal(t, []string{id}, ids(page.DeadLetters))
	require.Empty(t, list(t, s, store.Query{Filter: parse(t, `labels.customer = "acme" AND state = "PURGED"`), Limit: 10}))
	require.Equal(t, []string{id}, ids(list(t, s, store.Query{Filter: parse(t, `state = "PURGED"`), Limit: 10, Full: true})))
	requireSame(t, whole(store.StateOpen, arrival(other, 1)), get(t, s, other))

	entries, err := s.Audit(t.Context(), id)
	require.NoError(t, err)
	last := entries[len(entries)-1]
	require.Equal(t, store.AuditEntry{
		Sequence: last.Sequence, DeadLetterID: id, Time: got.UpdateTime, Action: store.ActionPurge,
		From: store.StateDiscarded, To: store.StatePurged, Run: 3, Reason: "why", Actor: "ann",
	}, last)
	require.Equal(t, intent.ID, requireIntents(t, s, 0, 0, 1)[0].ID, "the history stays")
	for _, action := range []store.BulkAction{store.BulkDiscard, store.BulkRestore, store.BulkPurge, store.BulkHold, store.BulkRelease} {
		require.Equal(t, store.ObstacleState, change(t, s, action, id).Obstacle)
	}
	_, _, err = s.BeginReplay(t.Context(), store.ReplayRequest{ID: id, Run: 9})
	require.ErrorIs(t, err, store.ErrNotOpen)
}

func purgedDiesAgain(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 2))
	purge(t, s, id)
	requireChange(t, s, arrival(id, 4), store.ChangeDiedAgain, store.StateOpen)
	want := whole(store.StateOpen, arrival(id, 4))
	want.OccurrenceCount, want.FirstDeadTime = 2, at(2)
	requireSame(t, want, get(t, s, id))
	requireChange(t, s, arrival(id, 3), store.ChangeHistory, store.StateOpen)
	replay(t, s, id, 5)
}

func purgedKnows(t *testing.T, s store.Store) {
	task2, stray := arrival(task.NewID(), 2), foreign(task.NewID())
	put(t, s, task2, stray)
	for _, a := range []store.Arrival{task2, stray} {
		purge(t, s, a.ID)
		was := get(t, s, a.ID)
		a.Notify = true
		requireChange(t, s, a, store.ChangeNone, store.StatePurged)
		require.Equal(t, was, get(t, s, a.ID))
	}
	early := arrival(task2.ID, 1)
	requireChange(t, s, early, store.ChangeNone, store.StatePurged)
	requireChange(t, s, arrival(task2.ID, 3), store.ChangeDiedAgain, store.StateOpen)
	was := get(t, s, task2.ID)
	requireChange(t, s, task2, store.ChangeNone, store.StateOpen)
	requireChange(t, s, early, store.ChangeNone, store.StateOpen)
	require.Equal(t, was, get(t, s, task2.ID))
}

func purgedResolved(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 1))
	replay(t, s, id, 3)
	_, err := s.Resolve(t.Context(), id, 3, store.OutcomeSucceeded)
	require.NoError(t, err)
	require.Equal(t, store.ObstacleNone, change(t, s, store.BulkPurge, id).Obstacle)
	for run := 1; run <= 3; run++ {
		requireChange(t, s, arrival(id, run), store.ChangeNone, store.StatePurged)
	}
	requireChange(t, s, arrival(id, 4), store.ChangeDiedAgain, store.StateOpen)
}
