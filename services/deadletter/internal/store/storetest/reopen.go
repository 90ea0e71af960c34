package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var reopenRules = map[string]func(*testing.T, store.Store){
	"Reopen/by the replayed run":                  reopensReplayed,
	"Reopen/by a later run than the replayed":     reopensLater,
	"Reopen/not by a run before the replayed":     keepsInReplay,
	"Reopen/of a resolved one by a later run":     reopensResolved,
	"Reopen/not by a run that ended well":         keepsResolved,
	"Reopen/of a discarded one":                   reopensDiscarded,
	"Reopen/not by a lower run":                   keepsClosed,
	"Transitions/any sequence is as in the model": anySequence,
}

func requireChange(t *testing.T, s store.Store, a store.Arrival, kind store.ChangeKind, state store.State) {
	t.Helper()
	changes := put(t, s, a)
	changes[0].ReplaysEnded = 0 // of which countsReplays tells
	require.Equal(t, []store.Change{{ID: a.ID, Kind: kind, State: state, Run: a.Occurrence.Run}}, changes)
	require.Equal(t, state, get(t, s, a.ID).State)
}

// requireIntents requires that the store has only these intents, by state.
func requireIntents(t test, s store.Store, pending, published, done int) []store.Intent {
	t.Helper()
	var all []store.Intent
	for state, n := range map[store.IntentState]int{
		store.IntentPending: pending, store.IntentPublished: published, store.IntentDone: done,
	} {
		intents, err := s.Intents(t.Context(), state, 0, store.MaxPage)
		require.NoError(t, err)
		require.Len(t, intents, n, "of state %d", state)
		all = append(all, intents...)
	}
	return all
}

func reopensReplayed(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 1))
	replay(t, s, id, 4)
	requireChange(t, s, arrival(id, 4), store.ChangeDiedAgain, store.StateOpen)
	requireSame(t, whole(store.StateOpen, arrival(id, 1), arrival(id, 4)), get(t, s, id))
	require.Equal(t, store.OutcomeDeadLettered, requireIntents(t, s, 0, 0, 1)[0].Outcome)
	replay(t, s, id, 5)
}

func reopensLater(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 1))
	_, i := replay(t, s, id, 2)
	require.NoError(t, s.MarkPublished(t.Context(), i.ID))
	requireChange(t, s, arrival(id, 3), store.ChangeDiedAgain, store.StateOpen)
	require.Equal(t, store.OutcomeDeadLettered, requireIntents(t, s, 0, 0, 1)[0].Outcome)
	requireChange(t, s, arrival(id, 2), store.ChangeHistory, store.StateOpen)
}

func keepsInReplay(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 1))
	replay(t, s, id, 4)
	requireChange(t, s, arrival(id, 3), store.ChangeHistory, store.StateInReplay)
	requireSame(t, whole(store.StateInReplay, arrival(id, 1), arrival(id, 3)), get(t, s, id))
	requireIntents(t, s, 1, 0, 0)
	resolved, err := s.Resolve(t.Context(), id, 4, store.OutcomeSucceeded)
	require.NoError(t, err)
	require.True(t, resolved)
}

func reopensResolved(t *testing.T, s store.Store) {
	now, replayed := task.NewID(), task.NewID()
	put(t, s, arrival(now, 1), arrival(replayed, 1))
	resolveNow(t, s, now)
	requireChange(t, s, arrival(now, 2), store.ChangeDiedAgain, store.StateOpen)
	replay(t, s, replayed, 2)
	_, err := s.Resolve(t.Context(), replayed, 2, store.OutcomeCancelled)
	require.NoError(t, err)
	requireChange(t, s, arrival(replayed, 3), store.ChangeDiedAgain, store.StateOpen)
}

func keepsResolved(t *testing.T, s store.Store) {
	now, replayed := task.NewID(), task.NewID()
	put(t, s, arrival(now, 1), arrival(replayed, 1))
	_, err := s.ResolveNow(t.Context(), store.ResolveRequest{ID: now, Run: 3})
	require.NoError(t, err)
	replay(t, s, replayed, 3)
	_, err = s.Resolve(t.Context(), replayed, 3, store.OutcomeSucceeded)
	require.NoError(t, err)
	for _, id := range []string{now, replayed} {
		requireChange(t, s, arrival(id, 2), store.ChangeHistory, store.StateResolved)
		requireChange(t, s, arrival(id, 3), store.ChangeHistory, store.StateResolved)
		require.Equal(t, 3, get(t, s, id).Run)
		requireChange(t, s, arrival(id, 4), store.ChangeDiedAgain, store.StateOpen)
	}
}

func reopensDiscarded(t *testing.T, s store.Store) {
	for _, a := range []store.Arrival{arrival(task.NewID(), 1), foreign(task.NewID())} {
		put(t, s, a)
		discard(t, s, a.ID)
		a.Occurrence.Run++
		requireChange(t, s, a, store.ChangeDiedAgain, store.StateOpen)
		require.Equal(t, "hopeless", get(t, s, a.ID).OperatorReason)
	}
}

func keepsClosed(t *testing.T, s store.Store) {
	for state, closed := range map[store.State]func(id string){
		store.StateInReplay:  func(id string) { replay(t, s, id, 6) },
		store.StateResolved:  func(id string) { resolveNow(t, s, id) },
		store.StateDiscarded: func(id string) { discard(t, s, id) },
	} {
		id := task.NewID()
		put(t, s, arrival(id, 5))
		closed(id)
		was := get(t, s, id)
		requireChange(t, s, arrival(id, 2), store.ChangeHistory, state)
		got := get(t, s, id)
		requireSame(t, whole(state, arrival(id, 5), arrival(id, 2)), got)
		require.NotEqual(t, was.Etag, got.Etag)
		require.Greater(t, got.Change, was.Change)
		require.Equal(t, was.UpdateTime, got.UpdateTime)
	}
}
