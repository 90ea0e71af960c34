package task

import (
	"bytes"
	"cmp"
	"time"
)

// Task is what is known of a task: the join of its status events.
type Task struct {
	ID       string
	Type     string
	State    State
	Run      int
	Attempt  int
	Priority int
	Labels   map[string]string
	TraceID  string
	// CreateTime, StartTime and EndTime are zero while unknown.
	CreateTime, StartTime, EndTime time.Time
	// UpdateTime is that of the event that decided the state.
	UpdateTime time.Time
	// Version is the number of the last event in the task's history.
	Version int64

	// Decided is the key of the event that decided the state, Started that of
	// the latest start in this run. What came with the former besides, such as the
	// headers and trailers of the call that ended the task, is in the history.
	Decided, Started Key

	// PayloadNumber and ResultNumber are the numbers of the events that carry
	// payload and result, 0 for none. PayloadRun is the run of the former.
	PayloadNumber, ResultNumber int64
	PayloadRun                  int
	PayloadSize, ResultSize     int64
	PayloadSHA256               []byte
	PayloadOmitted              bool

	// ExpireTime is when no attempt may start any more; zero is never.
	ExpireTime time.Time
	// ScheduleTime is when the task is put into its queue, or was, if it was submitted
	// for later; ScheduleID the schedule that did, or empty.
	ScheduleTime time.Time
	ScheduleID   string
	// UpdateSequence is that of the latest UPDATED event, 0 for none: from it come
	// the labels, priority and times of the submission.
	UpdateSequence int64

	// Failure says why the task is DEAD_LETTERED, or RETRYING, or with what the
	// handler of a CANCELLED one ended; Cause is of the first.
	Failure *Failure
	Cause   Cause
	// CancelReason is why the task is CANCELLED.
	CancelReason string
	// NextAttemptTime is when the next attempt of a RETRYING task is due.
	NextAttemptTime time.Time

	// Progress is the latest of this run, ProgressKey its event's.
	Progress    *ProgressReport
	ProgressKey Key
}

// Applied says what applying an event did.
type Applied struct {
	// Number is the event's place in the history; 0 for progress.
	Number int64
	// State is the task's state after it.
	State State
	// Correction: it replaced another terminal state of the same run.
	Correction bool
}

// Apply joins an event that the task's history does not have yet into the
// task. A later event moves the state, an earlier one fills in history and
// times. Apart from the numbers, the outcome for a set of events does not
// depend on the order in which they are applied.
func (t *Task) Apply(e *Event) Applied {
	t.ID, t.Type = e.TaskID, e.Type
	t.enterRun(e.Key.Run)
	if e.Key.Phase == PhaseUpdated {
		return t.applyUpdate(e)
	}
	t.fillHead(e.Head)
	if e.Key.Phase == PhaseProgress {
		t.applyProgress(e)
		t.presume()
		return Applied{State: t.State}
	}
	t.Version++
	t.fillScheduleTime(e)
	t.fillPayload(e)
	t.fillStart(e)
	return Applied{Number: t.Version, Correction: t.decide(e), State: t.State}
}

// enterRun forgets what belongs to an earlier run.
func (t *Task) enterRun(run int) {
	if run <= t.Run {
		return
	}
	t.Run, t.Attempt = run, 0
	t.StartTime, t.Started = time.Time{}, Key{}
	t.Progress, t.ProgressKey = nil, Key{}
}

// fillHead takes the earliest head: heads of one task differ only when a
// repeated submission was accepted at another time.
func (t *Task) fillHead(h *Head) {
	if h == nil || t.UpdateSequence > 0 || !t.CreateTime.IsZero() && !h.CreateTime.Before(t.CreateTime) {
		return
	}
	t.takeHead(h)
}

func (t *Task) takeHead(h *Head) {
	t.CreateTime, t.Priority, t.Labels, t.TraceID = h.CreateTime, h.Priority, h.Labels, h.TraceID
	t.ExpireTime, t.ScheduleID = h.ExpireTime, h.ScheduleID
}

// fillScheduleTime takes the earliest time: as with heads, a task has two only if
// its submission was repeated.
func (t *Task) fillScheduleTime(e *Event) {
	if e.Key.Phase != PhaseScheduled || t.UpdateSequence > 0 || !t.ScheduleTime.IsZero() && !e.ScheduleTime.Before(t.ScheduleTime) {
		return
	}
	t.ScheduleTime = e.ScheduleTime
}

// applyUpdate lets the latest change of what was submitted hold. It decides no
// state.
func (t *Task) applyUpdate(e *Event) Applied {
	t.Version++
	if e.Key.Sequence > t.UpdateSequence {
		t.UpdateSequence, t.ScheduleTime = e.Key.Sequence, e.ScheduleTime
		t.takeHead(e.Head)
	}
	t.presume()
	return Applied{Number: t.Version, State: t.State}
}

// presume gives a task a state of which nothing is known that decides one. Whatever
// comes outranks it.
func (t *Task) presume() {
	switch {
	case t.Decided != Key{}:
	case t.Progress != nil:
		t.State = StateRunning
	default:
		t.State = StateQueued
	}
}

// fillPayload takes the payload of the latest run. A run has two only if a
// submission was repeated with another payload; which of them is shown must
// still not depend on which came first, so their digests decide.
func (t *Task) fillPayload(e *Event) {
	if e.Payload == nil || t.PayloadNumber != 0 && cmp.Or(
		cmp.Compare(e.Key.Run, t.PayloadRun),
		bytes.Compare(e.Payload.SHA256, t.PayloadSHA256),
	) <= 0 {
		return
	}
	t.PayloadNumber, t.PayloadRun = t.Version, e.Key.Run
	t.PayloadSize, t.PayloadSHA256, t.PayloadOmitted = e.Payload.Size, e.Payload.SHA256, e.Payload.Omitted
}

// fillStart takes the latest start. Other events may be of an attempt that was
// never started.
func (t *Task) fillStart(e *Event) {
	if e.Key.Run != t.Run || e.Key.Phase != PhaseStarted {
		return
	}
	t.Attempt = max(t.Attempt, e.Key.Attempt)
	if e.Key.Compare(t.Started) > 0 {
		t.Started, t.StartTime = e.Key, e.Time
	}
}

// decide lets the event decide the state if it outranks the one that did, and
// says whether that corrects a terminal state.
func (t *Task) decide(e *Event) bool {
	if t.State != 0 && !e.Key.outranks(t.Decided) {
		return false
	}
	was, run := t.State, t.Decided.Run
	t.State, t.Decided, t.UpdateTime = e.Key.Phase.State(), e.Key, e.Time
	t.EndTime, t.Failure, t.Cause, t.NextAttemptTime, t.CancelReason = time.Time{}, nil, 0, time.Time{}, ""
	t.ResultNumber, t.ResultSize = 0, 0
	if t.State.Terminal() {
		t.EndTime = e.Time
	}
	switch t.State {
	case StateSucceeded:
		t.ResultNumber, t.ResultSize = t.Version, int64(len(e.Message))
	case StateDeadLettered:
		t.Failure, t.Cause = e.Failure, e.Cause
	case StateCancelled:
		t.Failure, t.CancelReason = e.Failure, e.Reason
	case StateRetrying:
		t.Failure, t.NextAttemptTime = e.Failure, e.NextAttemptTime
	}
	return was.Terminal() && was != t.State && run == e.Key.Run
}

func (t *Task) applyProgress(e *Event) {
	if e.Key.Run != t.Run || t.Progress != nil && e.Key.Compare(t.ProgressKey) <= 0 {
		return
	}
	t.Progress, t.ProgressKey = e.Progress, e.Key
}
