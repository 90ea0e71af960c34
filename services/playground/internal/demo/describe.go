//go:build unix

package demo

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/anypb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/playground/internal/show"
)

// showUpdate prints one step of a watch.
func (s *session) showUpdate(update *taskv1.WatchTaskResponse) {
	switch {
	case update.GetEvent() != nil:
		what, text := describeEvent(update.GetEvent())
		s.print.Line(what, "%s", text)
	case update.GetProgress() != nil:
		s.print.Line("progress", "%3.0f %% %s", 100*update.GetProgress().GetFraction(), update.GetProgress().GetMessage())
	case update.GetSnapshot() != nil:
		s.print.Line(stateName(update.GetSnapshot().GetState()), "as of now")
	}
}

func describeEvent(event *taskv1.TaskEvent) (what, text string) {
	if event.GetKind() == taskv1.EventKind_EVENT_KIND_MESSAGE {
		return fmt.Sprintf("message %d", event.GetMessageNumber()), describeMessage(event.GetMessage())
	}
	state, text := event.GetState(), ""
	switch event.GetKind() {
	case taskv1.EventKind_EVENT_KIND_QUEUED:
		state = taskv1.TaskState_TASK_STATE_QUEUED
	case taskv1.EventKind_EVENT_KIND_STARTED:
		state, text = taskv1.TaskState_TASK_STATE_RUNNING,
			fmt.Sprintf("attempt %d, by worker %s", event.GetAttempt(), event.GetWorkerId())
	case taskv1.EventKind_EVENT_KIND_SUCCEEDED:
		state, text = taskv1.TaskState_TASK_STATE_SUCCEEDED,
			"with its result, "+show.Size(len(event.GetResult().GetValue()))
	case taskv1.EventKind_EVENT_KIND_RETRYING:
		state, text = taskv1.TaskState_TASK_STATE_RETRYING, event.GetDecision()
	case taskv1.EventKind_EVENT_KIND_DEAD_LETTERED:
		state, text = taskv1.TaskState_TASK_STATE_DEAD_LETTERED,
			fmt.Sprintf("cause %s: %s", causeName(event.GetCause()), describeFailure(event.GetFailure()))
	default:
		text = strings.TrimPrefix(event.GetKind().String(), "EVENT_KIND_")
	}
	if event.GetState() != state {
		text += fmt.Sprintf("(told late, the task is %s already)", stateName(event.GetState()))
	}
	return stateName(state), text
}

// describeMessage describes a message of the one streaming method that the
// demo calls.
func describeMessage(message *anypb.Any) string {
	var step demov1.ContactSheetResponse
	if err := message.UnmarshalTo(&step); err != nil {
		return err.Error()
	}
	bar := strings.Repeat("#", int(step.GetPlaced())) + strings.Repeat(".", int(max(step.GetTotal()-step.GetPlaced(), 0)))
	text := fmt.Sprintf("%s %d of %d placed", bar, step.GetPlaced(), step.GetTotal())
	if len(step.GetSheet()) > 0 {
		text += ", and the sheet"
	}
	return text
}

func describeFailure(failure *taskv1.Failure) string {
	if failure == nil {
		return "no failure recorded"
	}
	text := fmt.Sprintf("%s %q", code.Code(failure.GetCode()), failure.GetMessage())
	if reason := reasonOf(failure); reason != "" {
		text += ", reason " + reason
	}
	return text
}

// reasonOf is the reason of the failure's ErrorInfo, if it has one.
func reasonOf(failure *taskv1.Failure) string {
	for _, detail := range failure.GetDetails() {
		var info errdetails.ErrorInfo
		if detail.MessageIs(&info) && detail.UnmarshalTo(&info) == nil {
			return info.GetReason()
		}
	}
	return ""
}

func describeAttempts(attempts []*taskv1.TaskAttempt) string {
	return table("RUN\tATTEMPT\tDELIVERY\tOUTCOME\tTOOK\tWORKER\tHOST", attempts, func(a *taskv1.TaskAttempt) string {
		return fmt.Sprintf("%d\t%d\t%d\t%s\t%v\t%s\t%s", a.GetRun(), a.GetAttempt(), a.GetDelivery(), outcomeName(a.GetOutcome()),
			a.GetEndTime().AsTime().Sub(a.GetStartTime().AsTime()).Round(time.Millisecond),
			a.GetWorkerId(), a.GetWorkerHost())
	})
}

// describeDecisions is about attempts that were not the only ones: what followed
// each of them, and why.
func describeDecisions(attempts []*taskv1.TaskAttempt) string {
	return table("RUN\tATTEMPT\tOUTCOME\tDECISION", attempts, func(a *taskv1.TaskAttempt) string {
		return fmt.Sprintf("%d\t%d\t%s\t%s", a.GetRun(), a.GetAttempt(), outcomeName(a.GetOutcome()), a.GetDecision())
	})
}

func describeDeadLetters(dead []*deadletterv1.DeadLetter) string {
	return table("DEAD LETTER\tSTATE\tCAUSE\tFAILURE", dead, func(d *deadletterv1.DeadLetter) string {
		return fmt.Sprintf("%s\t%s\t%s\t%s", d.GetDeadLetterId(), deadLetterStateName(d.GetState()),
			causeName(d.GetCause()), describeFailure(d.GetFailure()))
	})
}

// table has a line for each row, cells divided by tabs.
func table[Row any](head string, rows []Row, line func(Row) string) string {
	var text strings.Builder
	cells := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(cells, head)
	for _, row := range rows {
		_, _ = fmt.Fprintln(cells, line(row))
	}
	_ = cells.Flush()
	return text.String()
}

func stateName(state taskv1.TaskState) string {
	return strings.TrimPrefix(state.String(), "TASK_STATE_")
}

func causeName(cause taskv1.Cause) string {
	return strings.TrimPrefix(cause.String(), "CAUSE_")
}

func outcomeName(outcome taskv1.AttemptOutcome) string {
	return strings.TrimPrefix(outcome.String(), "ATTEMPT_OUTCOME_")
}

func deadLetterStateName(state deadletterv1.DeadLetterState) string {
	return strings.TrimPrefix(state.String(), "DEAD_LETTER_STATE_")
}
