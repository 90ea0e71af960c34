package api

import (
	"fmt"
	"strings"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// attempts is how the executions of the present run ended.
func (s *situation) attempts() *taskv1.Fact {
	records := s.present()
	if len(records) == 0 || len(records) == 1 && records[0].Outcome == task.OutcomeRunning {
		return nil
	}
	text := count(len(records), "execution", "executions")
	if len(s.records) > len(records) {
		text += fmt.Sprintf(" in this run, and %d in those before", len(s.records)-len(records))
	}
	for i := range records {
		if r := &records[len(records)-1-i]; r.Outcome != task.OutcomeRunning {
			text += "; the last that ended, " + executionText(r)
			return fact(taskv1.FactKind_FACT_KIND_ATTEMPTS, text, taskv1.FactSource_FACT_SOURCE_STORE, r.EndTime)
		}
	}
	return fact(taskv1.FactKind_FACT_KIND_ATTEMPTS, text, taskv1.FactSource_FACT_SOURCE_STORE, s.task.UpdateTime)
}

// executionText tells of an execution that has ended.
func executionText(r *task.Record) string {
	outcome := strings.TrimPrefix(taskv1.AttemptOutcome(r.Outcome).String(), "ATTEMPT_OUTCOME_")
	text := fmt.Sprintf("attempt %d on %s: %s", r.Key.Attempt, nameOf(r.WorkerID, r.Host), outcome)
	if !r.EndTime.IsZero() {
		text += " at " + when(r.EndTime)
	}
	if r.Failure != nil {
		text += " with " + failureText(r.Failure)
	}
	return text
}

// decided is what was decided last in the present run, and why.
func (s *situation) decided() *taskv1.Fact {
	var last *task.NumberedEvent
	for i := range s.history {
		if e := &s.history[i]; e.Key.Run == s.task.Run && e.Decision != "" && (last == nil || e.Key.Compare(last.Key) > 0) {
			last = e
		}
	}
	if last == nil {
		return nil
	}
	return fact(taskv1.FactKind_FACT_KIND_POLICY, "it was decided: "+valid(last.Decision), taskv1.FactSource_FACT_SOURCE_STORE, last.Time)
}

// limits is what the policy of the type allows.
func (s *situation) limits() *taskv1.Fact {
	if s.options == nil || s.task.State == task.StateSucceeded || s.task.State == task.StateCancelled {
		return nil
	}
	text := fmt.Sprintf("its type allows %s of %s each",
		count(int(s.options.GetRetry().GetMaxAttempts()), "attempt", "attempts"), span(s.options.GetTimeout().AsDuration()))
	if s.options.GetAtMostOnce() {
		text = "its type runs at most once, for " + span(s.options.GetTimeout().AsDuration()) + " at most"
	}
	return fact(taskv1.FactKind_FACT_KIND_POLICY, text+"; its submission may have asked for less", taskv1.FactSource_FACT_SOURCE_OPTIONS, s.now)
}

var causeTexts = map[task.Cause]string{
	task.CauseAttemptsExhausted: "no attempts, or no time for another one, are left to it",
	task.CausePermanentFailure:  "it failed in a way that no other attempt can cure",
	task.CauseUndecodable:       "its message or payload could not be decoded",
	task.CauseExpired:           "its expire time passed before an attempt could start",
	task.CauseQueueOverflow:     "its queue was at its type's length limit",
	task.CauseDeliveryLimit:     "it took its workers down too often, or its one start was lost",
	task.CauseRejected:          "a consumer that is not Warren's rejected its message",
	task.CauseUnroutable:        "its type had no queue when it was replayed",
	task.CauseMaxLength:         "RabbitMQ dropped its message by a length limit that an operator set there",
}

// deadLetter is why a task was given up.
func (s *situation) deadLetter() *taskv1.Fact {
	if s.task.State != task.StateDeadLettered {
		return nil
	}
	text := fmt.Sprintf("it is a dead letter, of the cause %s: %s", s.task.Cause, causeTexts[s.task.Cause])
	if s.task.Failure != nil {
		text += "; it failed with " + failureText(s.task.Failure)
	}
	return fact(taskv1.FactKind_FACT_KIND_DEAD_LETTER, text, taskv1.FactSource_FACT_SOURCE_STORE, s.task.EndTime)
}

// cancelled is why a task was cancelled.
func (s *situation) cancelled() *taskv1.Fact {
	if s.task.State != task.StateCancelled {
		return nil
	}
	text := "it was cancelled, and nobody said why"
	if s.task.CancelReason != "" {
		text = "it was cancelled: " + valid(s.task.CancelReason)
	}
	if s.task.Failure != nil {
		text += "; its handler ended with " + failureText(s.task.Failure)
	}
	return fact(taskv1.FactKind_FACT_KIND_CANCELLATION, text, taskv1.FactSource_FACT_SOURCE_STORE, s.task.EndTime)
}
