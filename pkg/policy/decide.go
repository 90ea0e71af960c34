package policy

import (
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// Decide says what follows on an attempt that ended without success.
//
// The first of these that applies decides whether it can be retried at all: what
// is never retried (UNIMPLEMENTED, what can't be decoded, results that are too
// large, streams that a caller has seen part of), what the handler advised, the
// rules in their order, the code. Then, for what can be retried: the attempts
// left, the expire time, the budget.
//
// Waits are from [MinDelay] to [MaxDelay]: what the handler asked for, else what
// a google.rpc.RetryInfo in the failure asks for, else the backoff. Only the last
// is jittered.
func (p Policy) Decide(a Attempt) Decision { return p.settings().decide(a, rand.Int64N) }

func (s *settings) decide(a Attempt, random func(int64) int64) Decision {
	a.Number = max(a.Number, 1)
	found := read(a.Failure)
	v := s.judge(a, found)
	v.why = fmt.Sprintf("attempt %d of %d: %s", a.Number, s.maxAttempts, v.why)
	if v.cause != 0 {
		return Decision{Cause: v.cause, Why: v.why}
	}
	return s.schedule(a, v, s.wait(a, found, random))
}

// verdict says what is to be done about a failure, not knowing whether another
// attempt is possible.
type verdict struct {
	// Why it is given up; 0 for what can be retried.
	cause task.Cause
	// Another attempt does not spend this one.
	free bool
	why  string
}

func (s *settings) judge(a Attempt, found details) verdict {
	if v, ok := hopeless(a, found); ok {
		return v
	}
	switch {
	case a.Failure == nil || a.Advice == task.AdviceSnooze:
		return s.judgeSnooze()
	case a.Advice == task.AdvicePermanent:
		return verdict{cause: task.CausePermanentFailure, why: what(a.Failure) + " is permanent, as the handler said"}
	case a.Advice == task.AdviceRetryAfter:
		return verdict{why: what(a.Failure) + " is retryable, as the handler said"}
	}
	for i, r := range s.rules {
		if r.matches(a.Failure.Code, found) {
			if v, ok := s.judgeByRule(a, i); ok {
				return v
			}
			break
		}
	}
	return judgeByCode(a.Failure)
}

// hopeless is the verdict on what is never retried, whatever anybody says.
func hopeless(a Attempt, found details) (verdict, bool) {
	if a.Failure != nil {
		if cause, reason := found.hopeless(); cause != 0 {
			return verdict{cause: cause, why: what(a.Failure) + " is permanent: " + reason}, true
		}
		if a.Failure.Code == int(codes.Unimplemented) {
			return verdict{cause: task.CausePermanentFailure, why: what(a.Failure) + " is never retryable"}, true
		}
	}
	if a.Committed {
		return verdict{cause: task.CausePermanentFailure, why: "a message of its stream has reached the caller, so it is not retried"}, true
	}
	return verdict{}, false
}

func (s *settings) judgeSnooze() verdict {
	const why = "the handler asked to be called again later"
	if s.atMostOnce {
		return verdict{cause: task.CausePermanentFailure, why: why + ", but the type runs at most once"}
	}
	return verdict{free: true, why: why}
}

// judgeByRule is the verdict of rule i; none if this version does not know the
// rule's action.
func (s *settings) judgeByRule(a Attempt, i int) (verdict, bool) {
	by := fmt.Sprintf(" by rule %d of %d (%s)", i+1, len(s.rules), s.rules[i].match)
	switch s.rules[i].action {
	case taskv1.RetryAction_RETRY_ACTION_RETRY:
		return verdict{why: what(a.Failure) + " is retryable" + by}, true
	case taskv1.RetryAction_RETRY_ACTION_DEAD_LETTER:
		return verdict{cause: task.CausePermanentFailure, why: what(a.Failure) + " is permanent" + by}, true
	case taskv1.RetryAction_RETRY_ACTION_IGNORE_ATTEMPT:
		if a.Failure.Kind == task.KindCrash {
			// Else a task could take down its workers a thousand times.
			return verdict{why: what(a.Failure) + " is ignored" + by + ", but a crash always spends its attempt"}, true
		}
		return verdict{free: true, why: what(a.Failure) + " is ignored" + by}, true
	}
	return verdict{}, false
}

func judgeByCode(f *task.Failure) verdict {
	switch {
	case f.Kind == task.KindCrash:
		return verdict{why: crashed}
	case retryable(f.Code):
		return verdict{why: what(f) + " is retryable"}
	}
	return verdict{cause: task.CausePermanentFailure, why: what(f) + " is not retryable"}
}

func retryable(c int) bool {
	switch c {
	case int(codes.Unknown), int(codes.DeadlineExceeded), int(codes.ResourceExhausted), int(codes.Aborted),
		int(codes.Internal), int(codes.Unavailable):
		return true
	}
	return false
}

const crashed = "the worker crashed"

// what names a failure.
func what(f *task.Failure) string {
	name := codeName(f.Code)
	switch f.Kind {
	case task.KindTimeout:
		return "the attempt timed out: " + name
	case task.KindPanic:
		return "the handler panicked: " + name
	case task.KindCrash:
		return crashed + ": " + name
	}
	return name
}

// pause is the wait before the next attempt.
type pause struct {
	time.Duration
	why string
}

func (s *settings) wait(a Attempt, found details, random func(int64) int64) pause {
	switch {
	case a.Advice == task.AdviceRetryAfter:
		return asked("RetryAfter", a.Delay)
	case a.Advice == task.AdviceSnooze || a.Failure == nil:
		return asked("Snooze", a.Delay)
	case found.hasDelay:
		return asked("RetryInfo", found.delay)
	}
	d := s.waits.next(a.Number, random)
	return pause{d, "next in " + span(d)}
}

// asked is a wait that somebody asked for.
func asked(by string, d time.Duration) pause {
	why := by + " asked for " + span(d)
	if d > MaxDelay {
		why += ", cut to " + span(MaxDelay)
	} else if d < MinDelay {
		why += ", raised to " + span(MinDelay)
	}
	return pause{bounded(d), why}
}

// schedule sets the time of the next attempt, unless there can't be one.
func (s *settings) schedule(a Attempt, v verdict, wait pause) Decision {
	free := v.free && !s.atMostOnce
	if free && a.Ignored >= MaxIgnored {
		free = false
		v.why += ", the attempt is spent all the same after 1,000 executions that spent none"
	} else if free {
		v.why += ", the attempt is not spent"
	}
	at := a.Now.Add(wait.Duration)
	switch {
	case a.Number > s.maxAttempts || a.Number == s.maxAttempts && !free:
		return Decision{Cause: exhausted(a), Why: v.why + s.noneLeft()}
	case !a.ExpireTime.IsZero() && !at.Before(a.ExpireTime):
		return Decision{Cause: task.CauseExpired, Why: v.why + ", but the next attempt would be due after its expire time"}
	case !a.RunTime.IsZero() && at.After(a.RunTime.Add(s.budget)):
		return Decision{Cause: task.CauseAttemptsExhausted, Why: v.why + ", but the budget of " + span(s.budget) + " is spent"}
	}
	d := Decision{Retry: true, NextAttempt: a.Number + 1, At: at, Why: v.why + ", " + wait.why}
	if free {
		d.NextAttempt = a.Number
	}
	return d
}

func (s *settings) noneLeft() string {
	if s.atMostOnce {
		return ", but the type runs at most once"
	}
	return ", but no attempts are left"
}

// exhausted is the cause of a task that has no attempts left.
func exhausted(a Attempt) task.Cause {
	if a.Failure != nil && a.Failure.Kind == task.KindCrash {
		return task.CauseDeliveryLimit
	}
	return task.CauseAttemptsExhausted
}
