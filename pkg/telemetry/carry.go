package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// propagator is the format in message headers, whatever the process uses
// elsewhere. Baggage stays behind.
var propagator = propagation.TraceContext{}

// Headers are those that carry the trace context of ctx in a message, nil if it has
// none.
func Headers(ctx context.Context) map[string]string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return nil
	}
	headers := propagation.MapCarrier{}
	propagator.Inject(ctx, headers)
	return headers
}

// Extract gives ctx the trace context in a message's headers, in the place of its
// own; without one ctx stays as it is.
func Extract(ctx context.Context, headers map[string]string) context.Context {
	if headers["traceparent"] == "" {
		return ctx
	}
	return propagator.Extract(ctx, propagation.MapCarrier(headers))
}

// SpanContextOf is the trace context in a message's headers; it is not valid if
// there is none.
func SpanContextOf(headers map[string]string) trace.SpanContext {
	return trace.SpanContextFromContext(Extract(context.Background(), headers))
}

// TraceID is the trace id in ctx in hexadecimal, empty if there is none.
func TraceID(ctx context.Context) string {
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		return sc.TraceID().String()
	}
	return ""
}

// TraceIDOf is the trace id in a message's headers, empty if there is none.
func TraceIDOf(headers map[string]string) string {
	if headers["traceparent"] == "" {
		return ""
	}
	return TraceID(Extract(context.Background(), headers))
}

// IDs are the trace that ctx belongs to and the span in it, if somebody will see
// that: zero for none. ctx is what the span was started with or has given.
func IDs(ctx context.Context, span trace.Span) (traceID [16]byte, spanID [8]byte) {
	traceID = trace.SpanContextFromContext(ctx).TraceID()
	if sc := span.SpanContext(); span.IsRecording() && sc.IsSampled() {
		return sc.TraceID(), sc.SpanID()
	}
	return traceID, spanID
}

// SpanContext is the context of a span whose ids [IDs] gave, to be linked to; it is
// not valid without both.
func SpanContext(traceID [16]byte, spanID [8]byte) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: traceID, SpanID: spanID, TraceFlags: trace.FlagsSampled, Remote: true,
	})
}
