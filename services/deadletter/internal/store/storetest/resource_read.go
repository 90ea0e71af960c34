package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

func pagesItems(t *testing.T, s store.Store) {
	ids, set := dying(t, s, 7)
	r := create(t, s, set, store.Plan{MaxInFlight: 7})
	b := ready(t, s, r, 4)
	b.Items[1].Verdict = store.VerdictHeld
	begin(t, s, b)
	put(t, s, arrival(ids[2], 2))
	succeed(t, s, ids[3])
	paged := func(limit int, states ...store.ItemState) (all []store.ReplayItem) {
		for from := 0; ; {
			page, err := s.ReplayItems(t.Context(), store.ItemQuery{ReplayID: r.ID, States: states, From: from, Limit: limit})
			require.NoError(t, err)
			require.LessOrEqual(t, len(page.Items), limit)
			all = append(all, page.Items...)
			if from = page.Next; from == 0 {
				return all
			}
		}
	}
	states := func(all []store.ReplayItem) (of []store.ItemState) {
		for _, i := range all {
			require.Equal(t, ids[i.Position], i.DeadLetterID)
			of = append(of, i.State)
		}
		return of
	}
	const flies, failed, done, skipped, waits = store.ItemInFlight, store.ItemFailedAgain, store.ItemSucceeded, store.ItemSkipped, store.ItemPending
	for limit := 1; limit < 9; limit++ {
		require.Equal(t, []store.ItemState{flies, skipped, failed, done, waits, waits, waits}, states(paged(limit)))
		require.Equal(t, []store.ItemState{skipped, failed}, states(paged(limit, failed, skipped)))
		require.Equal(t, []store.ItemState{flies, waits, waits, waits}, states(paged(limit, flies, waits)))
		require.Equal(t, []store.ItemState{done}, states(paged(limit, done, store.ItemUnknown)))
	}
	_, err := s.ReplayItems(t.Context(), store.ItemQuery{ReplayID: task.NewID(), Limit: 1})
	require.ErrorIs(t, err, store.ErrNoReplay)
}

func listsReplays(t *testing.T, s store.Store) {
	_, set := dying(t, s, 1)
	var made []store.Replay
	for range 3 {
		made = append(made, create(t, s, set, store.Plan{MaxInFlight: 1}))
	}
	steer(t, s, made[1].ID, store.SteerCancel)
	ids := func(q store.ReplayQuery) (ids []string) {
		page, err := s.Replays(t.Context(), q)
		require.NoError(t, err)
		for _, r := range page {
			ids = append(ids, r.ID)
		}
		return ids
	}
	require.Equal(t, []string{made[2].ID, made[1].ID}, ids(store.ReplayQuery{Limit: 2}))
	require.Equal(t, []string{made[0].ID}, ids(store.ReplayQuery{Limit: 2, Before: made[1].Sequence}))
	require.Equal(t, []string{made[2].ID, made[0].ID}, ids(store.ReplayQuery{Limit: 9, Active: true}))
	f, err := store.ReplayFields.Parse(`state = "CANCELLED" AND actor = "unauthenticated" AND reason:"mend"`)
	require.NoError(t, err)
	require.Equal(t, []string{made[1].ID}, ids(store.ReplayQuery{Limit: 9, Filter: f}))
}
