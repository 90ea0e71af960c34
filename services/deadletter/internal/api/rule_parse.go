package api

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/deadletter/internal/notify"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Bounds of a rule.
const (
	maxRuleTypes    = 100
	maxPattern      = 200
	maxRuleChannels = 20
	// minRate is the shortest window of RATE: it is looked at every few seconds.
	minRate         = 10 * time.Second
	maxRate         = 24 * time.Hour
	minRuleAge      = time.Second
	maxRuleAge      = 365 * 24 * time.Hour
	maxThrottle     = 7 * 24 * time.Hour
	defaultThrottle = 5 * time.Minute
)

var ruleID = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// invalid is an error about a field of a request.
func invalid(field, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	return rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "%s: %s", field, what).Field(field, what)
}

// parseRule reads a rule. Channels that are not among the fields may be gone.
func (s *Service) parseRule(m *deadletterv1.NotificationRule, fields ...string) (store.Rule, error) {
	r := store.Rule{
		ID: m.RuleId, Trigger: store.Trigger(m.Trigger), Types: m.Types, Threshold: m.Threshold, Window: m.Window.AsDuration(),
		Channels: m.Channels, Disabled: m.Disabled,
	}
	if !ruleID.MatchString(r.ID) {
		return r, invalid("rule.rule_id", "it is of lower-case letters, digits and hyphens, at most 63")
	}
	if err := notBuiltIn(r.ID, "rule.rule_id"); err != nil {
		return r, err
	}
	if r.Trigger < store.TriggerDeadLetter || r.Trigger > store.TriggerQuarantine {
		return r, invalid("rule.trigger", "say what is told of, e.g. NOTIFICATION_TRIGGER_NEW_GROUP")
	}
	var err error
	if r.Codes, err = parseCodes(m.Codes); err != nil {
		return r, err
	}
	if r.Throttle, err = parseThrottle(r.Trigger, m.Throttle); err != nil {
		return r, err
	}
	if err := checkTypes(r.Types); err != nil {
		return r, err
	}
	if err := checkLimits(&r, m.Window); err != nil {
		return r, err
	}
	if slices.Contains(fields, "channels") {
		err = s.checkChannels(r.Channels)
	}
	return r, err
}

func parseCodes(names []string) ([]int, error) {
	var numbers []int
	for i, name := range names {
		number, ok := code.Code_value[name]
		if !ok || number == 0 {
			return nil, invalid(fmt.Sprintf("rule.codes[%d]", i), "%q is no status code of a failure; one is UNAVAILABLE", name)
		}
		if !slices.Contains(numbers, int(number)) {
			numbers = append(numbers, int(number))
		}
	}
	return numbers, nil
}

func parseThrottle(t store.Trigger, d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		if t == store.TriggerDeadLetter {
			return 0, nil
		}
		return defaultThrottle, nil
	}
	throttle := d.AsDuration()
	if !d.IsValid() || throttle < 0 || throttle > maxThrottle {
		return 0, invalid("rule.throttle", "it is from 0 to %s", maxThrottle)
	}
	return throttle, nil
}

func checkTypes(patterns []string) error {
	if len(patterns) > maxRuleTypes {
		return invalid("rule.types", "there are at most %d", maxRuleTypes)
	}
	for i, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" || len(pattern) > maxPattern {
			return invalid(fmt.Sprintf("rule.types[%d]", i), "it is no pattern of at most %d bytes; one is acme.v1.*", maxPattern)
		}
	}
	return nil
}

// checkLimits sees that a rule has what its trigger needs, and nothing that means nothing.
func checkLimits(r *store.Rule, window *durationpb.Duration) error {
	counts := r.Trigger == store.TriggerRate || r.Trigger == store.TriggerCount
	if r.Threshold < 0 || r.Threshold > 0 && !counts {
		return invalid("rule.threshold", "it is of RATE and COUNT, and not negative")
	}
	var least, most time.Duration
	switch r.Trigger {
	case store.TriggerRate:
		least, most = minRate, maxRate
	case store.TriggerOldestAge:
		least, most = minRuleAge, maxRuleAge
	default:
		if window != nil {
			return invalid("rule.window", "it is of RATE and OLDEST_AGE")
		}
		return nil
	}
	if window == nil || !window.IsValid() || r.Window < least || r.Window > most {
		return invalid("rule.window", "%s needs one from %s to %s", r.Trigger, least, most)
	}
	return nil
}

func (s *Service) checkChannels(names []string) error {
	if len(names) == 0 || len(names) > maxRuleChannels {
		return invalid("rule.channels", "a rule needs 1 to %d", maxRuleChannels)
	}
	for i, name := range names {
		field := fmt.Sprintf("rule.channels[%d]", i)
		if slices.Contains(names[:i], name) {
			return invalid(field, "%q is there twice", name)
		}
		if !slices.ContainsFunc(s.cfg.Notifier.Channels(), func(c *notify.Channel) bool { return c.Name() == name }) {
			return invalid(field, "no channel %q is configured; --notify does that, ListNotificationChannels has them all", name)
		}
	}
	return nil
}
