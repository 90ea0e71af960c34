package sqlite_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
	"github.com/warrenmq/warren/services/deadletter/internal/store/sqlite"
)

// What was begun long ago and has not ended is shown as UNKNOWN, and may be reopened.
func TestOverdueItems(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var now atomic.Int64
	now.Store(time.Now().UnixMicro())
	s, err := sqlite.Open(ctx, "sqlite:"+file(t), sqlite.Options{Clock: func() time.Time { return time.UnixMicro(now.Load()) }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	ids := []string{task.NewID(), task.NewID(), task.NewID()}
	for _, id := range ids {
		_, err := s.Put(ctx, []store.Arrival{dead(id, 1)})
		require.NoError(t, err)
	}
	set, err := s.Select(ctx, store.FreezeRequest{IDs: ids})
	require.NoError(t, err)
	r, err := s.CreateReplay(ctx, store.NewReplay{Selection: set, Plan: store.Plan{MaxInFlight: 10}})
	require.NoError(t, err)
	begin := func(i int) {
		_, _, err := s.BeginItems(ctx, store.Begin{ReplayID: r.ID, Handled: i, Items: []store.BeginItem{{
			Sequence: set.Members[i].Sequence, DeadLetterID: ids[i], Etag: "1", Verdict: store.VerdictReady, IntentID: uuid.NewString(), Run: 2, Revision: 1,
		}}})
		require.NoError(t, err)
	}
	counts := func() store.ReplayCounts {
		r, err := s.Replay(ctx, r.ID)
		require.NoError(t, err)
		page, err := s.Replays(ctx, store.ReplayQuery{Limit: 1})
		require.NoError(t, err)
		require.Equal(t, []store.Replay{r}, page)
		return r.Counts
	}
	begin(0)
	now.Add(store.OverdueAfter.Microseconds() - 1)
	begin(1)
	require.Equal(t, store.ReplayCounts{Total: 3, Pending: 1, InFlight: 2}, counts())
	now.Add(1)
	require.Equal(t, store.ReplayCounts{Total: 3, Pending: 1, InFlight: 1, Unknown: 1}, counts())
	for state, want := range map[store.ItemState]string{store.ItemUnknown: ids[0], store.ItemInFlight: ids[1], store.ItemPending: ids[2]} {
		page, err := s.ReplayItems(ctx, store.ItemQuery{ReplayID: r.ID, States: []store.ItemState{state}, Limit: 10})
		require.NoError(t, err)
		require.Len(t, page.Items, 1)
		require.Equal(t, want, page.Items[0].DeadLetterID)
		require.Equal(t, state, page.Items[0].State)
	}
	d, err := s.Get(ctx, ids[0], false)
	require.NoError(t, err)
	require.Equal(t, store.StateInReplay, d.State, "until its outcome is known")

	_, err = s.Reopen(ctx, store.ReopenRequest{ID: ids[1]})
	require.ErrorIs(t, err, store.ErrNotOverdue)
	d, err = s.Reopen(ctx, store.ReopenRequest{ID: ids[0]})
	require.NoError(t, err)
	require.Equal(t, store.StateOpen, d.State)
	require.Equal(t, store.ReplayCounts{Total: 3, Pending: 1, InFlight: 1, Unknown: 1}, counts())
	resolved, err := s.Resolve(ctx, ids[1], 2, store.OutcomeSucceeded)
	require.NoError(t, err)
	require.True(t, resolved)
	require.Equal(t, store.ReplayCounts{Total: 3, Pending: 1, Succeeded: 1, Unknown: 1}, counts())
}

// A replay that ended a year ago is forgotten, a part of its items at a time; a younger
// one, and one that has not ended, are kept.
func TestOldReplaysAreForgotten(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var now atomic.Int64
	now.Store(time.Now().UnixMicro())
	s, err := sqlite.Open(ctx, "sqlite:"+file(t), sqlite.Options{Clock: func() time.Time { return time.UnixMicro(now.Load()) }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	arrivals := make([]store.Arrival, store.MaxExpired+1)
	for i := range arrivals {
		arrivals[i] = dead(task.NewID(), 1)
	}
	_, err = s.Put(ctx, arrivals)
	require.NoError(t, err)
	set, err := s.Select(ctx, store.FreezeRequest{})
	require.NoError(t, err)
	create := func(skipped int) store.Replay {
		r, err := s.CreateReplay(ctx, store.NewReplay{Selection: set, Plan: store.Plan{MaxInFlight: 10}})
		require.NoError(t, err)
		b := store.Begin{ReplayID: r.ID}
		for _, m := range set.Members[:skipped] {
			b.Items = append(b.Items, store.BeginItem{Sequence: m.Sequence, DeadLetterID: task.NewID(), Verdict: store.VerdictHeld})
		}
		_, r, err = s.BeginItems(ctx, b)
		require.NoError(t, err)
		return r
	}
	open, old := create(1), create(len(set.Members))
	require.False(t, old.EndTime.IsZero())
	now.Add(time.Hour.Microseconds())
	young := create(len(set.Members))
	now.Add((store.AuditRetention - time.Hour).Microseconds())
	forget := func() {
		_, err := s.Forget(ctx)
		require.NoError(t, err)
	}
	forget()
	page, err := s.ReplayItems(ctx, store.ItemQuery{ReplayID: old.ID, States: []store.ItemState{store.ItemSkipped}, Limit: 10})
	require.NoError(t, err)
	require.Len(t, page.Items, 1)
	forget()
	_, err = s.Replay(ctx, old.ID)
	require.ErrorIs(t, err, store.ErrNoReplay)
	forget()
	for _, kept := range []store.Replay{open, young} {
		_, err = s.Replay(ctx, kept.ID)
		require.NoError(t, err)
		page, err = s.ReplayItems(ctx, store.ItemQuery{ReplayID: kept.ID, States: []store.ItemState{store.ItemSkipped}, Limit: 10})
		require.NoError(t, err)
		require.NotEmpty(t, page.Items)
	}
}
