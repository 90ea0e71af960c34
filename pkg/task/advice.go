package task

import (
	"errors"
	"time"
)

// Advice is what a handler says about its failure besides the status.
type Advice int

// The advices.
const (
	// AdvicePermanent: no other attempt can cure it.
	AdvicePermanent Advice = iota + 1
	// AdviceRetryAfter: try again, after a delay.
	AdviceRetryAfter
	// AdviceSnooze: nothing failed, come again after a delay.
	AdviceSnooze
	// AdviceNotBegun: the handler could not begin.
	AdviceNotBegun
)

// Permanent marks a failure that no other attempt can cure: the task becomes a
// dead letter at once, whatever its code and its type's retry policy. It
// returns nil for nil.
func Permanent(err error) error { return advised(err, AdvicePermanent, 0) }

// RetryAfter marks a failure as one that is tried again after d, if attempts are
// left, whatever its code. Delays are from 10 ms to 24 h. It returns nil for nil.
func RetryAfter(err error, d time.Duration) error { return advised(err, AdviceRetryAfter, d) }

// Snooze asks to be called again after d, from 10 ms to 24 h. It is no failure and
// spends no attempt; at most 1,000 times in a run. Return it:
//
//	return nil, task.Snooze(time.Minute)
func Snooze(d time.Duration) error { return &advice{errSnooze, AdviceSnooze, d} }

// NotBegun marks a failure that kept the handler from beginning: nothing was
// done. The task is given back, to be started by whoever takes it about a second
// later, and no attempt is spent, however often that happens and whatever else ends
// the attempt; of a type that runs at most once this was no start. A stream that has sent a message has begun: its
// failure is an ordinary one. It returns nil for nil.
func NotBegun(err error) error { return advised(err, AdviceNotBegun, 0) }

var errSnooze = errors.New("the handler asked to be called again later")

func advised(err error, a Advice, d time.Duration) error {
	if err == nil {
		return nil
	}
	return &advice{err, a, d}
}

// AdviceOf says what a handler advised, and the delay that it asked for; 0 for
// nothing.
func AdviceOf(err error) (Advice, time.Duration) {
	var a *advice
	if errors.As(err, &a) {
		return a.advice, a.delay
	}
	return 0, 0
}

type advice struct {
	err    error
	advice Advice
	delay  time.Duration
}

func (a *advice) Error() string { return a.err.Error() }

func (a *advice) Unwrap() error { return a.err }
