package task

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
)

// MaxPayloadInStatus is the largest payload, in bytes, that a QUEUED event
// carries; of a larger one it has the size and the digest.
const MaxPayloadInStatus = 64 << 10

// NewID makes a task id: a UUIDv7, so that ids sort by time of submission.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

// Copy is the random id of one publish of a task's message.
type Copy [16]byte

// NewCopy makes a copy id.
func NewCopy() Copy { return Copy(uuid.New()) }

// Key identifies a status event of a task, and orders it among the others.
type Key struct {
	// Run and Attempt count from 1.
	Run, Attempt int
	// Delivery is the broker's count of acquisitions of the message, from 1; 0
	// in an event that precedes the first.
	Delivery int64
	Phase    Phase
	// Sequence orders MESSAGE and PROGRESS events of one delivery, and the UPDATED
	// events of a task, from 1.
	Sequence int64
	// Copy comes last: it tells apart events of two messages of one task, whose
	// counts say nothing about each other.
	Copy Copy
}

// Compare orders keys by run, attempt, delivery, phase, sequence and copy.
func (k Key) Compare(o Key) int {
	return cmp.Or(
		cmp.Compare(k.Run, o.Run),
		cmp.Compare(k.Attempt, o.Attempt),
		cmp.Compare(k.Delivery, o.Delivery),
		cmp.Compare(k.Phase.order(), o.Phase.order()),
		cmp.Compare(k.Sequence, o.Sequence),
		bytes.Compare(k.Copy[:], o.Copy[:]),
	)
}

// outranks says whether an event with key k, and not one with key o, decides
// the state of their task. It is a total order, so the winner among any set of
// events does not depend on the order of their arrival. Of two equal terminal
// events the earlier key wins: a result that was shown once stays.
func (k Key) outranks(o Key) bool {
	if k.Run != o.Run {
		return k.Run > o.Run
	}
	if r, s := k.Phase.rank(), o.Phase.rank(); r != s {
		return r > s
	} else if r > 0 {
		return k.Compare(o) < 0
	}
	return k.Compare(o) > 0
}

// Event is one status event of one task.
type Event struct {
	TaskID string
	// Type is the task type.
	Type string
	Key  Key
	// Time is when it happened, by the clock of the process that reports it.
	Time time.Time
	// Head is what a row needs when this event creates it; nil in events that
	// another of the same process precedes. In UPDATED events it is what holds from
	// then on.
	Head *Head
	// ScheduleTime is when the task is put into its queue, in SCHEDULED events, and in
	// UPDATED events of a task that had one.
	ScheduleTime time.Time
	// Reason is why, in CANCELLED and UPDATED events, as whoever did it said.
	Reason string
	// Payload is set in SCHEDULED and QUEUED events.
	Payload *Payload
	// Execution is set in STARTED events.
	Execution *Execution
	// WorkerID names the worker that reports; empty in QUEUED events.
	WorkerID string
	// Message is the encoded message of MESSAGE and SUCCEEDED events.
	Message []byte
	// Failure is set in DEAD_LETTERED and RETRYING events, unless a handler just
	// asked for later; in CANCELLED events if the handler failed.
	Failure *Failure
	// Cause is set in DEAD_LETTERED events.
	Cause Cause
	// Decision says what was decided and why in DEAD_LETTERED and RETRYING
	// events, for people; in RELEASED events why, if the handler was not begun.
	Decision string
	// NextAttempt and NextAttemptTime are set in RETRYING events. NextAttempt is
	// Key.Attempt if that was not spent.
	NextAttempt     int
	NextAttemptTime time.Time
	// Progress is set in PROGRESS events.
	Progress *ProgressReport
	// Headers and Trailers are those of the handler's call, in SUCCEEDED, RETRYING and
	// DEAD_LETTERED events, and Headers in the first MESSAGE event of an execution too: at
	// most MaxResponseMetadata bytes of each.
	Headers, Trailers Metadata
}

// Validate says what makes an event impossible to apply.
func (e *Event) Validate() error {
	if _, err := uuid.Parse(e.TaskID); err != nil {
		return fmt.Errorf("task id %q is not a UUID", e.TaskID)
	}
	if e.Type == "" {
		return fmt.Errorf("no task type")
	}
	if !e.Key.Phase.Valid() {
		return fmt.Errorf("phase %d is unknown", e.Key.Phase)
	}
	if e.Key.Run < 1 || e.Key.Run > math.MaxInt32 || e.Key.Attempt < 1 || e.Key.Attempt > math.MaxInt32 || e.Key.Delivery < 0 || e.Key.Sequence < 0 {
		return fmt.Errorf("run %d, attempt %d, delivery %d, sequence %d are out of range",
			e.Key.Run, e.Key.Attempt, e.Key.Delivery, e.Key.Sequence)
	}
	if e.Key.Phase == PhaseProgress && e.Progress == nil {
		return fmt.Errorf("a PROGRESS event without progress")
	}
	if e.Key.Phase == PhaseRetrying && (e.NextAttemptTime.IsZero() || e.NextAttempt < e.Key.Attempt || e.NextAttempt > math.MaxInt32) {
		return fmt.Errorf("a RETRYING event without the time or the number of the next attempt")
	}
	if e.Key.Phase == PhaseScheduled && (e.ScheduleTime.IsZero() || e.Head == nil) {
		return fmt.Errorf("a SCHEDULED event without a time or a head")
	}
	if e.Key.Phase == PhaseUpdated && (e.Head == nil || e.Key.Sequence < 1) {
		return fmt.Errorf("an UPDATED event without a head or a sequence")
	}
	if e.Key.Phase != PhaseQueued && e.Key.Phase != PhaseScheduled && e.Payload != nil {
		return fmt.Errorf("an event of phase %d with a payload", e.Key.Phase)
	}
	return nil
}

// Size estimates the event's size in bytes on the wire, for bounding batches.
func (e *Event) Size() int {
	n := 160 + len(e.Type) + len(e.Message) + len(e.Decision) + len(e.Reason) + e.Headers.Size() + e.Trailers.Size()
	if e.Head != nil {
		for k, v := range e.Head.Labels {
			n += len(k) + len(v) + 8
		}
	}
	if e.Payload != nil {
		n += len(e.Payload.Bytes)
	}
	if e.Failure != nil {
		n += e.Failure.size()
	}
	if e.Progress != nil {
		n += len(e.Progress.Message)
	}
	return n
}

// Head is what of a submission belongs into the task's row. It is the same in
// all events of a task, but for UPDATED ones and what follows them.
type Head struct {
	CreateTime time.Time
	// Priority is from 1 to 9.
	Priority int
	Labels   map[string]string
	// TraceID is the W3C trace id of the submission in hexadecimal, or empty.
	TraceID string
	// ExpireTime is when no attempt may start any more; zero is never.
	ExpireTime time.Time
	// ScheduleID is the schedule that submitted it, or empty.
	ScheduleID string
}

// Payload is a task's payload as its QUEUED event has it.
type Payload struct {
	// Bytes is empty when Omitted.
	Bytes []byte
	// Size is in bytes.
	Size   int64
	SHA256 []byte
	// Omitted says that the payload is above [MaxPayloadInStatus].
	Omitted bool
}

// Execution says who executes a delivery.
type Execution struct {
	Host, Version string
	// Redelivered: the broker counts a delivery before this one that ended in a
	// lost connection, so the attempt may have been started before.
	Redelivered bool
	// Alone: nothing else ran in the worker's process.
	Alone bool
}

// ProgressReport is what a handler said of its progress.
type ProgressReport struct {
	// Fraction is from 0 to 1, negative when unknown.
	Fraction float64
	Message  string
	Time     time.Time
}

// Detail is one encoded detail of a status; its type need not be known here.
type Detail struct {
	TypeURL string
	Value   []byte
}

// FailureKind tells what ended an attempt from what its handler returned. The
// numbers are those of warren.task.v1.FailureKind; the zero value is an error.
type FailureKind int

// The kinds of failures.
const (
	KindError FailureKind = iota + 1
	KindTimeout
	KindPanic
	KindCrash
)

// Failure is a gRPC status other than OK.
type Failure struct {
	// Code is a google.rpc.Code, never 0.
	Code    int
	Message string
	Details []Detail
	// Stack is that of a handler that panicked.
	Stack string
	Kind  FailureKind
}

func (f *Failure) size() int {
	n := len(f.Message) + len(f.Stack) + 16
	for _, d := range f.Details {
		n += len(d.TypeURL) + len(d.Value) + 8
	}
	return n
}
