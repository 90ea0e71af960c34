package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var bulkRules = map[string]func(*testing.T, store.Store){
	"Bulk/needs a state that fits":            needsState,
	"Bulk/each stands for itself":             standsForItself,
	"Bulk/leaves what has changed since":      leavesChanged,
	"Bulk/a judgement changes nothing":        judgesOnly,
	"Bulk/is one audit event":                 auditsBulk,
	"Bulk/is in each one's history":           entersHistory,
	"Bulk/keeps to its limit":                 keepsToBulk,
	"Hold/keeps a dead letter as it is":       keepsHeld,
	"Hold/is no change of state":              holdsState,
	"Hold/of a type keeps all of it":          holdsType,
	"Restore/counts replays from the start":   restoresCount,
	"Discard/of what is quarantined":          discardsQuarantined,
	"Quarantine/after as many replays":        quarantines,
	"Quarantine/not for a death in between":   quarantinesByReplays,
	"Quarantine/by its type's policy":         quarantinesByType,
	"Quarantine/may turn out to be a mistake": quarantinedResolves,
}

var bulkCall = store.Call{Method: "DiscardDeadLetters", Actor: "ann", Peer: "127.0.0.1:5", Reason: "why"}

// member is a dead letter as it is now.
func member(t test, s store.Store, id string) store.Member {
	t.Helper()
	selected, err := s.Select(t.Context(), store.FreezeRequest{IDs: []string{id}})
	require.NoError(t, err)
	require.Len(t, selected.Members, 1)
	return selected.Members[0]
}

func request(action store.BulkAction, members ...store.Member) store.BulkRequest {
	return store.BulkRequest{Action: action, Members: members, By: bulkCall, Audit: store.BulkAudit{Resource: "deadLetters/-"}}
}

// change does something with one dead letter, after it was judged.
func change(t test, s store.Store, action store.BulkAction, id string) store.BulkItem {
	t.Helper()
	r := request(action, member(t, s, id))
	judged, err := s.JudgeMembers(t.Context(), r)
	require.NoError(t, err)
	answer, err := s.ChangeMembers(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, judged, answer.Items)
	require.Len(t, answer.Items, 1)
	return answer.Items[0]
}

// inState makes a dead letter of a state.
func inState(t *testing.T, s store.Store, state store.State) string {
	t.Helper()
	id := task.NewID()
	put(t, s, arrival(id, 1))
	switch state {
	case store.StateInReplay:
		replay(t, s, id, 2)
	case store.StateResolved:
		resolveNow(t, s, id)
	case store.StateDiscarded:
		discard(t, s, id)
	case store.StatePurged:
		purge(t, s, id)
	case store.StateQuarantined:
		setPolicy(t, s, taskType, store.Settings{store.PolicyMaxReplays: 1})
		replay(t, s, id, 2)
		put(t, s, arrival(id, 2))
	}
	require.Equal(t, state, get(t, s, id).State)
	return id
}

func needsState(t *testing.T, s store.Store) {
	const none, wrong, busy, done = store.ObstacleNone, store.ObstacleState, store.ObstacleInReplay, store.ObstacleDone
	for state := store.StateOpen; state <= store.StatePurged; state++ {
		want := map[store.BulkAction]store.Obstacle{
			store.BulkDiscard: wrong, store.BulkRestore: wrong, store.BulkPurge: wrong, store.BulkHold: none, store.BulkRelease: done,
		}
		after := map[store.BulkAction]store.State{
			store.BulkDiscard: store.StateDiscarded, store.BulkRestore: store.StateOpen, store.BulkPurge: store.StatePurged,
		}
		switch state {
		case store.StateOpen:
			want[store.BulkDiscard] = none
		case store.StateInReplay:
			want[store.BulkDiscard], want[store.BulkRestore], want[store.BulkPurge] = busy, busy, busy
		case store.StateResolved:
			want[store.BulkPurge] = none
		case store.StateDiscarded:
			want[store.BulkRestore], want[store.BulkPurge] = none, none
		case store.StateQuarantined:
			want[store.BulkDiscard], want[store.BulkRestore] = none, none
		case store.StatePurged:
			want[store.BulkHold], want[store.BulkRelease] = wrong, wrong
		}
		for action, obstacle := range want {
			id := inState(t, s, state)
			was := get(t, s, id)
			require.Equal(t, store.BulkItem{ID: id, State: state, Obstacle: obstacle}, change(t, s, action, id), "%d of %s", action, state)
			got := get(t, s, id)
			if obstacle != none {
				require.Equal(t, was, got)
				continue
			}
			require.NotEqual(t, was.Etag, got.Etag)
			require.Greater(t, got.Change, was.Change)
			if to := after[action]; to != 0 {
				require.Equal(t, to, got.State)
			}
		}
	}
}

func standsForItself(t *testing.T, s store.Store) {
	open, closed, held := inState(t, s, store.StateOpen), inState(t, s, store.StateResolved), inState(t, s, store.StateOpen)
	change(t, s, store.BulkHold, held)
	r := request(store.BulkDiscard, member(t, s, closed), store.Member{Sequence: 1 << 40, Version: 1}, member(t, s, held), member(t, s, open))
	answer, err := s.ChangeMembers(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, []store.BulkItem{
		{ID: closed, State: store.StateResolved, Obstacle: store.ObstacleState},
		{Obstacle: store.ObstacleGone},
		{ID: held, State: store.StateOpen, Obstacle: store.ObstacleHeld},
		{ID: open, State: store.StateOpen},
	}, answer.Items)
	require.Equal(t, store.StateDiscarded, get(t, s, open).State)
}

func leavesChanged(t *testing.T, s store.Store) {
	id, busy := task.NewID(), task.NewID()
	put(t, s, arrival(id, 2), arrival(busy, 1))
	r := request(store.BulkDiscard, member(t, s, id), member(t, s, busy))
	r.Versioned = true
	put(t, s, arrival(id, 1))
	replay(t, s, busy, 2)
	answer, err := s.ChangeMembers(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, []store.BulkItem{
		{ID: id, State: store.StateOpen, Obstacle: store.ObstacleChanged},
		{ID: busy, State: store.StateInReplay, Obstacle: store.ObstacleInReplay},
	}, answer.Items)
	r.Members = []store.Member{member(t, s, id)}
	answer, err = s.ChangeMembers(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, store.ObstacleNone, answer.Items[0].Obstacle)
}

func judgesOnly(t *testing.T, s store.Store) {
	id := inState(t, s, store.StateOpen)
	was := get(t, s, id)
	items, err := s.JudgeMembers(t.Context(), request(store.BulkDiscard, member(t, s, id), store.Member{Sequence: 1 << 40}))
	require.NoError(t, err)
	require.Equal(t, []store.BulkItem{{ID: id, State: store.StateOpen}, {Obstacle: store.ObstacleGone}}, items)
	require.Equal(t, was, get(t, s, id))
}

func auditsBulk(t *testing.T, s store.Store) {
	a, b, c := inState(t, s, store.StateOpen), inState(t, s, store.StateOpen), inState(t, s, store.StateOpen)
	r := request(store.BulkRestore, member(t, s, a))
	r.Audit.Changes = []store.AuditChange{{Field: "filter", After: "all"}}
	none, err := s.ChangeMembers(t.Context(), r)
	require.NoError(t, err)
	require.Zero(t, none.Event)
	require.Empty(t, auditEvents(t, s, ""), "nothing was changed")

	r.Action, r.Members = store.BulkDiscard, []store.Member{member(t, s, a), member(t, s, b)}
	first, err := s.ChangeMembers(t.Context(), r)
	require.NoError(t, err)
	require.NotZero(t, first.Event)
	r.Audit.Event, r.Audit.Changed = first.Event, 2
	r.Members = []store.Member{member(t, s, a), member(t, s, c)}
	second, err := s.ChangeMembers(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, first.Event, second.Event)
	events := auditEvents(t, s, "")
	require.Len(t, events, 1)
	require.Equal(t, store.AuditEvent{
		Sequence: first.Event, Time: events[0].Time, By: bulkCall, Resource: "deadLetters/-", Changes: []store.AuditChange{
			{Field: "filter", After: "all"}, {Field: "changed", After: "3"}, {Field: "skipped", After: "1"},
		},
	}, events[0])
	require.WithinDuration(t, time.Now(), events[0].Time, time.Hour)
}

func entersHistory(t *testing.T, s store.Store) {
	id := inState(t, s, store.StateOpen)
	for _, action := range []store.BulkAction{store.BulkHold, store.BulkRelease, store.BulkDiscard, store.BulkRestore} {
		require.Equal(t, store.ObstacleNone, change(t, s, action, id).Obstacle)
	}
	entries, err := s.Audit(t.Context(), id)
	require.NoError(t, err)
	want := []store.AuditEntry{
		{Action: store.ActionHold, From: store.StateOpen, To: store.StateOpen},
		{Action: store.ActionRelease, From: store.StateOpen, To: store.StateOpen},
		{Action: store.ActionDiscard, From: store.StateOpen, To: store.StateDiscarded},
		{Action: store.ActionRestore, From: store.StateDiscarded, To: store.StateOpen},
	}
	require.Len(t, entries, 1+len(want))
	for i, e := range entries[1:] {
		want[i].Sequence, want[i].Time, want[i].DeadLetterID, want[i].Run, want[i].Reason, want[i].Actor = e.Sequence, e.Time, id, 1, "why", "ann"
		require.Equal(t, want[i], e)
	}
}

func keepsToBulk(t *testing.T, s store.Store) {
	putMany(t, s, store.MaxBulk+10)
	all, err := s.Select(t.Context(), store.FreezeRequest{})
	require.NoError(t, err)
	answer, err := s.ChangeMembers(t.Context(), request(store.BulkDiscard, all.Members...))
	require.NoError(t, err)
	require.Len(t, answer.Items, store.MaxBulk)
	n, err := s.Count(t.Context(), store.Query{State: store.StateDiscarded})
	require.NoError(t, err)
	require.EqualValues(t, store.MaxBulk, n)
}
