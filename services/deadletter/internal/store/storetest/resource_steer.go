package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

func pauses(t *testing.T, s store.Store) {
	ids, set := dying(t, s, 2)
	r := create(t, s, set, store.Plan{MaxInFlight: 2})
	b := ready(t, s, r, 1)
	begin(t, s, b)
	for range 2 {
		r = steer(t, s, r.ID, store.SteerPause)
		require.Equal(t, store.ReplayPaused, r.State)
		require.Equal(t, "why", r.StateReason)
	}
	_, _, err := s.BeginItems(t.Context(), ready(t, s, r, 1))
	require.ErrorIs(t, err, store.ErrMoved)
	requireIntents(t, s, 0, 0, 0) // it is not to be published
	_, err = s.MarkPublishing(t.Context(), b.Items[0].IntentID)
	require.ErrorIs(t, err, store.ErrNotPending)
	for range 2 {
		r = steer(t, s, r.ID, store.SteerResume)
		require.Equal(t, store.ReplayRunning, r.State)
	}
	requireIntents(t, s, 1, 0, 0)
	steer(t, s, r.ID, store.SteerPause)
	succeed(t, s, ids[0])
	require.Equal(t, store.ReplayPaused, replayNow(t, s, r.ID).State)
	events, err := s.AuditEvents(t.Context(), nil, 0, 100)
	require.NoError(t, err)
	require.Len(t, events, 4, "of the calls that changed something")
	require.Equal(t, []store.AuditChange{{Field: "state", Before: "RUNNING", After: "PAUSED"}}, events[0].Changes)
}

func takesBack(t *testing.T, s store.Store) {
	ids, set := dying(t, s, 4)
	r := create(t, s, set, store.Plan{MaxInFlight: 4})
	b := ready(t, s, r, 3)
	begin(t, s, b)
	was := get(t, s, ids[0])
	require.NoError(t, s.MarkSent(t.Context(), []store.Sent{{IntentID: b.Items[0].IntentID}, {IntentID: b.Items[0].IntentID}}))
	require.Equal(t, store.StateInReplay, get(t, s, ids[0]).State, "it is published later")
	r = steer(t, s, r.ID, store.SteerCancel)
	require.Equal(t, store.ReplayCancelled, r.State)
	require.Equal(t, store.ReplayCounts{Total: 4, Pending: 2, InFlight: 2}, r.Counts)
	d := get(t, s, ids[0])
	require.Equal(t, []any{store.StateOpen, "", 0}, []any{d.State, d.ReplayID, d.ReplayCount})
	require.Greater(t, d.Change, was.Change)
	// One that is known later not to have been sent is taken back then.
	require.NoError(t, s.MarkSent(t.Context(), []store.Sent{{IntentID: b.Items[1].IntentID}, {IntentID: b.Items[2].IntentID, Published: true}}))
	r = replayNow(t, s, r.ID)
	require.Equal(t, store.ReplayCounts{Total: 4, Pending: 3, InFlight: 1}, r.Counts)
	require.True(t, r.EndTime.IsZero())
	require.Len(t, items(t, s, r.ID, store.ItemPending), 3)
	succeed(t, s, ids[2])
	r = replayNow(t, s, r.ID)
	require.False(t, r.EndTime.IsZero())
	require.Equal(t, store.ReplayCancelled, r.State)
	require.Equal(t, r, steer(t, s, r.ID, store.SteerCancel), "once more is as it is")
	for _, action := range []store.SteerAction{store.SteerPause, store.SteerResume, store.SteerUpdate} {
		_, err := s.SteerReplay(t.Context(), store.Steering{ReplayID: r.ID, Action: action})
		var ended *store.ReplayEndedError
		require.ErrorAs(t, err, &ended)
		require.Equal(t, store.ReplayCancelled, ended.State)
	}
	// The run may be begun again, since no message of it is in a queue.
	_, i := replay(t, s, ids[0], 2)
	require.Equal(t, 2, i.Run)
}

func changesPlan(t *testing.T, s store.Store) {
	_, set := dying(t, s, 1)
	r := create(t, s, set, store.Plan{MaxInFlight: 4, MaxPerSecond: 1})
	rate := 7.5
	x := store.Steering{ReplayID: r.ID, Action: store.SteerUpdate, MaxPerSecond: &rate, Etag: "other", By: operator}
	_, err := s.SteerReplay(t.Context(), x)
	require.ErrorIs(t, err, store.ErrEtag)
	x.Etag = r.Etag
	changed, err := s.SteerReplay(t.Context(), x)
	require.NoError(t, err)
	require.Equal(t, store.Plan{MaxInFlight: 4, MaxPerSecond: rate}, changed.Plan)
	require.NotEqual(t, r.Etag, changed.Etag)
	_, err = s.SteerReplay(t.Context(), x)
	require.ErrorIs(t, err, store.ErrEtag)
	_, err = s.SteerReplay(t.Context(), store.Steering{ReplayID: task.NewID(), Action: store.SteerPause})
	require.ErrorIs(t, err, store.ErrNoReplay)
}

func reopens(t *testing.T, s store.Store) {
	ids, set := dying(t, s, 2)
	r := create(t, s, set, store.Plan{MaxInFlight: 2})
	begin(t, s, ready(t, s, r, 2))
	_, err := s.Reopen(t.Context(), store.ReopenRequest{ID: ids[0], By: operator})
	var early *store.NotOverdueError
	require.ErrorAs(t, err, &early)
	require.Equal(t, get(t, s, ids[0]).UpdateTime.Add(store.OverdueAfter), early.Time)
	_, err = s.Reopen(t.Context(), store.ReopenRequest{ID: ids[0], Etag: "other", Force: true})
	require.ErrorIs(t, err, store.ErrEtag)
	d, err := s.Reopen(t.Context(), store.ReopenRequest{ID: ids[0], Force: true, By: operator})
	require.NoError(t, err)
	require.Equal(t, store.StateOpen, d.State)
	require.Empty(t, d.ReplayID)
	r = replayNow(t, s, r.ID)
	require.Equal(t, store.ReplayCounts{Total: 2, InFlight: 1, Unknown: 1}, r.Counts)
	_, err = s.Reopen(t.Context(), store.ReopenRequest{ID: ids[0], Force: true, By: operator})
	require.ErrorIs(t, err, store.ErrNotOpen)

	// What was begun and given up is not begun again, and its outcome holds.
	_, i := replay(t, s, ids[0], 2)
	require.Equal(t, 3, i.Run)
	put(t, s, arrival(ids[0], 3))
	require.Equal(t, store.StateOpen, get(t, s, ids[0]).State)
	require.Equal(t, store.ItemUnknown, items(t, s, r.ID)[0].State, "for good")

	d, err = s.Reopen(t.Context(), store.ReopenRequest{ID: ids[1], Force: true, By: operator})
	require.NoError(t, err)
	require.Equal(t, store.StateOpen, d.State)
	put(t, s, arrival(ids[1], 2))
	require.Equal(t, 2, get(t, s, ids[1]).Run)
	r = replayNow(t, s, r.ID)
	require.Equal(t, store.ReplayCounts{Total: 2, Unknown: 2}, r.Counts)
	require.Equal(t, store.ReplayCompleted, r.State)
}
