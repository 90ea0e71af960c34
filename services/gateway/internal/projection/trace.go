package projection

import (
	"context"

	"go.opentelemetry.io/otel/trace"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
)

// scope names the instrumentation in traces.
const scope = "github.com/warrenmq/warren/services/gateway/internal/projection"

// Traced has the projection's spans be made by a provider, and returns it. Call it
// before the projection handles anything.
func (p *Projection) Traced(provider trace.TracerProvider) *Projection {
	p.tracer = provider.Tracer(scope)
	return p
}

// startSpan starts the span of a batch. It is a trace of its own: a batch has events
// of hundreds of tasks, of which each has its own trace.
func (p *Projection) startSpan(ctx context.Context, batch []broker.Delivery) (context.Context, trace.Span) {
	return telemetry.StartProcessBatch(ctx, p.tracer, p.queue, len(batch))
}

// link links a batch's span to the executions that it tells of, as far as somebody
// can see them.
func link(span trace.Span, events []task.Event) {
	if !span.IsRecording() {
		return
	}
	telemetry.Link(span, func(yield func(trace.SpanContext) bool) {
		for i := range events {
			x := events[i].Execution
			if x != nil && !yield(telemetry.SpanContext(x.Span.TraceID, x.Span.SpanID)) {
				return
			}
		}
	})
}
