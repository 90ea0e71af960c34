package api

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// ListNotificationRules implements warren.deadletter.v1.DeadLetterService.
func (s *Service) ListNotificationRules(
	ctx context.Context, _ *deadletterv1.ListNotificationRulesRequest,
) (*deadletterv1.ListNotificationRulesResponse, error) {
	rules, err := s.cfg.Store.Rules(ctx)
	if err != nil {
		return nil, explainRule(err)
	}
	out := &deadletterv1.ListNotificationRulesResponse{}
	if b := s.cfg.BuiltIn; b != nil {
		m := ruleToProto(b)
		m.BuiltIn = true
		out.Rules = append(out.Rules, m)
	}
	for i := range rules {
		out.Rules = append(out.Rules, ruleToProto(&rules[i]))
	}
	slices.SortFunc(out.Rules, func(a, b *deadletterv1.NotificationRule) int {
		if a.RuleId < b.RuleId {
			return -1
		}
		return 1
	})
	return out, nil
}

// CreateNotificationRule implements warren.deadletter.v1.DeadLetterService.
func (s *Service) CreateNotificationRule(
	ctx context.Context, r *deadletterv1.CreateNotificationRuleRequest,
) (*deadletterv1.CreateNotificationRuleResponse, error) {
	rule, err := s.parseRule(r.Rule, ruleFields...)
	if err != nil {
		return nil, err
	}
	rule, err = s.cfg.Store.CreateRule(ctx, rule, callOf(ctx, "CreateNotificationRule", r.Reason))
	if err != nil {
		return nil, explainRule(err)
	}
	s.cfg.Logger.InfoContext(ctx, "an operator has created a notification rule", "rule_id", rule.ID, "reason", r.Reason)
	return &deadletterv1.CreateNotificationRuleResponse{Rule: ruleToProto(&rule)}, nil
}

// UpdateNotificationRule implements warren.deadletter.v1.DeadLetterService.
func (s *Service) UpdateNotificationRule(
	ctx context.Context, r *deadletterv1.UpdateNotificationRuleRequest,
) (*deadletterv1.UpdateNotificationRuleResponse, error) {
	fields, err := maskOf(r)
	if err != nil {
		return nil, err
	}
	if err := notBuiltIn(r.Rule.RuleId, "rule.rule_id"); err != nil {
		return nil, err
	}
	change := func(before store.Rule) (store.Rule, error) {
		after := ruleToProto(&before)
		for _, field := range fields {
			setRuleField(after, r.Rule, field)
		}
		return s.parseRule(after, fields...)
	}
	rule, err := s.cfg.Store.UpdateRule(ctx, r.Rule.RuleId, r.Etag, change, callOf(ctx, "UpdateNotificationRule", r.Reason))
	if err != nil {
		return nil, explainRule(err)
	}
	s.cfg.Logger.InfoContext(ctx, "an operator has changed a notification rule", "rule_id", rule.ID, "fields", fields, "reason", r.Reason)
	return &deadletterv1.UpdateNotificationRuleResponse{Rule: ruleToProto(&rule)}, nil
}

// DeleteNotificationRule implements warren.deadletter.v1.DeadLetterService.
func (s *Service) DeleteNotificationRule(
	ctx context.Context, r *deadletterv1.DeleteNotificationRuleRequest,
) (*deadletterv1.DeleteNotificationRuleResponse, error) {
	if err := notBuiltIn(r.RuleId, "rule_id"); err != nil {
		return nil, err
	}
	if err := s.cfg.Store.DeleteRule(ctx, r.RuleId, r.Etag, callOf(ctx, "DeleteNotificationRule", r.Reason)); err != nil {
		return nil, explainRule(err)
	}
	s.cfg.Logger.InfoContext(ctx, "an operator has deleted a notification rule", "rule_id", r.RuleId, "reason", r.Reason)
	return &deadletterv1.DeleteNotificationRuleResponse{}, nil
}

// ruleFields are what a rule's mask may name.
var ruleFields = []string{"trigger", "types", "codes", "threshold", "window", "channels", "throttle", "disabled"}

func maskOf(r *deadletterv1.UpdateNotificationRuleRequest) ([]string, error) {
	paths := r.UpdateMask.GetPaths()
	if len(paths) == 0 {
		return nil, invalid("update_mask", "it names no field")
	}
	if slices.Equal(paths, []string{"*"}) {
		return ruleFields, nil
	}
	for _, path := range paths {
		if !slices.Contains(ruleFields, path) {
			return nil, invalid("update_mask", "%q is no field of a rule that can be changed; those are %v", path, ruleFields)
		}
	}
	return paths, nil
}

func setRuleField(to, from *deadletterv1.NotificationRule, field string) {
	switch field {
	case "trigger":
		to.Trigger = from.Trigger
	case "types":
		to.Types = from.Types
	case "codes":
		to.Codes = from.Codes
	case "threshold":
		to.Threshold = from.Threshold
	case "window":
		to.Window = from.Window
	case "channels":
		to.Channels = from.Channels
	case "throttle":
		to.Throttle = from.Throttle
	case "disabled":
		to.Disabled = from.Disabled
	}
}

// notBuiltIn refuses the rule that can't be changed.
func notBuiltIn(id, field string) error {
	if id == store.BuiltInRule {
		return invalid(field, "the rule %s is that of --webhook-url, and comes from the command line", id)
	}
	return nil
}

// explainRule is what a caller gets to know of an error about rules.
func explainRule(err error) error {
	switch {
	case errors.Is(err, store.ErrNoRule):
		return rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_NOTIFICATION_RULE_NOT_FOUND,
			"no such notification rule; ListNotificationRules has them all")
	case errors.Is(err, store.ErrRuleExists):
		return rpc.Errorf(codes.AlreadyExists, taskv1.ErrorReason_ERROR_REASON_NOTIFICATION_RULE_EXISTS,
			"a notification rule has this id already; update it, or take another id")
	case errors.Is(err, store.ErrTooManyRules):
		return rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_COUNT_EXCEEDED,
			"there are %d notification rules already; delete one", store.MaxRules).With("count", "500")
	case errors.Is(err, store.ErrEtag):
		return rpc.Errorf(codes.Aborted, taskv1.ErrorReason_ERROR_REASON_ETAG_MISMATCH,
			"the notification rule has changed since it had this etag; look at it again")
	}
	return answer(err)
}

func ruleToProto(r *store.Rule) *deadletterv1.NotificationRule {
	m := &deadletterv1.NotificationRule{
		RuleId: r.ID, Trigger: deadletterv1.NotificationTrigger(r.Trigger), Types: r.Types, Threshold: r.Threshold,
		Channels: r.Channels, Throttle: durationpb.New(r.Throttle), Disabled: r.Disabled, UpdateTime: timestamp(r.UpdateTime), Etag: r.Etag,
	}
	for _, c := range r.Codes {
		m.Codes = append(m.Codes, codeName(c))
	}
	if r.Window > 0 {
		m.Window = durationpb.New(r.Window)
	}
	return m
}
