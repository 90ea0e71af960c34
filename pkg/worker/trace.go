package worker

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/genproto/googleapis/rpc/code"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
)

// traced is an execution's place in its trace.
type traced struct {
	// ctx is what its handler is called in.
	ctx context.Context
	// span is nil until the execution is to be started.
	span trace.Span
	ids  task.Span
}

// startSpan begins the span of an execution, right before its STARTED event, which
// names it.
func (x *execution) startSpan() {
	m := telemetry.Message{
		Exchange: x.pool.exchange, Queue: x.pool.queue,
		TaskID: x.msg.ID, TaskType: x.taskType, Run: x.msg.Run, Attempt: x.delivery.Attempt(), BodySize: len(x.msg.Payload),
	}
	m.QueueTime, m.RetryWait = x.waited(x.w.clock.now())
	t := &x.traced
	t.ctx, t.span = telemetry.StartProcess(x.base, x.w.tracer, m, x.msg.Trace)
	t.ids.TraceID, t.ids.SpanID = telemetry.IDs(t.ctx, t.span)
}

// waited is for how long the message has been in its queue since it was due, and how
// long ago the attempt before ended. Clocks differ by a little, which is not to be
// less than nothing.
func (x *execution) waited(now time.Time) (inQueue, sinceLast time.Duration) {
	due := x.msg.RunTime
	if n := len(x.history.GetAttempts()); n > 0 {
		last := x.history.Attempts[n-1]
		if last.EndTime != nil {
			sinceLast = max(0, now.Sub(last.EndTime.AsTime()))
		}
		if last.NextAttemptTime != nil {
			due = last.NextAttemptTime.AsTime()
		}
	}
	return max(0, now.Sub(due)), sinceLast
}

// ended notes what has become of an execution whose STARTED event is on record, by
// the event that ends it; nil if nothing is told of it.
func (x *execution) ended(e *task.Event) {
	if x.traced.span == nil || e == nil {
		return
	}
	x.pool.metrics.ended(e)
	if x.traced.span.IsRecording() {
		describe(x.traced.span, e)
	}
}

// describe enters into a span how its attempt has ended, and what was decided then.
func describe(span trace.Span, e *task.Event) {
	span.SetAttributes(telemetry.OutcomeKey.String(endingOf(e).String()))
	if e.Decision != "" {
		span.SetAttributes(telemetry.DecisionKey.String(e.Decision))
	}
	if e.Cause != 0 {
		span.SetAttributes(telemetry.CauseKey.String(e.Cause.String()))
	}
	if e.Key.Phase == task.PhaseRetrying {
		span.SetAttributes(telemetry.RetryDelayKey.Float64(max(0, e.NextAttemptTime.Sub(e.Time)).Seconds()))
	}
	if f := e.Failure; f != nil {
		telemetry.Fail(span, code.Code(f.Code).String(), f.Message)
	}
}

// endSpan ends the execution's span if it has one.
func (x *execution) endSpan() {
	if x.traced.span != nil {
		x.traced.span.End()
	}
}
