package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var policyRules = map[string]func(*testing.T, store.Store){
	"Policy/of what was never set":      readsUnset,
	"Policy/sets and unsets":            setsPolicy,
	"Policy/with an etag":               setsWithEtag,
	"Policy/is audited":                 auditsPolicy,
	"Policy/lists by type":              listsPolicies,
	"Policy/holds by type, then by *":   holdsEffective,
	"Policy/says when something ends":   saysPurgeTime,
	"Policy/says how long one waits":    saysResidence,
	"Policy/that changes nothing is so": changesNothing,
}

// setPolicy sets values of a policy.
func setPolicy(t test, s store.Store, taskType string, set store.Settings) store.Policy {
	t.Helper()
	r := store.PolicyRequest{TaskType: taskType, Set: set}
	for f := range set {
		r.Fields = append(r.Fields, f)
	}
	own, _, err := s.UpdatePolicy(t.Context(), r)
	require.NoError(t, err)
	return own
}

func readsUnset(t *testing.T, s store.Store) {
	own, all, err := s.Policy(t.Context(), "a.v1.A.B")
	require.NoError(t, err)
	require.Equal(t, store.Policy{TaskType: "a.v1.A.B", Set: store.Settings{}, Etag: own.Etag}, own)
	require.Equal(t, store.Policy{TaskType: "*", Set: store.Settings{}, Etag: all.Etag}, all)
	require.NotEmpty(t, own.Etag)
	require.Equal(t, store.PolicyDefaults(), store.Effective(own.Set, all.Set))
}

func setsPolicy(t *testing.T, s store.Store) {
	first := setPolicy(t, s, "a.v1.A.B", store.Settings{store.PolicyWarnAge: 5, store.PolicyHold: 1})
	require.Equal(t, store.Settings{store.PolicyWarnAge: 5, store.PolicyHold: 1}, first.Set)
	require.False(t, first.UpdateTime.IsZero())
	own, all, err := s.UpdatePolicy(t.Context(), store.PolicyRequest{
		TaskType: "a.v1.A.B", Fields: []store.PolicyField{store.PolicyWarnAge, store.PolicyMaxReplays, store.PolicyMaxReplays},
		Set: store.Settings{store.PolicyMaxReplays: 3, store.PolicyBreachAge: 7},
	})
	require.NoError(t, err)
	require.Equal(t, store.Settings{store.PolicyHold: 1, store.PolicyMaxReplays: 3}, own.Set, "only fields that are named")
	require.NotEqual(t, first.Etag, own.Etag)
	require.Empty(t, all.Set)
	read, _, err := s.Policy(t.Context(), "a.v1.A.B")
	require.NoError(t, err)
	require.Equal(t, own, read)
	star := setPolicy(t, s, store.AllTypes, store.Settings{store.PolicyHold: 0})
	own, all, err = s.Policy(t.Context(), store.AllTypes)
	require.NoError(t, err)
	require.Equal(t, []store.Policy{star, star}, []store.Policy{own, all})
}

func setsWithEtag(t *testing.T, s store.Store) {
	unset, _, err := s.Policy(t.Context(), "a.v1.A.B")
	require.NoError(t, err)
	r := store.PolicyRequest{TaskType: "a.v1.A.B", Etag: unset.Etag, Fields: []store.PolicyField{store.PolicyHold}, Set: store.Settings{store.PolicyHold: 1}}
	own, _, err := s.UpdatePolicy(t.Context(), r)
	require.NoError(t, err)
	r.Set = store.Settings{store.PolicyHold: 0}
	_, _, err = s.UpdatePolicy(t.Context(), r)
	require.ErrorIs(t, err, store.ErrEtag)
	r.Etag = own.Etag
	_, _, err = s.UpdatePolicy(t.Context(), r)
	require.NoError(t, err)
}

func auditsPolicy(t *testing.T, s store.Store) {
	by := store.Call{Method: "UpdateDeadLetterPolicy", Actor: "ann", Peer: "p", Reason: "why"}
	setPolicy(t, s, "a.v1.A.B", store.Settings{store.PolicyWarnAge: time.Minute.Microseconds()})
	_, _, err := s.UpdatePolicy(t.Context(), store.PolicyRequest{
		TaskType: "a.v1.A.B", Fields: []store.PolicyField{store.PolicyWarnAge, store.PolicyHold, store.PolicyMaxReplays},
		Set: store.Settings{store.PolicyHold: 1, store.PolicyMaxReplays: 2}, By: by,
	})
	require.NoError(t, err)
	_, _, err = s.UpdatePolicy(t.Context(), store.PolicyRequest{TaskType: "a.v1.A.B", Etag: "x", By: by})
	require.ErrorIs(t, err, store.ErrEtag)
	events := auditEvents(t, s, "")
	require.Len(t, events, 1)
	require.Equal(t, "policies/a.v1.A.B", events[0].Resource)
	require.Equal(t, []store.AuditChange{
		{Field: "hold", After: "true"}, {Field: "max_replays", After: "2"}, {Field: "warn_age", Before: "1m0s"},
	}, events[0].Changes)
}

func changesNothing(t *testing.T, s store.Store) {
	want := setPolicy(t, s, "a.v1.A.B", store.Settings{store.PolicyMaxReplays: 2})
	own, _, err := s.UpdatePolicy(t.Context(), store.PolicyRequest{
		TaskType: "a.v1.A.B", Fields: []store.PolicyField{store.PolicyMaxReplays, store.PolicyHold}, Set: want.Set, By: bulkCall,
	})
	require.NoError(t, err)
	require.Equal(t, want, own)
	require.Empty(t, auditEvents(t, s, ""))
}

func listsPolicies(t *testing.T, s store.Store) {
	for _, n := range []int{2, 0, 1} {
		setPolicy(t, s, fmt.Sprintf("a.v1.A.B%d", n), store.Settings{store.PolicyHold: 1})
	}
	var types []string
	for after := ""; ; {
		page, err := s.Policies(t.Context(), after, 2)
		require.NoError(t, err)
		for _, p := range page {
			require.True(t, p.Set.Hold())
			types, after = append(types, p.TaskType), p.TaskType
		}
		if len(page) < 2 {
			break
		}
	}
	require.Equal(t, []string{"a.v1.A.B0", "a.v1.A.B1", "a.v1.A.B2"}, types)
}

func holdsEffective(t *testing.T, s store.Store) {
	setPolicy(t, s, store.AllTypes, store.Settings{store.PolicyMaxReplays: 5, store.PolicyHold: 1})
	setPolicy(t, s, "a.v1.A.B", store.Settings{store.PolicyHold: 0})
	own, all, err := s.Policy(t.Context(), "a.v1.A.B")
	require.NoError(t, err)
	want := store.PolicyDefaults()
	want[store.PolicyMaxReplays] = 5
	require.Equal(t, want, store.Effective(own.Set, all.Set))
}

func saysPurgeTime(t *testing.T, _ store.Store) {
	holds := store.PolicyDefaults()
	for state, want := range map[store.State]time.Time{
		store.StateOpen: {}, store.StateInReplay: {}, store.StateQuarantined: {}, store.StateResolved: epoch.Add(30 * 24 * time.Hour),
		store.StateDiscarded: epoch.Add(30 * 24 * time.Hour), store.StatePurged: epoch.Add(90 * 24 * time.Hour),
	} {
		d := store.DeadLetter{State: state, UpdateTime: epoch}
		require.Equal(t, want, holds.PurgeTime(&d), state)
		d.OnHold = true
		require.Zero(t, holds.PurgeTime(&d), state)
	}
	holds[store.PolicyHold] = 1
	require.Zero(t, holds.PurgeTime(&store.DeadLetter{State: store.StateDiscarded, UpdateTime: epoch}))
}

func saysResidence(t *testing.T, _ store.Store) {
	open := store.DeadLetter{State: store.StateOpen, UpdateTime: epoch}
	require.Equal(t, store.ResidenceNone, store.PolicyDefaults().Residence(&open, epoch.Add(time.Hour)))
	holds := store.PolicyDefaults()
	holds[store.PolicyWarnAge], holds[store.PolicyBreachAge] = time.Minute.Microseconds(), time.Hour.Microseconds()
	for age, want := range map[time.Duration]store.Residence{
		time.Minute: store.ResidenceWithin, time.Minute + 1: store.ResidenceWarn, time.Hour: store.ResidenceWarn, time.Hour + 1: store.ResidenceBreach,
	} {
		require.Equal(t, want, holds.Residence(&open, epoch.Add(age)), age)
	}
	require.Equal(t, store.ResidenceNone, holds.Residence(&store.DeadLetter{State: store.StateResolved, UpdateTime: epoch}, epoch.Add(2*time.Hour)))
}
