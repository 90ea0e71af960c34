package policy

import (
	"time"

	"github.com/warrenmq/warren/pkg/task"
)

// Attempt is one that ended without success.
type Attempt struct {
	// Number is from 1.
	Number int
	// Ignored is how many executions of this run spent no attempt so far.
	Ignored int
	// RunTime is when the run began. Zero: not known, the budget is not looked at.
	RunTime time.Time
	// Now is the time by the gateways' clock.
	Now time.Time
	// ExpireTime is when no attempt may start any more; zero is never.
	ExpireTime time.Time
	// Failure is nil for a snooze.
	Failure *task.Failure
	// Advice is what the handler said besides, from [task.AdviceOf].
	Advice task.Advice
	// Delay is the one that the handler asked for with its advice.
	Delay time.Duration
	// Committed: messages of the task's stream have reached a durable caller, so
	// that it is never retried.
	Committed bool
}

// Decision says what follows on an attempt.
type Decision struct {
	// Retry: there is another one.
	Retry bool
	// NextAttempt is its number; that of the attempt itself if it was not spent.
	// Set for Retry, like At.
	NextAttempt int
	// At is when it is due, by the clock of [Attempt.Now].
	At time.Time
	// Cause is set if not Retry.
	Cause task.Cause
	// Why is for people, e.g. `attempt 2 of 5: UNAVAILABLE is retryable, next in
	// 3.4 s`.
	Why string
}
