package policy

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// Effective is what is in force: for the paths of the mask the override, else
// what is declared, else the default. A path of the mask that the override does
// not set means the default, one that this version does not know nothing. All
// three may be nil.
//
// Every field of the answer is set, except for what may be absent: an expiry, a
// retention (the gateway's own is in force) and rules. A type that runs at most
// once has one attempt, whatever else was said.
func Effective(declared, override *taskv1.TaskOptions, paths []string) *taskv1.TaskOptions {
	o := clone(declared)
	from := clone(override).ProtoReflect()
	for _, p := range known(paths) {
		if value, ok := p.get(from); ok {
			p.set(o.ProtoReflect(), value)
		} else {
			p.clear(o.ProtoReflect())
		}
	}
	fillOptions(o)
	return o
}

// clone is a copy that may be written to; of nil an empty one.
func clone(o *taskv1.TaskOptions) *taskv1.TaskOptions {
	if o == nil {
		return new(taskv1.TaskOptions)
	}
	return proto.CloneOf(o)
}

func fillOptions(o *taskv1.TaskOptions) {
	fillDuration(&o.Timeout, DefaultTimeout)
	if o.Priority == taskv1.Priority_PRIORITY_UNSPECIFIED {
		o.Priority = DefaultPriority
	}
	o.AtMostOnce = proto.Bool(o.GetAtMostOnce())
	o.AllowIncompatible = proto.Bool(o.GetAllowIncompatible())
	if o.Retry == nil {
		o.Retry = new(taskv1.RetryPolicy)
	}
	fillRetry(o.Retry)
	if o.GetAtMostOnce() {
		o.Retry.MaxAttempts = 1
	}
	if o.QueueLimit == nil {
		o.QueueLimit = new(taskv1.QueueLimit)
	}
	if o.QueueLimit.Overflow == taskv1.Overflow_OVERFLOW_UNSPECIFIED {
		o.QueueLimit.Overflow = taskv1.Overflow_OVERFLOW_REFUSE
	}
}

func fillRetry(r *taskv1.RetryPolicy) {
	if r.MaxAttempts == 0 {
		r.MaxAttempts = DefaultMaxAttempts
	}
	fillDuration(&r.Budget, DefaultBudget)
	if r.Backoff == nil {
		r.Backoff = new(taskv1.Backoff)
	}
	if r.Backoff.Jitter == taskv1.Jitter_JITTER_UNSPECIFIED {
		r.Backoff.Jitter = taskv1.Jitter_JITTER_FULL
	}
	if r.Backoff.Kind == nil {
		r.Backoff.Kind = &taskv1.Backoff_Exponential{}
	}
	if kind, ok := r.Backoff.Kind.(*taskv1.Backoff_Exponential); ok {
		if kind.Exponential == nil {
			kind.Exponential = new(taskv1.ExponentialBackoff)
		}
		fillExponential(kind.Exponential)
	}
}

func fillExponential(e *taskv1.ExponentialBackoff) {
	fillDuration(&e.Initial, DefaultInitial)
	if e.Multiplier == 0 {
		e.Multiplier = DefaultMultiplier
	}
	fillDuration(&e.Max, DefaultMax)
}

func fillDuration(d **durationpb.Duration, value time.Duration) {
	if *d == nil {
		*d = durationpb.New(value)
	}
}
