package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// propagator is the format in message headers, whatever the process uses
// elsewhere. Baggage stays behind.
var propagator = propagation.TraceContext{}

// Message says which message a span is about.
type Message struct {
	Exchange, Queue string
	TaskID          string
	TaskType        string
	Run, Attempt    int
	BodySize        int
}

// StartPublish starts the span of publishing a task and gives the headers that
// carry it.
//
// https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/
func StartPublish(ctx context.Context, tracer trace.Tracer, m Message) (context.Context, trace.Span, map[string]string) {
	ctx, span := tracer.Start(ctx, "publish "+m.Exchange, trace.WithSpanKind(trace.SpanKindProducer))
	if span.IsRecording() {
		span.SetAttributes(append(m.attributes(),
			semconv.MessagingOperationName("publish"),
			semconv.MessagingOperationTypeSend,
			semconv.MessagingDestinationName(m.Exchange+":"+m.TaskType),
		)...)
	}
	headers := propagation.MapCarrier{}
	propagator.Inject(ctx, headers)
	return ctx, span, headers
}

// StartProcess starts the span of one attempt: child of, and linked to, the
// span that published the task.
func StartProcess(ctx context.Context, tracer trace.Tracer, m Message, headers map[string]string) (context.Context, trace.Span) {
	ctx = propagator.Extract(ctx, propagation.MapCarrier(headers))
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer)}
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: sc}))
	}
	ctx, span := tracer.Start(ctx, "process "+m.Queue, options...)
	if span.IsRecording() {
		span.SetAttributes(append(m.attributes(),
			semconv.MessagingOperationName("process"),
			semconv.MessagingOperationTypeProcess,
			semconv.MessagingDestinationName(m.Exchange+":"+m.TaskType+":"+m.Queue),
			RunKey.Int(m.Run), AttemptKey.Int(m.Attempt),
		)...)
	}
	return ctx, span
}

func (m Message) attributes() []attribute.KeyValue {
	return []attribute.KeyValue{
		semconv.MessagingSystemRabbitMQ,
		semconv.MessagingMessageID(m.TaskID),
		semconv.MessagingMessageBodySize(m.BodySize),
		semconv.MessagingRabbitMQDestinationRoutingKey(m.TaskType),
		TaskTypeKey.String(m.TaskType),
	}
}

// Fail marks a span as failed. kind is of few values, e.g. a status code's name.
func Fail(span trace.Span, kind, description string) {
	span.SetStatus(codes.Error, description)
	span.SetAttributes(semconv.ErrorTypeKey.String(kind))
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
	return TraceID(propagator.Extract(context.Background(), propagation.MapCarrier(headers)))
}
