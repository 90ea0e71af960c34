package store

import (
	"time"

	"github.com/warrenmq/warren/pkg/task"
)

// News counts what events tell of a task as they enter its history. As each event
// enters it once, however often it comes, so does each of these count once.
type News struct {
	// Succeeded, Cancelled and DeadLettered are runs that have ended. A correction of
	// how one has ended does not count: it was counted when it first ended.
	Succeeded, Cancelled, DeadLettered int
	// Took and EndState are set with Ended, for the first run of a task whose beginning is known:
	// from when it was submitted, or was due if that was later, to its end. How long
	// a dead letter lay before its replay tells nothing of the time that a task takes.
	Ended    bool
	EndState task.State
	Took     time.Duration
	// Waited is set with Started, for the first start of a task whose beginning is
	// known: from that beginning to the start.
	Started bool
	Waited  time.Duration
	// Attempts are executions that have ended.
	Attempts Attempts
	// Retries are attempts after which another one was planned.
	Retries int
}

// Attempts counts executions by how they have ended.
type Attempts struct {
	Succeeded, Failed, Cancelled int
	// Released were given back to the queue, or put off, without a failure.
	Released int
	// Lost are those whose worker was lost. One that was lost and still says how it
	// has ended counts for both.
	Lost int
}

// Add counts an event that has just entered the history and has made of the task was
// the task is.
func (n *News) Add(was, is *task.Task, e *task.Event) {
	n.addEnd(was, is)
	n.addStart(was, is, e)
	n.Attempts.add(was, e)
	if e.Key.Phase == task.PhaseRetrying {
		n.Retries++
	}
}

func (n *News) addEnd(was, is *task.Task) {
	if !ended(is) || ended(was) && was.Run == is.Run {
		return
	}
	switch is.State {
	case task.StateSucceeded:
		n.Succeeded++
	case task.StateCancelled:
		n.Cancelled++
	default:
		n.DeadLettered++
	}
	if since := begun(is); is.Run == 1 && !since.IsZero() {
		n.Ended, n.EndState, n.Took = true, is.State, max(is.EndTime.Sub(since), 0)
	}
}

// ended says whether the task's latest run has. The state is that of the run before
// while all that is known of the latest is its progress.
func ended(t *task.Task) bool { return t.State.Terminal() && t.Decided.Run == t.Run }

// begun is when a task was to be put into its queue; zero while that is not known.
func begun(t *task.Task) time.Time {
	if t.ScheduleTime.After(t.CreateTime) {
		return t.ScheduleTime
	}
	return t.CreateTime
}

func (n *News) addStart(was, is *task.Task, e *task.Event) {
	first := e.Key.Phase == task.PhaseStarted && e.Key.Run == 1 && e.Key.Attempt == 1 && is.Run == 1 && was.StartTime.IsZero()
	if since := begun(is); first && !since.IsZero() {
		n.Started, n.Waited = true, max(is.StartTime.Sub(since), 0)
	}
}

func (a *Attempts) add(was *task.Task, e *task.Event) {
	if lost(was, e) {
		a.Lost++
	}
	switch e.Key.Phase {
	case task.PhaseSucceeded:
		a.Succeeded++
	case task.PhaseRetrying:
		if e.Failure == nil {
			a.Released++
		} else {
			a.Failed++
		}
	case task.PhaseReleased:
		if !e.NotBegun() {
			a.Released++
		}
	case task.PhaseLost:
		if executes(was, e) {
			a.Lost++
		}
	case task.PhaseCancelled:
		if executes(was, e) {
			a.Cancelled++
		}
	case task.PhaseDeadLettered:
		a.addDeath(was, e)
	default: // the others end no execution
	}
}

// addDeath counts what an attempt has died of. Others are of tasks that were not
// being executed, or whose worker was lost.
func (a *Attempts) addDeath(was *task.Task, e *task.Event) {
	switch {
	case e.Cause == task.CauseAttemptsExhausted, e.Cause == task.CausePermanentFailure:
		a.Failed++
	case !executes(was, e):
	case e.Cause == task.CauseDeliveryLimit:
		a.Lost++
	default:
		a.Failed++
	}
}

// executes says whether an event is of the execution that was the last to start.
func executes(was *task.Task, e *task.Event) bool {
	s := was.Started
	return s.Run == e.Key.Run && s.Attempt == e.Key.Attempt && s.Delivery == e.Key.Delivery && s.Copy == e.Key.Copy
}

// lost says whether an event shows that the execution before it has ended without a
// word: the broker has one delivery of a message at a time.
func lost(was *task.Task, e *task.Event) bool {
	s := was.Started
	silent := was.State == task.StateRunning && was.Decided.Run == was.Run && s.Run == was.Run
	return silent && s.Run == e.Key.Run && s.Copy == e.Key.Copy && e.Key.Compare(s) > 0 && !executes(was, e)
}
