package api

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/status"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/telemetry"
)

// trace starts the span that travels with a task.
//
// A task of a batch begins a trace of its own that is linked to the call, so that
// whoever looks at one sees that one. That it can do only where the call is sampled:
// else nobody would have asked for that trace.
func (s *TaskService) trace(ctx context.Context, sub *submission) {
	call := trace.SpanFromContext(ctx)
	var options []trace.SpanStartOption
	switch theirs := telemetry.SpanContextOf(sub.created); {
	case theirs.IsValid():
		ctx = trace.ContextWithRemoteSpanContext(ctx, theirs)
		if sub.batched && call.IsRecording() {
			options = []trace.SpanStartOption{telemetry.LinkedTo(call.SpanContext())}
		}
	case sub.batched && call.IsRecording():
		options = telemetry.Apart(call.SpanContext())
	}
	start := telemetry.StartPublish
	if sub.batched || !sub.at.IsZero() {
		start = telemetry.StartCreate
	}
	m := sub.message
	sub.span, m.Trace = start(ctx, s.tracer, s.spanned(m), options...)
	m.LimitTrace()
	sub.queued = queued(m)
}

// endSpan ends the span that travels with a task, once it is known what became of it.
func (sub *submission) endSpan() {
	if sub.err != nil {
		telemetry.Fail(sub.span, errorType(sub.err), rpc.Loggable(sub.err))
	}
	sub.span.End()
}

// spanned says what a span about a task's message is about.
func (s *TaskService) spanned(m *broker.TaskMessage) telemetry.Message {
	return telemetry.Message{Exchange: s.exchange, TaskID: m.ID, TaskType: m.Type, BodySize: len(m.Payload)}
}

// submitTraced is submitAll for a batch: one span publishes those that have one each.
func (s *TaskService) submitTraced(ctx context.Context, subs []*submission) {
	if len(subs) == 0 {
		return
	}
	publishing, span := telemetry.StartPublishBatch(ctx, s.tracer, s.exchange, len(subs))
	defer span.End()
	s.submitAll(publishing, subs)
	if !span.IsRecording() {
		return
	}
	telemetry.Link(span, func(yield func(trace.SpanContext) bool) {
		for _, sub := range subs {
			if sub.span != nil && !yield(sub.span.SpanContext()) {
				return
			}
		}
	})
	failed, first := 0, error(nil)
	for _, sub := range subs {
		if sub.err != nil {
			if failed++; first == nil {
				first = sub.err
			}
		}
	}
	if failed > 0 {
		telemetry.Fail(span, errorType(first), fmt.Sprintf("%d of %d tasks were not submitted: %s", failed, len(subs), rpc.Loggable(first)))
	}
}

// errorType is the kind of an answer's error, for spans.
func errorType(err error) string { return code.Code(status.Code(err)).String() }
