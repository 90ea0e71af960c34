package policy

import (
	"cmp"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// Submission is the policy for a task whose submission has a timeout or a retry
// policy of its own. Both may be nil, and what they don't set is the type's.
//
// Timeout, attempts and budget are at most the type's, and rules are the type's
// alone. A backoff replaces the type's; one that only has a jitter, or none,
// keeps the type's waits, or its jitter. The error is a [*FieldError] about the
// first field that is wrong, e.g. `timeout` or `retry.max_attempts`.
//
// With an error comes the policy to use if the task was accepted all the same,
// because its type had wider bounds then: what is above the type's is cut to it,
// and what makes no sense counts as not set.
func (p Policy) Submission(timeout *durationpb.Duration, retry *taskv1.RetryPolicy) (Policy, error) {
	s := *p.settings()
	if timeout == nil && retry == nil {
		return p, nil
	}
	given := proto.CloneOf(&taskv1.TaskOptions{Timeout: timeout, Retry: retry})
	var rules *FieldError
	if len(retry.GetRules()) > 0 {
		given.Retry.Rules = nil
		rules = &FieldError{"retry.rules", "must be empty: rules are the task type's alone"}
	}
	err := checkSubmission(given)
	if err != nil {
		given = sensible(given)
	}
	err = cmp.Or(err, asError(rules), asError(s.narrow(given)))
	return Policy{&s}, err
}

// checkSubmission is Validate for the options that a submission can have.
func checkSubmission(o *taskv1.TaskOptions) error {
	if err := each(o, checkEnum); err != nil {
		return err
	}
	return cmp.Or(checkFields(o), asError(checkBackoff(o.GetRetry().GetBackoff())))
}

// sensible keeps those fields of a submission that are right by themselves.
func sensible(o *taskv1.TaskOptions) *taskv1.TaskOptions {
	out := new(taskv1.TaskOptions)
	for _, p := range overridable() {
		value, ok := p.get(o.ProtoReflect())
		if !ok || p.inner {
			continue
		}
		one := new(taskv1.TaskOptions)
		p.set(one.ProtoReflect(), value)
		if checkSubmission(one) == nil {
			p.set(out.ProtoReflect(), value)
		}
	}
	return out
}

// narrow applies what a submission set, cut to what is there, and names the
// first field that had to be cut.
func (s *settings) narrow(o *taskv1.TaskOptions) *FieldError {
	var first *FieldError
	narrowTo := func(field string, d *durationpb.Duration, limit *time.Duration) {
		if d != nil {
			first = cmp.Or(first, checkAtMost(field, d.AsDuration(), *limit))
			*limit = min(d.AsDuration(), *limit)
		}
	}
	narrowTo("timeout", o.GetTimeout(), &s.timeout)
	if n := int(o.GetRetry().GetMaxAttempts()); n > 0 {
		first = cmp.Or(first, s.checkAttempts(n))
		s.maxAttempts = min(n, s.maxAttempts)
	}
	narrowTo("retry.budget", o.GetRetry().GetBudget(), &s.budget)
	if b := o.GetRetry().GetBackoff(); b != nil {
		s.waits = s.waits.replaced(b)
	}
	return first
}

func (s *settings) checkAttempts(n int) *FieldError {
	switch {
	case n <= s.maxAttempts:
		return nil
	case s.atMostOnce:
		return onlyOnce("retry.max_attempts", "must be 1")
	}
	return &FieldError{"retry.max_attempts", fmt.Sprintf("must be at most the task type's, %d", s.maxAttempts)}
}

// replaced are the waits of a submission that has a backoff of its own.
func (w waits) replaced(b *taskv1.Backoff) waits {
	o := Effective(&taskv1.TaskOptions{Retry: &taskv1.RetryPolicy{Backoff: b}}, nil, nil)
	out := compileWaits(o.GetRetry().GetBackoff())
	exact := out.exact
	if b.GetKind() == nil {
		out = w
	}
	if out.exact = exact; b.GetJitter() == taskv1.Jitter_JITTER_UNSPECIFIED {
		out.exact = w.exact
	}
	return out
}
