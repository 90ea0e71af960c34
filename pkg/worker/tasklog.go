package worker

import (
	"log/slog"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"

	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
)

// maxLogged bounds what a handler says of its failure in a log line, in bytes. All of
// it travels with the task.
const maxLogged = 256

// log is for lines about this execution.
func (x *execution) log() *slog.Logger { return x.logOf(x.delivery.Attempt()) }

func (x *execution) logOf(attempt int) *slog.Logger {
	span := telemetry.SpanOf(x.msg.Trace)
	if x.traced.span != nil && x.traced.span.SpanContext().IsValid() {
		span = x.traced.span.SpanContext()
	}
	about := telemetry.TaskOfLog{ID: x.msg.ID, Type: x.taskType, Run: x.msg.Run, Attempt: attempt}
	return about.InSpan(span).Log(x.w.cfg.Logger)
}

// logFailure logs an outcome that is on record, if it is a failure: the one line that
// there is of it at Info and above in all processes, but for that of the dead letter.
// What the handler said is its author's, and only here, where the handler runs, it is
// logged.
func (x *execution) logFailure(e *task.Event) {
	var what []any
	if f := e.Failure; f != nil {
		what = append(what, "code", code.Code(f.Code).String())
		if reason := policy.Reason(f); reason != "" {
			what = append(what, "reason", telemetry.BoundText(reason, maxLogged))
		}
		what = append(what, "message", telemetry.BoundText(f.Message, maxLogged))
	}
	switch {
	case e.Key.Phase == task.PhaseDeadLettered:
		x.logOf(e.Key.Attempt).Error("a task has died", append([]any{"cause", e.Cause.String(), "decision", e.Decision}, what...)...)
	case e.Key.Phase == task.PhaseRetrying && e.Failure != nil:
		x.logOf(e.Key.Attempt).Warn("an attempt has failed", append(what, "next_attempt", e.NextAttempt, "next_attempt_time", e.NextAttemptTime.Format(time.RFC3339Nano))...)
	}
}
