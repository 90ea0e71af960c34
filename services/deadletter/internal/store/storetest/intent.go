package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var intentRules = map[string]func(*testing.T, store.Store){
	"Intents/go from pending to done":       goesToDone,
	"Intents/count publishes":               countsPublishes,
	"Intents/need no publishing once ended": needsNoPublishing,
	"Intents/page in their order":           pagesIntents,
}

func goesToDone(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 1))
	d, i := replay(t, s, id, 2)
	require.Equal(t, store.StateInReplay, d.State)
	require.Equal(t, store.Intent{
		ID: i.ID, Sequence: i.Sequence, DeadLetterID: id, Run: 2, State: store.IntentPending, Time: d.UpdateTime, Reason: "mended", Call: "00-a-b-01", Revision: 1,
	}, i)
	require.Equal(t, []store.Intent{i}, requireIntents(t, s, 1, 0, 0))

	for range 2 {
		require.NoError(t, s.MarkUnroutable(t.Context(), i.ID))
	}
	i.Unroutable = true
	require.Equal(t, []store.Intent{i}, requireIntents(t, s, 1, 0, 0))
	require.NoError(t, s.MarkPublished(t.Context(), i.ID))
	require.NoError(t, s.MarkPublished(t.Context(), i.ID))
	i.State = store.IntentPublished
	require.Equal(t, []store.Intent{i}, requireIntents(t, s, 0, 1, 0))
	require.Equal(t, basic(get(t, s, id)), d, "marks are no changes")

	_, err := s.Resolve(t.Context(), id, 2, store.OutcomeSucceeded)
	require.NoError(t, err)
	require.NoError(t, s.MarkPublished(t.Context(), i.ID))
	i.State, i.Outcome = store.IntentDone, store.OutcomeSucceeded
	require.Equal(t, []store.Intent{i}, requireIntents(t, s, 0, 0, 1))
}

func countsPublishes(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 1))
	_, i := replay(t, s, id, 2)
	for n := range 3 {
		got, err := s.MarkPublishing(t.Context(), i.ID)
		require.NoError(t, err)
		i.Publishes = n + 1
		require.Equal(t, i, got)
		require.Equal(t, []store.Intent{i}, requireIntents(t, s, 1, 0, 0))
	}
}

func needsNoPublishing(t *testing.T, s store.Store) {
	published, died, resolved := task.NewID(), task.NewID(), task.NewID()
	for _, id := range []string{published, died, resolved} {
		put(t, s, arrival(id, 1))
		_, i := replay(t, s, id, 2)
		switch id {
		case published:
			require.NoError(t, s.MarkPublished(t.Context(), i.ID))
		case died:
			put(t, s, arrival(id, 2))
		case resolved:
			_, err := s.Resolve(t.Context(), id, 2, store.OutcomeSucceeded)
			require.NoError(t, err)
		}
		_, err := s.MarkPublishing(t.Context(), i.ID)
		require.ErrorIs(t, err, store.ErrNotPending)
	}
	requireIntents(t, s, 0, 1, 2)
}

func pagesIntents(t *testing.T, s store.Store) {
	var want []store.Intent
	for range 7 {
		id := task.NewID()
		put(t, s, arrival(id, 1))
		_, i := replay(t, s, id, 2)
		want = append(want, i)
	}
	var got []store.Intent
	for after := int64(0); ; {
		page, err := s.Intents(t.Context(), store.IntentPending, after, 3)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page), 3)
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
		after = got[len(got)-1].Sequence
	}
	require.Equal(t, want, got)
	for _, limit := range []int{0, -1} {
		page, err := s.Intents(t.Context(), store.IntentPending, 0, limit)
		require.NoError(t, err)
		require.Empty(t, page)
	}
}
