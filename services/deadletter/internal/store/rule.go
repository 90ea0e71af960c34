package store

import (
	"context"
	"errors"
	"path"
	"slices"
	"time"
)

// What a store answers about rules when it can't do as it was asked.
var (
	// ErrNoRule: there is no such rule.
	ErrNoRule = errors.New("no such notification rule")
	// ErrRuleExists: a rule has the id already.
	ErrRuleExists = errors.New("the notification rule exists")
	// ErrTooManyRules: there are MaxRules already.
	ErrTooManyRules = errors.New("there are too many notification rules")
)

// MaxRules bounds the rules that are kept.
const MaxRules = 500

// BuiltInRule is the id of the rule that comes from the command line, and the name of its
// channel. No rule that is kept has it.
const BuiltInRule = "webhook"

// Rules say who is told of what. The built-in one is not kept.
type Rules interface {
	// CreateRule keeps a rule, and audits it. Errors, the first that applies:
	// ErrRuleExists, ErrTooManyRules; and ErrUnavailable, the context's.
	CreateRule(ctx context.Context, r Rule, by Call) (Rule, error)

	// UpdateRule replaces a rule by what change makes of it, id, etag and time aside, and
	// audits what has changed; nothing if nothing has. Change may be called more than
	// once; its error is returned. What the rule has told of and counted is forgotten
	// where it means something else then. Errors, the first that applies: ErrNoRule,
	// ErrEtag unless etag is empty; and ErrUnavailable, the context's.
	UpdateRule(ctx context.Context, id, etag string, change func(Rule) (Rule, error), by Call) (Rule, error)

	// DeleteRule forgets a rule, and audits that. What it has asked for is sent still.
	// Errors: as of UpdateRule.
	DeleteRule(ctx context.Context, id, etag string, by Call) error

	// Rules returns all rules, by their ids. Errors: ErrUnavailable, the context's.
	Rules(ctx context.Context) ([]Rule, error)

	// CountArrivals says how many arrivals a rule of TriggerRate has counted since a time,
	// which may be up to a sixtieth of its window off: at most those since it was made, or
	// its types, codes or window were changed. Errors: ErrUnavailable, the context's.
	CountArrivals(ctx context.Context, ruleID string, since time.Time) (int64, error)

	// OpenByCode counts the OPEN dead letters by type, cause and code. Those of messages
	// that are no tasks are counted under no type. Errors: ErrUnavailable, the context's.
	OpenByCode(ctx context.Context) ([]OpenByCode, error)

	// Measure notes whether the condition of a rule holds. When it begins to, it enqueues a
	// notification for each of the rule's channels; but within the rule's throttle it waits
	// for the end of that, and counts one as held back if it does not hold any more then.
	// It does nothing if the rule has changed since it had the etag, or is gone. Errors:
	// ErrUnavailable, the context's.
	Measure(ctx context.Context, ruleID, etag string, holds bool, m Measured) (Noted, error)
}

// Trigger is what somebody is told of. The numbers are those of
// warren.deadletter.v1.NotificationTrigger; the zero value is none, and that of a test.
type Trigger int

// The triggers.
const (
	TriggerDeadLetter Trigger = iota + 1
	TriggerNewGroup
	TriggerRegressedGroup
	TriggerRate
	TriggerCount
	TriggerOldestAge
	TriggerQuarantine
)

var triggerNames = [...]string{
	"UNSPECIFIED", "DEAD_LETTER", "NEW_GROUP", "REGRESSED_GROUP", "RATE", "COUNT", "OLDEST_AGE", "QUARANTINE",
}

// String is the trigger's name as the API spells it.
func (t Trigger) String() string {
	if t < 0 || int(t) >= len(triggerNames) {
		return triggerNames[0]
	}
	return triggerNames[t]
}

// IsCondition says whether the trigger is a condition that is looked at now and then.
func (t Trigger) IsCondition() bool {
	return t == TriggerRate || t == TriggerCount || t == TriggerOldestAge
}

// Rule says who is told of what.
type Rule struct {
	ID      string
	Trigger Trigger
	// Types are patterns as path.Match has them, Codes numbers of google.rpc.Code. Of
	// each, one must match; empty is all.
	Types []string
	Codes []int
	// Threshold is of TriggerRate and TriggerCount, Window of TriggerRate and
	// TriggerOldestAge.
	Threshold int64
	Window    time.Duration
	// Channels is where it is told.
	Channels []string
	// Throttle is how long it tells nothing more of the same.
	Throttle time.Duration
	Disabled bool
	// UpdateTime is when it was changed last, by the store's clock, and Etag changes with
	// every change; the store sets them.
	UpdateTime time.Time
	Etag       string
}

// Matches says whether the rule is about failures of a type with a code, 0 for none.
func (r *Rule) Matches(taskType string, code int) bool {
	if len(r.Codes) > 0 && !slices.Contains(r.Codes, code) {
		return false
	}
	return len(r.Types) == 0 || slices.ContainsFunc(r.Types, func(pattern string) bool {
		ok, err := path.Match(pattern, taskType)
		return ok && err == nil
	})
}

// Measured is what a condition of a rule has found, and what it was compared with.
type Measured struct {
	// Count and Threshold are of TriggerRate and TriggerCount, Age of TriggerOldestAge,
	// Window of TriggerRate and TriggerOldestAge.
	Count, Threshold int64
	Age, Window      time.Duration
}

// OpenByCode is how many OPEN dead letters a task type has of a code.
type OpenByCode struct {
	OpenCount
	// Code is 0 for none.
	Code int
}

// Noted is what became of a condition that was measured.
type Noted struct {
	// Told: notifications were enqueued.
	Told bool
	// Settled: nothing follows before the condition, or its rule, changes.
	Settled bool
}
