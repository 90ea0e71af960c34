package telemetry

import (
	"context"
	"iter"
	"reflect"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Spans of messages, by the conventions for RabbitMQ:
// https://opentelemetry.io/docs/specs/semconv/messaging/rabbitmq/
//
// A task that is published at once has one producer span, `publish`. One of a batch,
// or for later, has its context from a producer span `create`; it is then published
// by a span `publish` of its own, or of the batch. Whatever made the context, each
// attempt is a consumer span `process`, child of it and linked to it: attempts are
// siblings.

// maxLinks is how many links a span has at most, as SDKs have it by default
// (OTEL_SPAN_LINK_COUNT_LIMIT).
const maxLinks = 128

// Message says which message a span is about.
type Message struct {
	Exchange, Queue string
	TaskID          string
	TaskType        string
	Run, Attempt    int
	BodySize        int
	// QueueTime is how long it has been in its queue since it was due; RetryWait is
	// the time since the attempt before ended, 0 if there was none.
	QueueTime, RetryWait time.Duration
}

// nothing is the span of those who don't trace.
var nothing = trace.SpanFromContext(context.Background())

// untraced says that a tracer makes no spans now. What is done for one has a cost even
// if it comes to nothing.
func untraced(tracer trace.Tracer) bool {
	if _, is := tracer.(noop.Tracer); is {
		return true
	}
	return isPlaceholder(tracer) && isPlaceholder(otel.GetTracerProvider())
}

// placeholders is the package of what otel gives out until a provider is set. A tracer
// from before makes that one's spans from then on.
const placeholders = "go.opentelemetry.io/otel/internal/global"

func isPlaceholder(of any) bool {
	t := reflect.TypeOf(of)
	return t.Kind() == reflect.Pointer && t.Elem().PkgPath() == placeholders
}

// StartCreate starts the span of accepting a task that something else will publish,
// and gives the headers that carry it.
func StartCreate(ctx context.Context, tracer trace.Tracer, m Message, options ...trace.SpanStartOption) (trace.Span, map[string]string) {
	return produce(ctx, tracer, "create", semconv.MessagingOperationTypeCreate, m, options)
}

// StartPublish starts the span of publishing a task and gives the headers that
// carry it. Without tracing they carry on what ctx has.
func StartPublish(ctx context.Context, tracer trace.Tracer, m Message, options ...trace.SpanStartOption) (trace.Span, map[string]string) {
	return produce(ctx, tracer, "publish", semconv.MessagingOperationTypeSend, m, options)
}

// StartPublishCreated starts the span of publishing a task that was created before,
// with the headers that it was given then: the span is a child of that one and linked
// to it. It gives the headers that carry it; without tracing, the same ones.
func StartPublishCreated(ctx context.Context, tracer trace.Tracer, m Message, created map[string]string) (trace.Span, map[string]string) {
	if untraced(tracer) {
		return nothing, created
	}
	return StartPublish(Extract(ctx, created), tracer, m, LinkedTo(SpanContextOf(created)))
}

func produce(ctx context.Context, tracer trace.Tracer, name string, kind attribute.KeyValue, m Message, more []trace.SpanStartOption) (trace.Span, map[string]string) {
	if untraced(tracer) {
		return nothing, Headers(ctx)
	}
	options := make([]trace.SpanStartOption, 0, len(more)+2)
	options = append(options, trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(m.attributes(name, kind, m.Exchange, m.Exchange+":"+m.TaskType)...))
	ctx, span := tracer.Start(ctx, name+" "+m.Exchange, append(options, more...)...)
	return span, Headers(ctx)
}

// StartPublishBatch starts the span of publishing tasks that each have a span
// `create`, whose contexts [Link] adds.
func StartPublishBatch(ctx context.Context, tracer trace.Tracer, exchange string, tasks int) (context.Context, trace.Span) {
	if untraced(tracer) {
		return ctx, nothing
	}
	return tracer.Start(ctx, "publish "+exchange, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		semconv.MessagingSystemRabbitMQ,
		semconv.MessagingOperationName("publish"), semconv.MessagingOperationTypeSend,
		semconv.MessagingDestinationName(exchange), semconv.MessagingBatchMessageCount(tasks),
	))
}

// StartProcess starts the span of one attempt: child of, and linked to, the
// span that published the task.
func StartProcess(ctx context.Context, tracer trace.Tracer, m Message, headers map[string]string) (context.Context, trace.Span) {
	ctx = Extract(ctx, headers)
	if untraced(tracer) {
		return ctx, nothing
	}
	attributes := append(
		m.attributes("process", semconv.MessagingOperationTypeProcess, m.Queue, m.Exchange+":"+m.TaskType+":"+m.Queue),
		RunKey.Int(m.Run), AttemptKey.Int(m.Attempt), QueueTimeKey.Float64(m.QueueTime.Seconds()))
	if m.RetryWait > 0 {
		attributes = append(attributes, RetryWaitKey.Float64(m.RetryWait.Seconds()))
	}
	return tracer.Start(ctx, "process "+m.Queue, trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attributes...), LinkedTo(trace.SpanContextFromContext(ctx)))
}

// StartProcessBatch starts the span of working off messages of a queue together, as a
// trace of its own. Nobody else's trace goes on in it: [Link] adds those that the
// messages are about.
func StartProcessBatch(ctx context.Context, tracer trace.Tracer, queue string, messages int) (context.Context, trace.Span) {
	if untraced(tracer) {
		return ctx, nothing
	}
	return tracer.Start(ctx, "process "+queue, trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		semconv.MessagingSystemRabbitMQ,
		semconv.MessagingOperationName("process"), semconv.MessagingOperationTypeProcess,
		semconv.MessagingDestinationName(queue), semconv.MessagingBatchMessageCount(messages),
	))
}

// attributes are those of one message. What samplers may go by is there when a span
// starts. The template is of few values, and the span's name has it; the name of a
// destination says the task type as well.
func (m *Message) attributes(operation string, kind attribute.KeyValue, template, destination string) []attribute.KeyValue {
	return []attribute.KeyValue{
		semconv.MessagingSystemRabbitMQ,
		semconv.MessagingOperationName(operation), kind,
		semconv.MessagingDestinationName(destination), semconv.MessagingDestinationTemplate(template),
		semconv.MessagingRabbitMQDestinationRoutingKey(m.TaskType),
		semconv.MessagingMessageID(m.TaskID), semconv.MessagingMessageBodySize(m.BodySize),
		TaskTypeKey.String(m.TaskType),
	}
}

// StartFire starts the span of a schedule's firing: a trace of its own, linked to what
// asked for it if ctx has that. The task that it makes is part of it.
func StartFire(ctx context.Context, tracer trace.Tracer, scheduleID string) (context.Context, trace.Span) {
	if untraced(tracer) {
		return ctx, nothing
	}
	options := append(Apart(trace.SpanContextFromContext(ctx)), trace.WithAttributes(ScheduleKey.String(scheduleID)))
	return tracer.Start(ctx, "fire", options...)
}

// Apart has a span begin a trace of its own that is linked to others; those that are
// not valid are left out. The last one is what asked for the span, valid or not: where
// it is sampled, so is the span.
func Apart(others ...trace.SpanContext) []trace.SpanStartOption {
	// An SDK drops links that are not valid only after its sampler has seen them.
	links := make([]trace.Link, len(others))
	for i, sc := range others {
		links[i].SpanContext = sc
	}
	return []trace.SpanStartOption{trace.WithNewRoot(), trace.WithLinks(links...)}
}

// LinkedTo links a span to others; those that are not valid are left out.
func LinkedTo(others ...trace.SpanContext) trace.SpanStartOption {
	links := make([]trace.Link, 0, len(others))
	for _, sc := range others {
		if sc.IsValid() {
			links = append(links, trace.Link{SpanContext: sc})
		}
	}
	return trace.WithLinks(links...)
}

// Link links a span to as many others as it can have, at most 128, that others
// gives.
func Link(span trace.Span, others iter.Seq[trace.SpanContext]) {
	links := 0
	for sc := range others {
		if !sc.IsValid() {
			continue
		}
		span.AddLink(trace.Link{SpanContext: sc})
		if links++; links == maxLinks {
			return
		}
	}
}

// maxDescription bounds why a span failed, in bytes: handlers may say anything.
const maxDescription = 256

// Fail marks a span as failed. kind is of few values, e.g. a status code's name; of the
// description the span has at most 256 bytes.
func Fail(span trace.Span, kind, description string) {
	span.SetStatus(codes.Error, BoundText(description, maxDescription))
	span.SetAttributes(semconv.ErrorTypeKey.String(kind))
}
