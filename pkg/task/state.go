package task

import "slices"

// State is where a task stands. The zero value is no state.
type State int

// The states of a task. SUCCEEDED, CANCELLED and DEAD_LETTERED are terminal
// within their run.
const (
	StateScheduled State = iota + 1
	StateQueued
	StateRunning
	StateRetrying
	StateSucceeded
	StateCancelled
	StateDeadLettered
)

// Terminal says whether a run that is in this state has ended.
func (s State) Terminal() bool { return s >= StateSucceeded }

// String is the state's name as the API spells it.
func (s State) String() string {
	switch s {
	case StateScheduled:
		return "SCHEDULED"
	case StateQueued:
		return "QUEUED"
	case StateRunning:
		return "RUNNING"
	case StateRetrying:
		return "RETRYING"
	case StateSucceeded:
		return "SUCCEEDED"
	case StateCancelled:
		return "CANCELLED"
	case StateDeadLettered:
		return "DEAD_LETTERED"
	}
	return "UNSPECIFIED"
}

// Phase says what a status event reports. Within one delivery, later phases
// order after earlier ones. The numbers are those of the wire and of the store.
type Phase int

// The phases of a delivery.
const (
	PhaseQueued   Phase = 1
	PhaseStarted  Phase = 2
	PhaseMessage  Phase = 3
	PhaseRetrying Phase = 4
	PhaseReleased Phase = 5
	PhaseLost     Phase = 6
	// PhaseScheduled is the first of a task that waits in a gateway's store.
	PhaseScheduled Phase = 7
	// PhaseUpdated changes what a task was submitted with, and no state.
	PhaseUpdated      Phase = 8
	PhaseDeadLettered Phase = 10
	PhaseCancelled    Phase = 11
	PhaseSucceeded    Phase = 12
	// PhaseProgress has no place in the history: only the latest is kept.
	PhaseProgress Phase = 20
)

// State is the state that an event of this phase puts a task into.
func (p Phase) State() State {
	switch p {
	case PhaseScheduled:
		return StateScheduled
	case PhaseQueued, PhaseReleased, PhaseLost:
		return StateQueued
	case PhaseStarted, PhaseMessage:
		return StateRunning
	case PhaseRetrying:
		return StateRetrying
	case PhaseDeadLettered:
		return StateDeadLettered
	case PhaseCancelled:
		return StateCancelled
	case PhaseSucceeded:
		return StateSucceeded
	}
	return 0
}

// order is the place of a phase within its delivery. That a connection was lost,
// or a task given back, is less than what was decided about the attempt, whichever
// is told first. What comes before the first delivery starts with SCHEDULED.
func (p Phase) order() int {
	switch p {
	case PhaseScheduled:
		return 0
	case PhaseRetrying:
		return int(PhaseLost) + 1
	}
	return int(p)
}

// rank orders the terminal phases of a run above everything else: a success
// outweighs a cancellation, which outweighs having given up.
func (p Phase) rank() int {
	switch p {
	case PhaseDeadLettered:
		return 1
	case PhaseCancelled:
		return 2
	case PhaseSucceeded:
		return 3
	}
	return 0
}

// Valid says whether p is a phase this version knows.
func (p Phase) Valid() bool { return p == PhaseProgress || p == PhaseUpdated || p.State() != 0 }

// Cause says why a task became a dead letter. The zero value is none. The
// numbers are those of warren.task.v1.Cause.
type Cause int

// The causes of a dead letter.
const (
	CauseAttemptsExhausted Cause = iota + 1
	CausePermanentFailure
	CauseUndecodable
	CauseExpired
	CauseQueueOverflow
	CauseDeliveryLimit
	CauseRejected
	CauseUnroutable
	CauseMaxLength
)

var causeNames = [...]string{
	"UNSPECIFIED", "ATTEMPTS_EXHAUSTED", "PERMANENT_FAILURE", "UNDECODABLE", "EXPIRED", "QUEUE_OVERFLOW",
	"DELIVERY_LIMIT", "REJECTED", "UNROUTABLE", "MAX_LENGTH",
}

// String is the cause's name as the API spells it.
func (c Cause) String() string {
	if c < 0 || int(c) >= len(causeNames) {
		return causeNames[0]
	}
	return causeNames[c]
}

// ParseCause is the cause of a name as String gives it; false for none.
func ParseCause(name string) (Cause, bool) {
	c := slices.Index(causeNames[1:], name) + 1
	return Cause(c), c > 0
}

// Priorities within a queue: strict, from 1 to 9.
const (
	PriorityLow      = 2
	PriorityNormal   = 4
	PriorityHigh     = 6
	PriorityCritical = 9
)
