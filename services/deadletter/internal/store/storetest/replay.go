package storetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var replayRules = map[string]func(*testing.T, store.Store){
	"Replay/one of those who race wins":       oneWins,
	"Replay/with an etag":                     replaysWithEtag,
	"Replay/of what there is not":             replaysUnknown,
	"Replay/not of a message that is no task": refusesForeign,
	"Replay/not of what is not open":          refusesClosed,
	"Replay/not of a run that may have died":  refusesRun,
	"Replay/is audited, with its reason":      auditsAll,
	"Resolve/only the replay of its run":      resolvesItsRun,
}

// oneWins has many race to replay, resolve and discard, of whom one is the
// first.
func oneWins(t *testing.T, s store.Store) {
	for range 5 {
		id := task.NewID()
		put(t, s, arrival(id, 1))
		etag := get(t, s, id).Etag
		var wins atomic.Int32
		var wg sync.WaitGroup
		failures := make(chan error, 8)
		for range cap(failures) {
			wg.Go(func() {
				_, _, err := s.BeginReplay(t.Context(), store.ReplayRequest{ID: id, Etag: etag, Run: 2, By: store.Call{Reason: "mended"}})
				if err == nil {
					wins.Add(1)
					return
				}
				failures <- err
			})
		}
		wg.Wait()
		close(failures)
		require.EqualValues(t, 1, wins.Load())
		for err := range failures {
			var notOpen *store.NotOpenError
			require.True(t, errors.As(err, &notOpen), err)
			require.Equal(t, id, notOpen.ID)
			require.Equal(t, store.StateInReplay, notOpen.State)
			require.False(t, notOpen.Holder.Since.IsZero())
		}
	}
	requireIntents(t, s, 5, 0, 0)
}

func replaysWithEtag(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 1))
	etag := get(t, s, id).Etag
	put(t, s, arrival(id, 2))
	ctx := t.Context()
	for name, call := range map[string]func(etag string) (store.DeadLetter, error){
		"BeginReplay": func(etag string) (store.DeadLetter, error) {
			d, _, err := s.BeginReplay(ctx, store.ReplayRequest{ID: id, Etag: etag, Run: get(t, s, id).Run + 1})
			return d, err
		},
		"ResolveNow": func(etag string) (store.DeadLetter, error) {
			return s.ResolveNow(ctx, store.ResolveRequest{ID: id, Etag: etag})
		},
		"Discard": func(etag string) (store.DeadLetter, error) {
			return s.Discard(ctx, store.DiscardRequest{ID: id, Etag: etag})
		},
	} {
		was := get(t, s, id)
		for _, wrong := range []string{etag, "x", was.Etag + " "} {
			_, err := call(wrong)
			require.ErrorIs(t, err, store.ErrEtag, name)
		}
		require.Equal(t, was, get(t, s, id))
		d, err := call(was.Etag)
		require.NoError(t, err, name)
		require.NotEqual(t, was.Etag, d.Etag)
		require.Equal(t, basic(get(t, s, id)), d)
		put(t, s, arrival(id, was.Run+1)) // OPEN again
	}
}

func replaysUnknown(t *testing.T, s store.Store) {
	ctx := t.Context()
	for _, id := range []string{task.NewID(), "", "x", "' OR 1=1 --"} {
		for name, call := range map[string]func() error{
			"BeginReplay": func() error {
				_, _, err := s.BeginReplay(ctx, store.ReplayRequest{ID: id, Run: 2})
				return err
			},
			"ResolveNow":       func() error { _, err := s.ResolveNow(ctx, store.ResolveRequest{ID: id}); return err },
			"Discard":          func() error { _, err := s.Discard(ctx, store.DiscardRequest{ID: id}); return err },
			"Resolve":          func() error { _, err := s.Resolve(ctx, id, 1, store.OutcomeSucceeded); return err },
			"MarkPublishing":   func() error { _, err := s.MarkPublishing(ctx, id); return err },
			"MarkPublished":    func() error { return s.MarkPublished(ctx, id) },
			"MarkUnroutable":   func() error { return s.MarkUnroutable(ctx, id) },
			"Audit":            func() error { _, err := s.Audit(ctx, id); return err },
			"NotificationSent": func() error { return s.NotificationSent(ctx, id) },
			"NotificationFailed": func() error {
				return s.NotificationFailed(ctx, id, store.NotificationFailure{NextTime: epoch})
			},
		} {
			err := call()
			require.ErrorIs(t, err, store.ErrNotFound, name)
			require.NotErrorIs(t, err, store.ErrUnavailable, name)
		}
	}
}

func refusesForeign(t *testing.T, s store.Store) {
	a := foreign(task.NewID())
	put(t, s, a)
	for range 2 {
		_, _, err := s.BeginReplay(t.Context(), store.ReplayRequest{ID: a.ID, Run: 1})
		require.ErrorIs(t, err, store.ErrNotReplayable)
		_, err = s.ResolveNow(t.Context(), store.ResolveRequest{ID: a.ID})
		require.ErrorIs(t, err, store.ErrNotReplayable)
		if get(t, s, a.ID).State == store.StateOpen {
			discard(t, s, a.ID)
		}
	}
}

func refusesClosed(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 1))
	discard(t, s, id)
	_, _, err := s.BeginReplay(t.Context(), store.ReplayRequest{ID: id, Run: 2, Etag: "wrong"})
	require.ErrorIs(t, err, store.ErrNotOpen)
	require.NotErrorIs(t, err, store.ErrEtag)
	require.ErrorContains(t, err, "DISCARDED")
	_, err = s.Discard(t.Context(), store.DiscardRequest{ID: id})
	require.ErrorIs(t, err, store.ErrNotOpen)
	_, err = s.ResolveNow(t.Context(), store.ResolveRequest{ID: id})
	require.ErrorIs(t, err, store.ErrNotOpen)
}

func refusesRun(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 3))
	for _, run := range []int{-1, 0, 1, 3, 1 << 40} {
		_, _, err := s.BeginReplay(t.Context(), store.ReplayRequest{ID: id, Run: run})
		require.ErrorIs(t, err, store.ErrRun)
	}
	require.Equal(t, store.StateOpen, get(t, s, id).State)
	requireIntents(t, s, 0, 0, 0)
}

func auditsAll(t *testing.T, s store.Store) {
	id := task.NewID()
	put(t, s, arrival(id, 1))
	d, _ := replay(t, s, id, 2)
	require.Equal(t, "mended", d.OperatorReason)
	_, err := s.Resolve(t.Context(), id, 2, store.OutcomeCancelled)
	require.NoError(t, err)
	put(t, s, arrival(id, 3))
	d = discard(t, s, id)
	require.Equal(t, "hopeless", d.OperatorReason)
	put(t, s, arrival(id, 4))
	d = resolveNow(t, s, id)
	require.Equal(t, "hopeless", d.OperatorReason, "of an operator")

	entries, err := s.Audit(t.Context(), id)
	require.NoError(t, err)
	const none, open, inReplay, resolved, discarded = 0, store.StateOpen, store.StateInReplay, store.StateResolved, store.StateDiscarded
	want := []store.AuditEntry{
		{Action: store.ActionArrive, From: none, To: open, Run: 1},
		{Action: store.ActionReplay, From: open, To: inReplay, Run: 2, Reason: "mended"},
		{Action: store.ActionResolve, From: inReplay, To: resolved, Run: 2, Reason: "CANCELLED"},
		{Action: store.ActionArrive, From: resolved, To: open, Run: 3},
		{Action: store.ActionDiscard, From: open, To: discarded, Run: 3, Reason: "hopeless"},
		{Action: store.ActionArrive, From: discarded, To: open, Run: 4},
		{Action: store.ActionResolve, From: open, To: resolved, Run: 4, Reason: "the task has SUCCEEDED"},
	}
	require.Len(t, entries, len(want))
	for i := range want {
		want[i].DeadLetterID, want[i].Sequence, want[i].Time = id, entries[i].Sequence, entries[i].Time
		require.False(t, entries[i].Time.IsZero())
	}
	require.Equal(t, want, entries)
	require.Equal(t, d.UpdateTime, entries[len(entries)-1].Time)
}

func resolvesItsRun(t *testing.T, s store.Store) {
	id := task.NewID()
	resolve := func(run int) bool {
		resolved, err := s.Resolve(t.Context(), id, run, store.OutcomeSucceeded)
		require.NoError(t, err)
		return resolved
	}
	put(t, s, arrival(id, 1))
	require.False(t, resolve(1), "it is OPEN")
	_, i := replay(t, s, id, 3)
	was := get(t, s, id)
	for _, run := range []int{0, 1, 2, 4} {
		require.False(t, resolve(run))
	}
	require.Equal(t, was, get(t, s, id))
	require.NoError(t, s.MarkPublished(t.Context(), i.ID))
	require.True(t, resolve(3))
	require.Equal(t, store.StateResolved, get(t, s, id).State)
	require.Equal(t, store.OutcomeSucceeded, requireIntents(t, s, 0, 0, 1)[0].Outcome)
	require.False(t, resolve(3), "it is RESOLVED")

	// The next one's replay is not the last one's.
	put(t, s, arrival(id, 4))
	replay(t, s, id, 5)
	require.False(t, resolve(3))
	requireIntents(t, s, 1, 0, 1)
}
