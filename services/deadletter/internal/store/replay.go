package store

import (
	"time"

	"github.com/warrenmq/warren/pkg/task"
)

// ReplayRequest asks for the next run of a dead letter's task.
type ReplayRequest struct {
	ID string
	// Etag, if set, must be the dead letter's.
	Etag string
	// Run is the number that the run gets: above all that are known.
	Run int
	// By is the call that asks for it.
	By Call
}

// ResolveRequest says that a dead letter's task has ended well.
type ResolveRequest struct {
	ID string
	// Etag, if set, must be the dead letter's.
	Etag string
	// Run is the one that ended well; 0 is the last one that died.
	Run int
	// Reason says how this is known, for the audit.
	Reason string
	// By is the call in which it came to light; the zero value is none.
	By Call
}

// DiscardRequest asks to give a dead letter up.
type DiscardRequest struct {
	ID string
	// Etag, if set, must be the dead letter's.
	Etag string
	// By is the call that asks for it.
	By Call
}

// IntentState is how far a replay has come. The zero value is none.
type IntentState int

// The states of an intent.
const (
	// IntentPending: to be published.
	IntentPending IntentState = iota + 1
	// IntentPublished: message and QUEUED event are confirmed, the outcome is not
	// known yet.
	IntentPublished
	// IntentDone: the outcome is known.
	IntentDone
)

// Outcome is how a replayed run ended. The zero value is unknown.
type Outcome int

// The outcomes.
const (
	OutcomeSucceeded Outcome = iota + 1
	OutcomeCancelled
	// OutcomeDeadLettered: the run, or a later one, died.
	OutcomeDeadLettered
)

// String is the outcome's name as a task's state has it.
func (o Outcome) String() string {
	switch o {
	case OutcomeSucceeded:
		return task.StateSucceeded.String()
	case OutcomeCancelled:
		return task.StateCancelled.String()
	case OutcomeDeadLettered:
		return task.StateDeadLettered.String()
	}
	return "UNKNOWN"
}

// Intent is a replay that was begun: the promise to publish a run.
type Intent struct {
	// ID is a random UUID.
	ID string
	// Sequence is its place in the order in which intents were stored.
	Sequence int64
	// DeadLetterID is also the task's id.
	DeadLetterID string
	// Run is the run that it begins.
	Run   int
	State IntentState
	// Time is when it was stored, by the store's clock.
	Time time.Time
	// Reason is the operator's, Call the request's.
	Reason, Call string
	// Publishes counts the calls of MarkPublishing.
	Publishes int
	// Outcome is set when DONE.
	Outcome Outcome
	// Unroutable says that no queue has taken its message, so that it is to end and
	// not to be published again.
	Unroutable bool
	// ReplayID is the replay that it is of; empty if it is a single call's.
	ReplayID string
	// MaxAttempts is how many the run has; 0 is as the task's policy says.
	MaxAttempts int
	// ExpireTime is when the task expires; zero is never.
	ExpireTime time.Time
	// Revision is that of the payload which runs; 1 is the original.
	Revision int
}
