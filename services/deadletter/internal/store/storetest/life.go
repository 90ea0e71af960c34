package storetest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var lifeRules = map[string]func(*testing.T, store.Store){
	"Check/works": func(t *testing.T, s store.Store) {
		require.NoError(t, s.Check(t.Context()))
		require.NoError(t, s.Check(t.Context()))
	},
	"Check/ends with its context": func(t *testing.T, s store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, s.Check(ctx), context.Canceled)
	},
	"Close/makes calls fail": closeMakesCallsFail,
}

func closeMakesCallsFail(t *testing.T, s store.Store) {
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	for name, call := range Calls(t.Context(), s, task.NewID()) {
		require.ErrorIs(t, call(), store.ErrUnavailable, name)
	}
}

// Calls are all calls of a store but Close, each of which would succeed or answer
// that there is no such thing.
func Calls(ctx context.Context, s store.Store, id string) map[string]func() error {
	calls := Writes(ctx, s, id)
	calls["Get"] = func() error { _, err := s.Get(ctx, id, true); return err }
	calls["List"] = func() error { _, err := s.List(ctx, store.Query{Limit: 1}); return err }
	calls["Count"] = func() error { _, err := s.Count(ctx, store.Query{}); return err }
	calls["Changes"] = func() error { _, err := s.Changes(ctx, 0, nil, 1, false); return err }
	calls["LatestChange"] = func() error { _, err := s.LatestChange(ctx); return err }
	calls["Intents"] = func() error { _, err := s.Intents(ctx, store.IntentPending, 0, 1); return err }
	calls["Held"] = func() error { _, err := s.Held(ctx, 0, 1); return err }
	calls["Audit"] = func() error { _, err := s.Audit(ctx, id); return err }
	calls["DueNotifications"] = func() error { _, err := s.DueNotifications(ctx, "c", epoch, 1); return err }
	calls["NotificationLog"] = func() error { _, err := s.NotificationLog(ctx, nil, 0, 1); return err }
	calls["ChannelStates"] = func() error { _, err := s.ChannelStates(ctx); return err }
	calls["Rules"] = func() error { _, err := s.Rules(ctx); return err }
	calls["CountArrivals"] = func() error { _, err := s.CountArrivals(ctx, "r", epoch); return err }
	calls["OpenByCode"] = func() error { _, err := s.OpenByCode(ctx); return err }
	calls["Groups"] = func() error { _, err := s.Groups(ctx, store.GroupQuery{Limit: 1}); return err }
	calls["Group"] = func() error { _, err := s.Group(ctx, id); return err }
	calls["HasGroup"] = func() error { _, err := s.HasGroup(ctx, id); return err }
	calls["CountGroups"] = func() error { _, err := s.CountGroups(ctx); return err }
	calls["Aggregate"] = func() error { _, err := s.Aggregate(ctx, store.AggregateQuery{}); return err }
	calls["Ungrouped"] = func() error { _, err := s.Ungrouped(ctx, 1, 1); return err }
	calls["AuditEvents"] = func() error { _, err := s.AuditEvents(ctx, nil, 0, 1); return err }
	calls["Select"] = func() error { _, err := s.Select(ctx, store.FreezeRequest{}); return err }
	calls["Selection"] = func() error { _, err := s.Selection(ctx, id); return err }
	calls["Selected"] = func() error { _, err := s.Selected(ctx, []int64{1}, true); return err }
	calls["Payload"] = func() error { _, _, err := s.Payload(ctx, 1, 0); return err }
	calls["Revision"] = func() error { _, _, err := s.Revision(ctx, 1, 0); return err }
	calls["Replay"] = func() error { _, err := s.Replay(ctx, id); return err }
	calls["ReplayOf"] = func() error { _, err := s.ReplayOf(ctx, "none", nil); return err }
	calls["Replays"] = func() error { _, err := s.Replays(ctx, store.ReplayQuery{Limit: 1}); return err }
	calls["ReplayMembers"] = func() error { _, err := s.ReplayMembers(ctx, id); return err }
	calls["ReplayItems"] = func() error { _, err := s.ReplayItems(ctx, store.ItemQuery{ReplayID: id, Limit: 1}); return err }
	calls["Candidates"] = func() error { _, err := s.Candidates(ctx, []store.Member{{Sequence: 1}}); return err }
	calls["Holder"] = func() error { _, err := s.Holder(ctx, id); return err }
	calls["JudgeMembers"] = func() error {
		_, err := s.JudgeMembers(ctx, store.BulkRequest{Members: []store.Member{{Sequence: 1}}})
		return err
	}
	calls["Policy"] = func() error { _, _, err := s.Policy(ctx, taskType); return err }
	calls["Policies"] = func() error { _, err := s.Policies(ctx, "", 1); return err }
	calls["CountResidence"] = func() error { _, err := s.CountResidence(ctx); return err }
	return calls
}

// Writes are those of Calls that write.
func Writes(ctx context.Context, s store.Store, id string) map[string]func() error {
	return map[string]func() error{
		"Put":                func() error { _, err := s.Put(ctx, []store.Arrival{arrival(id, 1)}); return err },
		"BeginReplay":        func() error { _, _, err := s.BeginReplay(ctx, store.ReplayRequest{ID: id, Run: 2}); return err },
		"ResolveNow":         func() error { _, err := s.ResolveNow(ctx, store.ResolveRequest{ID: id}); return err },
		"Discard":            func() error { _, err := s.Discard(ctx, store.DiscardRequest{ID: id}); return err },
		"MarkPublishing":     func() error { _, err := s.MarkPublishing(ctx, id); return err },
		"MarkPublished":      func() error { return s.MarkPublished(ctx, id) },
		"MarkUnroutable":     func() error { return s.MarkUnroutable(ctx, id) },
		"Resolve":            func() error { _, err := s.Resolve(ctx, id, 2, store.OutcomeSucceeded); return err },
		"NotificationSent":   func() error { return s.NotificationSent(ctx, id) },
		"NotificationFailed": func() error { return s.NotificationFailed(ctx, id, store.NotificationFailure{NextTime: epoch}) },
		"NotificationTested": func() error { return s.NotificationTested(ctx, "c", "", store.Call{Method: "TestNotification"}) },
		"CreateRule":         func() error { _, err := s.CreateRule(ctx, rule(id), store.Call{}); return err },
		"UpdateRule": func() error {
			_, err := s.UpdateRule(ctx, id, "", func(r store.Rule) (store.Rule, error) { return r, nil }, store.Call{})
			return err
		},
		"DeleteRule":          func() error { return s.DeleteRule(ctx, id, "", store.Call{}) },
		"Measure":             func() error { _, err := s.Measure(ctx, id, "1", true, store.Measured{}); return err },
		"GiveUpNotifications": func() error { _, err := s.GiveUpNotifications(ctx, []string{"c"}, epoch, 1); return err },
		"ForgetNotifications": func() error { _, err := s.ForgetNotifications(ctx, epoch, 1); return err },
		"Hold":                func() error { return s.Hold(ctx, []store.Held{{Key: id, Data: []byte{1}}}) },
		"Freeze":              func() error { _, err := s.Freeze(ctx, store.FreezeRequest{}); return err },
		"Revise":              func() error { _, _, err := s.Revise(ctx, store.ReviseRequest{ID: id, Etag: "1"}); return err },
		"Unhold":              func() error { return s.Unhold(ctx, []string{id}) },
		"UpdateGroup":         func() error { _, err := s.UpdateGroup(ctx, store.GroupUpdate{ID: id}); return err },
		"Regroup":             func() error { return s.Regroup(ctx, nil) },
		"ForgetHours":         func() error { _, err := s.ForgetHours(ctx, 1); return err },
		"Check":               func() error { return s.Check(ctx) },
		"CreateReplay":        func() error { _, err := s.CreateReplay(ctx, store.NewReplay{}); return err },
		"SteerReplay":         func() error { _, err := s.SteerReplay(ctx, store.Steering{ReplayID: id}); return err },
		"StartReplay":         func() error { _, err := s.StartReplay(ctx, id); return err },
		"BeginItems":          func() error { _, _, err := s.BeginItems(ctx, store.Begin{ReplayID: id}); return err },
		"MarkSent":            func() error { return s.MarkSent(ctx, []store.Sent{{IntentID: id}}) },
		"ResolveAll":          func() error { _, err := s.ResolveAll(ctx, []store.Ended{{DeadLetterID: id, Run: 2}}); return err },
		"Reopen":              func() error { _, err := s.Reopen(ctx, store.ReopenRequest{ID: id}); return err },
		"ChangeMembers": func() error {
			_, err := s.ChangeMembers(ctx, store.BulkRequest{Action: store.BulkHold, Members: []store.Member{{Sequence: 1}}})
			return err
		},
		"UpdatePolicy": func() error { _, _, err := s.UpdatePolicy(ctx, store.PolicyRequest{TaskType: taskType}); return err },
		"Expire":       func() error { _, _, err := s.Expire(ctx, store.ExpirePlace{}); return err },
		"Forget":       func() error { _, err := s.Forget(ctx); return err },
	}
}
