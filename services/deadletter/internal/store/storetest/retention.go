package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var retentionRules = map[string]func(*testing.T, store.Store){
	"Expire/purges what was kept for long enough": expiresStates,
	"Expire/keeps what is to be kept":             expiresNone,
	"Expire/forgets tombstones":                   expiresTombstones,
	"Expire/goes on where it was":                 expiresMany,
	"Expire/by the type's own policy":             expiresByType,
	"Forget/keeps what is young":                  forgetsNothing,
	"CountResidence/by type":                      countsResidence,
}

// atOnce is a retention that has ended with the next microsecond.
const atOnce = 1

// round has everything expire that can, and returns it.
func round(t test, s store.Store) []store.Expired {
	t.Helper()
	var all []store.Expired
	for place := (store.ExpirePlace{}); ; {
		expired, next, err := s.Expire(t.Context(), place)
		require.NoError(t, err)
		require.LessOrEqual(t, len(expired), store.MaxExpired)
		all = append(all, expired...)
		if place = next; place == (store.ExpirePlace{}) {
			return all
		}
	}
}

// expire waits until so many have expired.
func expire(t *testing.T, s store.Store, n int) []store.Expired {
	t.Helper()
	var all []store.Expired
	require.Eventually(t, func() bool {
		all = append(all, round(t, s)...)
		return len(all) >= n
	}, time.Minute, time.Millisecond)
	require.Len(t, all, n)
	require.Empty(t, round(t, s))
	return all
}

func expiresStates(t *testing.T, s store.Store) {
	for state, field := range map[store.State]store.PolicyField{
		store.StateOpen: store.PolicyOpenRetention, store.StateQuarantined: store.PolicyQuarantinedRetention,
		store.StateResolved: store.PolicyResolvedRetention, store.StateDiscarded: store.PolicyDiscardedRetention,
	} {
		id := inState(t, s, state)
		was := get(t, s, id)
		require.Empty(t, round(t, s), "none by the defaults")
		setPolicy(t, s, taskType, store.Settings{field: atOnce})
		events := auditEvents(t, s, "")
		require.Equal(t, []store.Expired{{ID: id, Type: taskType, State: state}}, expire(t, s, 1))
		setPolicy(t, s, taskType, store.Settings{field: 0})
		got := get(t, s, id)
		requireSame(t, tombstone(was), got)
		require.Equal(t, was.OperatorReason, got.OperatorReason)
		require.Equal(t, []string{id}, ids(changesAfter(t, s, was.Change, nil, 10).DeadLetters))
		entries, err := s.Audit(t.Context(), id)
		require.NoError(t, err)
		last := entries[len(entries)-1]
		require.Equal(t, store.AuditEntry{
			Sequence: last.Sequence, DeadLetterID: id, Time: got.UpdateTime, Action: store.ActionExpire,
			From: state, To: store.StatePurged, Run: was.Run, Reason: last.Reason,
		}, last)
		require.Contains(t, last.Reason, string(field))
		require.Equal(t, events, auditEvents(t, s, ""), "nobody has asked for it")
		requireChange(t, s, arrival(id, was.Run), store.ChangeNone, store.StatePurged)
	}
}

func expiresNone(t *testing.T, s store.Store) {
	replayed, held, restored := inState(t, s, store.StateInReplay), inState(t, s, store.StateOpen), inState(t, s, store.StateDiscarded)
	change(t, s, store.BulkHold, held)
	change(t, s, store.BulkHold, restored)
	change(t, s, store.BulkRestore, restored)
	all := store.Settings{store.PolicyMaxReplays: 0, store.PolicyHold: 1}
	for _, f := range store.PolicyAges {
		all[f] = atOnce
	}
	byType := inState(t, s, store.StateOpen)
	setPolicy(t, s, taskType, all)
	require.Empty(t, round(t, s))
	setPolicy(t, s, taskType, store.Settings{store.PolicyHold: 0})
	expire(t, s, 2) // byType, and then its tombstone
	requireGone(t, s, byType)
	for _, id := range []string{replayed, held, restored} {
		require.NotNil(t, get(t, s, id).Message)
	}
	change(t, s, store.BulkRelease, held)
	expire(t, s, 2)
	requireGone(t, s, held)
}

func expiresTombstones(t *testing.T, s store.Store) {
	id, stays := task.NewID(), inState(t, s, store.StatePurged)
	a := arrival(id, 1)
	a.Notify, a.Type = true, "other.v1.A.B"
	put(t, s, a)
	replay(t, s, id, 2)
	a.Occurrence.Run = 2
	put(t, s, a)
	purge(t, s, id)
	require.Empty(t, round(t, s))
	setPolicy(t, s, a.Type, store.Settings{store.PolicyTombstoneRetention: atOnce})
	require.Equal(t, []store.Expired{{ID: id, Type: a.Type, State: store.StatePurged}}, expire(t, s, 1))
	requireGone(t, s, id)
	_, err := s.Audit(t.Context(), id)
	require.ErrorIs(t, err, store.ErrNotFound)
	requireIntents(t, s, 0, 0, 0)
	require.Equal(t, store.StatePurged, get(t, s, stays).State)
	a.Notify = false
	requireChange(t, s, a, store.ChangeCreated, store.StateOpen) // as if it had never been
}

func expiresMany(t *testing.T, s store.Store) {
	const types, each = 3, 400
	var arrivals []store.Arrival
	for n := range types * each {
		a := arrival(task.NewID(), 1)
		a.Type = fmt.Sprintf("t.v1.A.B%d", n%types)
		arrivals = append(arrivals, a)
	}
	stray := foreign(task.NewID())
	stray.Type = ""
	put(t, s, append(arrivals, stray)...)
	setPolicy(t, s, store.AllTypes, store.Settings{store.PolicyOpenRetention: atOnce})
	expired := expire(t, s, types*each+1)
	seen := map[string]bool{}
	for _, e := range expired {
		require.False(t, seen[e.ID])
		seen[e.ID] = true
	}
	n, err := s.Count(t.Context(), store.Query{State: store.StatePurged})
	require.NoError(t, err)
	require.EqualValues(t, types*each+1, n)
}

func expiresByType(t *testing.T, s store.Store) {
	kept, other := arrival(task.NewID(), 1), arrival(task.NewID(), 1)
	other.Type = "other.v1.A.B"
	put(t, s, kept, other)
	setPolicy(t, s, store.AllTypes, store.Settings{store.PolicyOpenRetention: atOnce})
	setPolicy(t, s, kept.Type, store.Settings{store.PolicyOpenRetention: 0})
	require.Equal(t, other.ID, expire(t, s, 1)[0].ID)
}

func forgetsNothing(t *testing.T, s store.Store) {
	id := inState(t, s, store.StateOpen)
	_, err := s.Discard(t.Context(), store.DiscardRequest{ID: id, By: bulkCall})
	require.NoError(t, err)
	frozen, err := s.Freeze(t.Context(), store.FreezeRequest{})
	require.NoError(t, err)
	n, err := s.Forget(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	require.Len(t, auditEvents(t, s, ""), 1)
	_, err = s.Selection(t.Context(), frozen.Token)
	require.NoError(t, err)
}

func countsResidence(t *testing.T, s store.Store) {
	counts := func() []store.ResidenceCount {
		c, err := s.CountResidence(t.Context())
		require.NoError(t, err)
		return c
	}
	quarantined, held := inState(t, s, store.StateQuarantined), inState(t, s, store.StateOpen)
	inState(t, s, store.StateResolved)
	change(t, s, store.BulkHold, held)
	other := arrival(task.NewID(), 1)
	other.Type = "other.v1.A.B"
	put(t, s, other)
	require.Empty(t, counts())
	const never = int64(24 * time.Hour / time.Microsecond)
	await := func(want ...store.ResidenceCount) {
		t.Helper()
		require.EventuallyWithT(t, func(t *assert.CollectT) { assert.Equal(t, want, counts()) }, time.Minute, time.Millisecond)
	}
	setPolicy(t, s, taskType, store.Settings{store.PolicyWarnAge: atOnce, store.PolicyBreachAge: never})
	await(store.ResidenceCount{Type: taskType, Residence: store.ResidenceWarn, Count: 2})
	setPolicy(t, s, taskType, store.Settings{store.PolicyBreachAge: atOnce})
	await(store.ResidenceCount{Type: taskType, Residence: store.ResidenceBreach, Count: 2})
	setPolicy(t, s, store.AllTypes, store.Settings{store.PolicyWarnAge: atOnce})
	await(store.ResidenceCount{Type: other.Type, Residence: store.ResidenceWarn, Count: 1},
		store.ResidenceCount{Type: taskType, Residence: store.ResidenceBreach, Count: 2})
	discard(t, s, quarantined)
	await(store.ResidenceCount{Type: other.Type, Residence: store.ResidenceWarn, Count: 1},
		store.ResidenceCount{Type: taskType, Residence: store.ResidenceBreach, Count: 1})
}
