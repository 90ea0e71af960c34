package api

import (
	"fmt"

	"github.com/warrenmq/warren/pkg/task"
)

// summary is why it stands where it does, in one sentence.
func (s *situation) summary() string {
	t := &s.task
	switch t.State {
	case task.StateScheduled:
		return s.waiting("its time", "the gateway is putting it into its queue")
	case task.StateRetrying:
		return s.waiting("its next attempt", "")
	case task.StateQueued:
		return s.queued("It waits in its queue")
	case task.StateRunning:
		return s.running()
	case task.StateSucceeded:
		return fmt.Sprintf("It SUCCEEDED at %s, with attempt %d of run %d.", s.ago(t.EndTime), max(t.Attempt, 1), t.Run)
	case task.StateCancelled:
		return fmt.Sprintf("It was CANCELLED at %s%s.", s.ago(t.EndTime), because(t.CancelReason))
	case task.StateDeadLettered:
		text := fmt.Sprintf("It is a dead letter since %s: %s", s.ago(t.EndTime), causeTexts[t.Cause])
		if t.Failure != nil {
			text += " (" + failureText(t.Failure) + ")"
		}
		return text + "."
	}
	return "Nothing is known of it but its progress."
}

// waiting is of a task that waits for a time. Overdue says what happens to it once
// that has come; nothing, if it waits in its queue then.
func (s *situation) waiting(what, overdue string) string {
	at, ahead := s.due()
	obstacles := texts(s.obstacles())
	if !ahead && overdue == "" {
		return s.queued("Its next attempt was due at " + s.ago(at) + ", and it waits in its queue")
	}
	if s.rabbitAway() != nil || s.queueFull() != nil {
		return fmt.Sprintf("Its time came at %s, and the gateway can't put it into its queue yet: %s.", s.ago(at), list(obstacles))
	}
	text := fmt.Sprintf("It waits for %s, %s", what, s.ahead(at))
	if !ahead {
		text = fmt.Sprintf("Its time came at %s, and %s", s.ago(at), overdue)
	}
	if s.task.State == task.StateRetrying && s.task.Failure != nil {
		text += ", because the last one failed with " + failureText(s.task.Failure)
	}
	if len(obstacles) > 0 {
		text += "; as things stand, it would not start then: " + list(obstacles)
	}
	return text + "."
}

// queued is of a task that could start, were it not for obstacles.
func (s *situation) queued(begin string) string {
	if obstacles := texts(s.obstacles()); len(obstacles) > 0 {
		return begin + ": " + list(obstacles) + "."
	}
	switch p := s.position(); {
	case !s.fleet.known:
		return begin + "; this gateway does not know its workers yet."
	case p != nil && p.AtMost > 0:
		return fmt.Sprintf("%s: slots are free, and from %d to %d tasks are ahead of it.", begin, p.AtLeast, p.AtMost)
	}
	return begin + ": slots are free, it starts in a moment."
}

func (s *situation) running() string {
	text := fmt.Sprintf("Attempt %d runs", max(s.task.Attempt, 1))
	if r := s.last(); r != nil {
		text += " on " + nameOf(r.WorkerID, r.Host)
		if c := s.fleet.worker(r.WorkerID); s.fleet.known && (c == nil || !c.live()) {
			text = fmt.Sprintf("Attempt %d was started on %s, which is not heard of any more", max(s.task.Attempt, 1), nameOf(r.WorkerID, r.Host))
		}
	}
	if !s.task.StartTime.IsZero() {
		text += ", since " + s.ago(s.task.StartTime)
	}
	if f := s.cancelling(); f != nil {
		text += "; " + f.Text
	}
	if p := s.task.Progress; p != nil && p.Message != "" {
		text += "; its handler says: " + valid(p.Message)
	}
	return text + "."
}
