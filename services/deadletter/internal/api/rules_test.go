package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	onDeadLetter = deadletterv1.NotificationTrigger_NOTIFICATION_TRIGGER_DEAD_LETTER
	onNewGroup   = deadletterv1.NotificationTrigger_NOTIFICATION_TRIGGER_NEW_GROUP
	onRate       = deadletterv1.NotificationTrigger_NOTIFICATION_TRIGGER_RATE
	onCount      = deadletterv1.NotificationTrigger_NOTIFICATION_TRIGGER_COUNT
	onOldestAge  = deadletterv1.NotificationTrigger_NOTIFICATION_TRIGGER_OLDEST_AGE
)

// newRule is a good one.
func newRule(edit func(*deadletterv1.NotificationRule)) *deadletterv1.NotificationRule {
	r := &deadletterv1.NotificationRule{RuleId: "new-groups", Trigger: onNewGroup, Channels: []string{"chat"}}
	if edit != nil {
		edit(r)
	}
	return r
}

func (w *world) createRule(t *testing.T, r *deadletterv1.NotificationRule) *deadletterv1.NotificationRule {
	t.Helper()
	made, err := w.CreateNotificationRule(t.Context(), &deadletterv1.CreateNotificationRuleRequest{Rule: r, Reason: "because"})
	require.NoError(t, err)
	return made.Rule
}

func TestRulesAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sent := newRule(func(r *deadletterv1.NotificationRule) {
		r.Trigger, r.Types, r.Codes, r.Threshold, r.Window = onRate, []string{"acme.*"}, []string{"UNAVAILABLE"}, 10, durationpb.New(time.Minute)
		r.BuiltIn, r.Etag = true, "mine"
	})
	made := w.createRule(t, sent)
	require.NotEqual(t, "mine", made.Etag)
	require.NotNil(t, made.UpdateTime)
	want := proto.Clone(sent).(*deadletterv1.NotificationRule)
	want.BuiltIn, want.Etag, want.UpdateTime, want.Throttle = false, made.Etag, made.UpdateTime, durationpb.New(5*time.Minute)
	require.True(t, proto.Equal(want, made), "%v", made)
	plain := w.createRule(t, &deadletterv1.NotificationRule{RuleId: "all", Trigger: onDeadLetter, Channels: []string{"chat"}})
	require.Zero(t, plain.Throttle.AsDuration())

	all, err := w.ListNotificationRules(t.Context(), &deadletterv1.ListNotificationRulesRequest{})
	require.NoError(t, err)
	require.Len(t, all.Rules, 3)
	require.True(t, proto.Equal(plain, all.Rules[0]))
	require.True(t, proto.Equal(made, all.Rules[1]))
	require.Equal(t, store.BuiltInRule, all.Rules[2].RuleId)
	require.True(t, all.Rules[2].BuiltIn)
	_, err = w.CreateNotificationRule(t.Context(), &deadletterv1.CreateNotificationRuleRequest{Rule: sent})
	requireReason(t, err, codes.AlreadyExists, "NOTIFICATION_RULE_EXISTS")
}

func TestRulesAreChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for field, edit := range map[string]func(*deadletterv1.NotificationRule){
		"rule.rule_id":     func(r *deadletterv1.NotificationRule) { r.RuleId = "Upper" },
		"rule.trigger":     func(r *deadletterv1.NotificationRule) { r.Trigger = 0 },
		"rule.types[1]":    func(r *deadletterv1.NotificationRule) { r.Types = []string{"a", "[a"} },
		"rule.types":       func(r *deadletterv1.NotificationRule) { r.Types = make([]string, 101) },
		"rule.codes[0]":    func(r *deadletterv1.NotificationRule) { r.Codes = []string{"Unavailable"} },
		"rule.channels":    func(r *deadletterv1.NotificationRule) { r.Channels = nil },
		"rule.channels[1]": func(r *deadletterv1.NotificationRule) { r.Channels = []string{"chat", "chat"} },
		"rule.channels[0]": func(r *deadletterv1.NotificationRule) { r.Channels = []string{"mail"} },
		"rule.threshold":   func(r *deadletterv1.NotificationRule) { r.Threshold = 1 },
		"rule.window":      func(r *deadletterv1.NotificationRule) { r.Window = durationpb.New(time.Hour) },
		"rule.throttle":    func(r *deadletterv1.NotificationRule) { r.Throttle = durationpb.New(-1) },
	} {
		w.refusesRule(t, field, newRule(edit))
	}
	w.refusesRule(t, "rule.rule_id", newRule(func(r *deadletterv1.NotificationRule) { r.RuleId = store.BuiltInRule }))
	w.refusesRule(t, "rule.trigger", newRule(func(r *deadletterv1.NotificationRule) { r.Trigger = 99 }))
	w.refusesRule(t, "rule.codes[0]", newRule(func(r *deadletterv1.NotificationRule) { r.Codes = []string{"OK"} }))
	w.refusesRule(t, "rule.throttle", newRule(func(r *deadletterv1.NotificationRule) { r.Throttle = durationpb.New(8 * 24 * time.Hour) }))
	for _, window := range []*durationpb.Duration{nil, durationpb.New(time.Second), durationpb.New(25 * time.Hour), {Seconds: 1, Nanos: -1}} {
		w.refusesRule(t, "rule.window", newRule(func(r *deadletterv1.NotificationRule) { r.Trigger, r.Window = onRate, window }))
	}
	w.refusesRule(t, "rule.window", newRule(func(r *deadletterv1.NotificationRule) { r.Trigger = onOldestAge }))
	w.refusesRule(t, "rule.threshold", newRule(func(r *deadletterv1.NotificationRule) { r.Trigger, r.Threshold = onCount, -1 }))
	w.refusesRule(t, "rule", nil)
	rules, err := w.store.Rules(t.Context())
	require.NoError(t, err)
	require.Empty(t, rules)
	events, err := w.store.AuditEvents(t.Context(), nil, 0, 1)
	require.NoError(t, err)
	require.Empty(t, events, "what was refused is no event")
}

func (w *world) refusesRule(t *testing.T, field string, r *deadletterv1.NotificationRule) {
	t.Helper()
	_, err := w.CreateNotificationRule(t.Context(), &deadletterv1.CreateNotificationRuleRequest{Rule: r})
	requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	require.Equal(t, []string{field}, fieldsOf(err))
}

func TestRulesAreUpdated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.createRule(t, newRule(nil))
	update := func(etag string, r *deadletterv1.NotificationRule, paths ...string) (*deadletterv1.NotificationRule, error) {
		r.RuleId = made.RuleId
		out, err := w.UpdateNotificationRule(t.Context(), &deadletterv1.UpdateNotificationRuleRequest{
			Rule: r, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}, Etag: etag, Reason: "because",
		})
		return out.GetRule(), err
	}
	_, err := update(made.Etag+"0", &deadletterv1.NotificationRule{Disabled: true}, "disabled")
	requireReason(t, err, codes.Aborted, "ETAG_MISMATCH")
	updated, err := update(made.Etag, &deadletterv1.NotificationRule{Disabled: true, Types: []string{"not taken"}}, "disabled")
	require.NoError(t, err)
	want := proto.Clone(made).(*deadletterv1.NotificationRule)
	want.Disabled, want.Etag, want.UpdateTime = true, updated.Etag, updated.UpdateTime
	require.NotEqual(t, made.Etag, updated.Etag)
	require.True(t, proto.Equal(want, updated), "%v", updated)
	updated, err = update("", newRule(func(r *deadletterv1.NotificationRule) { r.Trigger, r.Threshold = onCount, 5 }), "*")
	require.NoError(t, err)
	require.False(t, updated.Disabled)
	require.EqualValues(t, 5, updated.Threshold)

	for field, paths := range map[string][]string{"update_mask": {"etag"}, "rule.window": {"trigger"}, "rule.channels": {"channels"}} {
		_, err = update("", &deadletterv1.NotificationRule{Trigger: onRate}, paths...)
		requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
		require.Equal(t, []string{field}, fieldsOf(err))
	}
	_, err = update("", &deadletterv1.NotificationRule{})
	requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	made.RuleId = "other"
	_, err = update("", &deadletterv1.NotificationRule{}, "disabled")
	requireReason(t, err, codes.NotFound, "NOTIFICATION_RULE_NOT_FOUND")
	made.RuleId = store.BuiltInRule
	_, err = update("", &deadletterv1.NotificationRule{}, "disabled")
	requireReason(t, err, codes.InvalidArgument, "INVALID_REQUEST")
}

func TestRulesAreDeletedAndAudited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.createRule(t, newRule(nil))
	remove := func(id, etag string) error {
		_, err := w.DeleteNotificationRule(t.Context(), &deadletterv1.DeleteNotificationRuleRequest{RuleId: id, Etag: etag, Reason: "gone"})
		return err
	}
	requireReason(t, remove("other", ""), codes.NotFound, "NOTIFICATION_RULE_NOT_FOUND")
	requireReason(t, remove(made.RuleId, made.Etag+"0"), codes.Aborted, "ETAG_MISMATCH")
	requireReason(t, remove(store.BuiltInRule, ""), codes.InvalidArgument, "INVALID_REQUEST")
	require.NoError(t, remove(made.RuleId, made.Etag))
	events, err := w.store.AuditEvents(t.Context(), nil, 0, 10)
	require.NoError(t, err)
	require.Len(t, events, 2)
	require.Equal(t, "DeleteNotificationRule", events[0].By.Method)
	require.Equal(t, "gone", events[0].By.Reason)
	require.NotEmpty(t, events[0].By.Peer)
	require.Equal(t, store.ResourceRule+made.RuleId, events[0].Resource)
}

func TestRulesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range store.MaxRules {
		_, err := w.store.CreateRule(t.Context(), store.Rule{ID: fmt.Sprintf("r%d", i), Trigger: store.TriggerNewGroup}, store.Call{})
		require.NoError(t, err)
	}
	_, err := w.CreateNotificationRule(t.Context(), &deadletterv1.CreateNotificationRuleRequest{Rule: newRule(nil)})
	requireReason(t, err, codes.FailedPrecondition, "COUNT_EXCEEDED")
	require.True(t, strings.Contains(status.Convert(err).Message(), "500"))
}
