package store

import (
	"slices"
	"time"

	"github.com/warrenmq/warren/pkg/task"
)

// State is where a dead letter stands. The numbers are those of
// warren.deadletter.v1.DeadLetterState; the zero value is no state.
type State int

// The states of a dead letter.
const (
	// StateOpen waits for somebody to look at it.
	StateOpen State = iota + 1
	// StateInReplay: its task runs again; the outcome is not known yet.
	StateInReplay
	// StateResolved: its task has SUCCEEDED or was CANCELLED since.
	StateResolved
	// StateDiscarded: an operator gave it up.
	StateDiscarded
	// StateQuarantined: it died again after as many replays as its type's policy allows.
	StateQuarantined
	// StatePurged: neither message nor occurrences are left.
	StatePurged
)

var stateNames = [...]string{"UNSPECIFIED", "OPEN", "IN_REPLAY", "RESOLVED", "DISCARDED", "QUARANTINED", "PURGED"}

// String is the state's name as the API spells it.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return stateNames[0]
	}
	return stateNames[s]
}

// ParseState is the state of a name as String gives it; false for none.
func ParseState(name string) (State, bool) {
	s := slices.Index(stateNames[1:], name) + 1
	return State(s), s > 0
}

// DeadLetter is a task that was given up, or a message that is no task.
type DeadLetter struct {
	// ID is the task's, or that of a message which is no task.
	ID string
	// Foreign: it is a message that is no task.
	Foreign bool
	State   State
	// Etag changes with every change.
	Etag string
	// Sequence is its place in the order in which dead letters first came in.
	Sequence int64
	// Change is the place of its last change in the sequence of all changes.
	Change int64

	// Type is the task type; of a message that is no task, its routing key.
	Type string
	// Cause, Failure, Reason, Decision, Run, Attempt, WorkerID, TraceID and
	// DeadTime are those of the occurrence of the highest run. Failure is nil if
	// there is none, and without details unless the dead letter is full.
	Cause    task.Cause
	Failure  *task.Failure
	Reason   string
	Decision string
	Run      int
	Attempt  int
	WorkerID string
	TraceID  string
	DeadTime time.Time
	// Labels, Priority, CreateTime, RunTime and Queue are those of the arrival
	// of the highest run.
	Labels     map[string]string
	Priority   int
	CreateTime time.Time
	RunTime    time.Time
	Queue      string
	// FirstDeadTime is the earliest DeadTime of its occurrences.
	FirstDeadTime time.Time
	// UpdateTime is when it was last made, or found, OPEN by an arrival, replayed,
	// resolved or discarded, by the store's clock.
	UpdateTime time.Time
	// OccurrenceCount is how many runs died.
	OccurrenceCount int
	// PayloadSize is the size of the message's body in bytes.
	PayloadSize int64
	// OperatorReason is that of the last replay, discard or restore.
	OperatorReason string
	// GroupID is the failure group of the highest run; empty if it is not known yet.
	GroupID string
	// WorkerVersion is that of the worker that executed the last attempt.
	WorkerVersion string
	// ReplayCount is how often it was replayed since it came in, or was restored.
	ReplayCount int
	// ReplayID is the replay that holds it; empty if none does, or a single call's.
	ReplayID string
	// OnHold: an operator keeps it as it is.
	OnHold bool
	// Revision is the last payload revision; 1 is the original.
	Revision int

	// Occurrences are all runs that died, by run ascending; nil unless full.
	Occurrences []Occurrence
	// Message is that of the highest run; nil unless full.
	Message *Message
	// Template is that of the highest run; nil unless full.
	Template []byte
	// FirstTemplate is that of the arrival which came in first; nil if that is Template, or
	// unless full.
	FirstTemplate []byte
	// Revisions are its payloads, the original first; nil unless full, and if nobody has
	// revised it, when the message's body is the original.
	Revisions []Revision
}

// TaskID is the task's id; empty for a message that is no task.
func (d *DeadLetter) TaskID() string {
	if d.Foreign {
		return ""
	}
	return d.ID
}

// Occurrence is one run that was given up.
type Occurrence struct {
	// Run counts from 1; 0 is that of a message which is no task.
	Run int
	// Attempt is the last one in that run; 0 if none was started.
	Attempt int
	Cause   task.Cause
	// Failure is what ended it, details included; nil if there is none.
	Failure *task.Failure
	// Reason is that of the failure's google.rpc.ErrorInfo.
	Reason string
	// Decision says what was decided and why, for people.
	Decision string
	// DeadTime is when; if unset, when it was stored.
	DeadTime time.Time
	// WorkerID names the worker that executed the last attempt.
	WorkerID string
	// TraceID is the W3C trace id of the run in hexadecimal.
	TraceID string
	// BrokerReason is the broker's own if it dead-lettered the message by itself.
	BrokerReason string
	// Attempts are those that the message told, oldest first.
	Attempts []task.Record
	// AttemptsOmitted is how many it did not tell.
	AttemptsOmitted int
}

// WorkerVersion is that of the worker that executed the last attempt; empty if none was
// started, or the message does not tell.
func (o *Occurrence) WorkerVersion() string {
	if n := len(o.Attempts); n > 0 {
		return o.Attempts[n-1].Version
	}
	return ""
}

// Message is a message as it arrived.
type Message struct {
	// Body is kept byte for byte.
	Body []byte
	// Properties and Headers are as the API shows them.
	Properties, Headers map[string]string
	// Queue is where it died.
	Queue string
	// Exchange and RoutingKeys are what it was published with.
	Exchange    string
	RoutingKeys []string
}

// AuditAction is what was done to a dead letter.
type AuditAction string

// The actions.
const (
	// ActionArrive: a run of its task died.
	ActionArrive AuditAction = "ARRIVE"
	// ActionReplay: a replay was begun.
	ActionReplay AuditAction = "REPLAY"
	// ActionResolve: its task is known to have ended well.
	ActionResolve AuditAction = "RESOLVE"
	// ActionDiscard: an operator gave it up.
	ActionDiscard AuditAction = "DISCARD"
	// ActionReopen: a replay was given up, or not published.
	ActionReopen AuditAction = "REOPEN"
	// ActionRestore: an operator brought it back.
	ActionRestore AuditAction = "RESTORE"
	// ActionPurge: an operator had it forgotten; a tombstone is left.
	ActionPurge AuditAction = "PURGE"
	// ActionExpire: its retention has ended; a tombstone is left.
	ActionExpire AuditAction = "EXPIRE"
	// ActionHold and ActionRelease: an operator keeps it as it is, or lets it go.
	ActionHold    AuditAction = "HOLD"
	ActionRelease AuditAction = "RELEASE"
	// ActionRevise: an operator made a new payload.
	ActionRevise AuditAction = "REVISE"
)

// AuditEntry is one thing that was done to a dead letter.
type AuditEntry struct {
	// Sequence grows with time over all dead letters.
	Sequence int64
	// DeadLetterID is whose it is.
	DeadLetterID string
	// Time is when, by the store's clock.
	Time   time.Time
	Action AuditAction
	// From is 0 for the first arrival.
	From, To State
	// Run is the run that died, is to be replayed, or has ended well.
	Run int
	// Reason is what the caller said.
	Reason string
	// Actor is who; empty while callers have no names.
	Actor string
}
