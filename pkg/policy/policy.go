// Package policy says what the options of a task type mean: which options make
// sense, which are in force once defaults, an operator's override and a
// submission have had their say, and what follows on an attempt that failed. It
// is pure: no broker, no store, no clock.
package policy

import (
	"slices"
	"sync"
	"time"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// What is in force without options.
const (
	// DefaultTimeout is the time that one attempt may take.
	DefaultTimeout = 10 * time.Minute
	// DefaultPriority is that of a task whose submission names none.
	DefaultPriority = taskv1.Priority_PRIORITY_NORMAL
	// DefaultMaxAttempts counts the attempts of one run, the first included.
	DefaultMaxAttempts = 5
	// DefaultBudget is the time from a run's beginning after which no attempt
	// follows.
	DefaultBudget = 7 * 24 * time.Hour
	// DefaultInitial is the first wait of an exponential backoff.
	DefaultInitial = time.Second
	// DefaultMultiplier is by how much each of its waits exceeds the one before.
	DefaultMultiplier = 2
	// DefaultMax is its longest wait.
	DefaultMax = 10 * time.Minute
)

// What no policy, handler or failure gets beyond.
const (
	// MinDelay is the shortest wait before an attempt.
	MinDelay = 10 * time.Millisecond
	// MaxDelay is the longest wait before an attempt.
	MaxDelay = 24 * time.Hour
	// MaxIgnored is how many executions of one run may spend no attempt.
	MaxIgnored = 1000
)

// Policy is what was made of effective options. It does not change and is safe
// for concurrent use. The zero value is the policy of a type without options.
type Policy struct{ set *settings }

// settings are what a Policy holds; nobody writes to them once it is made.
type settings struct {
	timeout     time.Duration
	maxAttempts int
	budget      time.Duration
	atMostOnce  bool
	waits       waits
	rules       []rule
}

// Compile makes a Policy of options that are in force. What is not set has its
// default, so that options of another version will do; a jitter or an action of
// a rule that this version does not know counts as not set. The error is
// [Validate]'s, and the Policy that comes with it the zero one.
func Compile(effective *taskv1.TaskOptions) (Policy, error) {
	o := Effective(effective, nil, nil)
	if err := check(o); err != nil {
		return Policy{}, err
	}
	return Policy{compile(o)}, nil
}

// compile expects options that Effective answered and check let pass.
func compile(o *taskv1.TaskOptions) *settings {
	retry := o.GetRetry()
	s := &settings{
		timeout:     o.GetTimeout().AsDuration(),
		maxAttempts: int(retry.GetMaxAttempts()),
		budget:      retry.GetBudget().AsDuration(),
		atMostOnce:  o.GetAtMostOnce(),
		waits:       compileWaits(retry.GetBackoff()),
		rules:       make([]rule, 0, len(retry.GetRules())),
	}
	for _, r := range retry.GetRules() {
		s.rules = append(s.rules, compileRule(r))
	}
	s.rules = slices.Clip(s.rules)
	return s
}

// withoutOptions are the settings of a type without options.
var withoutOptions = sync.OnceValue(func() *settings { return compile(Effective(nil, nil, nil)) })

func (p Policy) settings() *settings {
	if p.set == nil {
		return withoutOptions()
	}
	return p.set
}

// Timeout is the time that one attempt may take.
func (p Policy) Timeout() time.Duration { return p.settings().timeout }

// MaxAttempts is how many attempts one run may have, the first included.
func (p Policy) MaxAttempts() int { return p.settings().maxAttempts }

// AtMostOnce says that a task that was started is never started again in the
// same run.
func (p Policy) AtMostOnce() bool { return p.settings().atMostOnce }
