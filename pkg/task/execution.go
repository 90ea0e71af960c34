package task

import (
	"cmp"
	"slices"
	"time"
)

// NumberedEvent is an event in a task's history.
type NumberedEvent struct {
	Event
	Applied
}

// Outcome says how one execution of an attempt ended. The numbers are those of
// warren.task.v1.AttemptOutcome.
type Outcome int

// The outcomes of an execution.
const (
	OutcomeRunning Outcome = iota + 1
	OutcomeSucceeded
	OutcomeFailed
	OutcomeCancelled
	OutcomeReleased
	OutcomeLost
	OutcomeSnoozed
	OutcomeTimedOut
	OutcomePanicked
	OutcomeCrashed
)

// Record is one execution of an attempt.
type Record struct {
	// Key is that of its STARTED event.
	Key      Key
	WorkerID string
	Execution
	StartTime, EndTime time.Time
	Outcome            Outcome
	Failure            *Failure
	// Headers and Trailers are those of the handler's call.
	Headers, Trailers Metadata
	// Decision says what was decided after it, and why.
	Decision string
	// NextAttemptTime is when the next attempt was due; zero if none was.
	NextAttemptTime time.Time
	// Extra: this attempt number was, or may have been, started before. One that
	// follows an execution which spent no attempt is not.
	Extra bool
}

// NotBegun says whether the event tells of a delivery whose handler was not begun:
// nothing was done. What it may have begun a worker gives back without a word of
// why.
func (e *Event) NotBegun() bool { return e.Key.Phase == PhaseReleased && e.Decision != "" }

// Records derives the executions of a task from its history, oldest first.
// Messages of response streams in it are passed over.
func Records(history []NumberedEvent) []Record {
	var records []Record
	var seen []Key
	ends := map[delivery]*Event{}
	for i := range history {
		e := &history[i].Event
		switch e.Key.Phase {
		case PhaseStarted:
			records = append(records, started(e))
		case PhaseRetrying, PhaseReleased, PhaseLost, PhaseDeadLettered, PhaseCancelled, PhaseSucceeded:
			// An execution can say LOST and still end: the handler went on.
			if was := ends[deliveryOf(e.Key)]; was == nil || was.weight() < e.weight() {
				ends[deliveryOf(e.Key)] = e
			}
		default:
			continue
		}
		seen = append(seen, e.Key)
	}
	slices.SortFunc(records, func(a, b Record) int { return a.Key.Compare(b.Key) })
	before := false
	for i := range records {
		// An execution has spent its attempt unless what was decided after it says
		// otherwise.
		r, spent := &records[i], true
		if i == 0 || !r.Key.sameAttempt(records[i-1].Key) {
			before = false
		}
		r.Extra = r.Extra || before
		if e := ends[deliveryOf(r.Key)]; e != nil {
			r.EndTime, r.Outcome, r.Failure = e.Time, outcomeOf(e), e.Failure
			r.Headers, r.Trailers = e.Headers, e.Trailers
			r.Decision, r.NextAttemptTime = e.Decision, e.NextAttemptTime
			spent = e.Key.Phase != PhaseRetrying || e.NextAttempt > e.Key.Attempt
			if e.NotBegun() {
				spent = before // what held before it still holds
			}
		} else if slices.ContainsFunc(seen, r.Key.lostBy) {
			r.Outcome = OutcomeLost
		}
		before = spent
	}
	return records
}

// weight orders the ends of one execution by how much they say: that it was not
// begun is more than that its connection was lost, and less than an outcome.
func (e *Event) weight() int {
	if e.NotBegun() {
		return 2*PhaseLost.order() + 1
	}
	return 2 * e.Key.Phase.order()
}

func (k Key) sameAttempt(o Key) bool { return k.Run == o.Run && k.Attempt == o.Attempt }

// delivery is one hand-over of one message of a task.
type delivery struct {
	copy         Copy
	run, attempt int
	number       int64
}

func deliveryOf(k Key) delivery { return delivery{k.Copy, k.Run, k.Attempt, k.Delivery} }

// lostBy says whether the event with key o shows that the worker which
// executed the delivery of k, and never said how it ended, was lost: it is of a
// later run, a later delivery of the same message (the broker has one at a
// time), or a later end of the run.
func (k Key) lostBy(o Key) bool {
	if o.Run != k.Run {
		return o.Run > k.Run
	}
	if o.Copy == k.Copy && cmp.Or(cmp.Compare(o.Attempt, k.Attempt), cmp.Compare(o.Delivery, k.Delivery)) > 0 {
		return true
	}
	return o.Phase.State().Terminal() && o.Compare(k) > 0
}

func started(e *Event) Record {
	r := Record{Key: e.Key, WorkerID: e.WorkerID, StartTime: e.Time, Outcome: OutcomeRunning}
	if e.Execution != nil {
		r.Execution = *e.Execution
		r.Extra = e.Execution.Redelivered
	}
	return r
}

func outcomeOf(e *Event) Outcome {
	switch e.Key.Phase {
	case PhaseSucceeded:
		return OutcomeSucceeded
	case PhaseDeadLettered:
		return failed(e.Failure)
	case PhaseRetrying:
		if e.Failure == nil {
			return OutcomeSnoozed
		}
		return failed(e.Failure)
	case PhaseCancelled:
		return OutcomeCancelled
	case PhaseReleased:
		return OutcomeReleased
	}
	return OutcomeLost
}

// failed is the outcome by a failure; one that nobody has described is nil.
func failed(f *Failure) Outcome {
	switch {
	case f == nil:
		return OutcomeFailed
	case f.Kind == KindTimeout:
		return OutcomeTimedOut
	case f.Kind == KindPanic:
		return OutcomePanicked
	case f.Kind == KindCrash:
		return OutcomeCrashed
	}
	return OutcomeFailed
}
