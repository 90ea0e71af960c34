package telemetry_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/warrenmq/warren/pkg/telemetry"
)

func recorder() (*tracetest.SpanRecorder, trace.Tracer) {
	r := tracetest.NewSpanRecorder()
	return r, sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r)).Tracer("test")
}

func attributes(s sdktrace.ReadOnlySpan) map[string]any {
	m := map[string]any{}
	for _, a := range s.Attributes() {
		m[string(a.Key)] = a.Value.AsInterface()
	}
	return m
}

var message = telemetry.Message{
	Exchange: "warren.tasks", Queue: "warren.work.a.v1.A.B", TaskID: "t-1", TaskType: "a.v1.A.B", Run: 2, Attempt: 3, BodySize: 42,
}

func TestOneTraceThroughTheBroker(t *testing.T) {
	t.Parallel()
	r, tracer := recorder()
	member, err := baggage.NewMember("tenant", "acme")
	require.NoError(t, err)
	bag, err := baggage.New(member)
	require.NoError(t, err)
	ctx, root := tracer.Start(baggage.ContextWithBaggage(t.Context(), bag), "rpc")

	ctx, publish, headers := telemetry.StartPublish(ctx, tracer, message)
	require.Equal(t, publish.SpanContext(), trace.SpanContextFromContext(ctx))
	publish.End()
	root.End()
	require.Contains(t, headers["traceparent"], publish.SpanContext().SpanID().String())
	require.NotContains(t, headers, "baggage", "it is nobody's business downstream")
	require.Equal(t, root.SpanContext().TraceID().String(), telemetry.TraceIDOf(headers))
	require.Equal(t, root.SpanContext().TraceID().String(), telemetry.TraceID(ctx))

	// Elsewhere: nothing but the headers arrives there.
	ctx, process := telemetry.StartProcess(t.Context(), tracer, message, headers)
	require.Equal(t, process.SpanContext(), trace.SpanContextFromContext(ctx))
	process.End()

	spans := r.Ended()
	require.Len(t, spans, 3)
	sent, received := spans[0], spans[2]
	require.Equal(t, "publish warren.tasks", sent.Name())
	require.Equal(t, trace.SpanKindProducer, sent.SpanKind())
	require.Equal(t, root.SpanContext().SpanID(), sent.Parent().SpanID())
	require.Equal(t, map[string]any{
		"messaging.system": "rabbitmq", "messaging.message.id": "t-1", "messaging.message.body.size": int64(42),
		"messaging.rabbitmq.destination.routing_key": "a.v1.A.B", "warren.task.type": "a.v1.A.B",
		"messaging.operation.name": "publish", "messaging.operation.type": "send",
		"messaging.destination.name": "warren.tasks:a.v1.A.B",
	}, attributes(sent))

	require.Equal(t, "process warren.work.a.v1.A.B", received.Name())
	require.Equal(t, trace.SpanKindConsumer, received.SpanKind())
	require.Equal(t, sent.SpanContext().TraceID(), received.SpanContext().TraceID())
	require.Equal(t, sent.SpanContext().SpanID(), received.Parent().SpanID(), "child of the publish")
	require.True(t, received.Parent().IsRemote())
	require.Len(t, received.Links(), 1)
	require.Equal(t, sent.SpanContext().SpanID(), received.Links()[0].SpanContext.SpanID(), "and linked to it")
	require.Equal(t, map[string]any{
		"messaging.system": "rabbitmq", "messaging.message.id": "t-1", "messaging.message.body.size": int64(42),
		"messaging.rabbitmq.destination.routing_key": "a.v1.A.B", "warren.task.type": "a.v1.A.B",
		"messaging.operation.name": "process", "messaging.operation.type": "process",
		"messaging.destination.name": "warren.tasks:a.v1.A.B:warren.work.a.v1.A.B",
		"warren.task.run":            int64(2), "warren.task.attempt": int64(3),
	}, attributes(received))
}

func TestProcessWithoutATraceBeginsOne(t *testing.T) {
	t.Parallel()
	for name, headers := range map[string]map[string]string{
		"none": nil, "empty": {}, "garbage": {"traceparent": "00-zz-zz-01"}, "zero": {"traceparent": "00-00000000000000000000000000000000-0000000000000000-01"},
	} {
		r, tracer := recorder()
		_, span := telemetry.StartProcess(t.Context(), tracer, message, headers)
		span.End()
		s := r.Ended()[0]
		require.False(t, s.Parent().IsValid(), name)
		require.Empty(t, s.Links(), name)
		require.Empty(t, telemetry.TraceIDOf(headers), name)
	}
}

// A gateway that exports nothing still passes on its caller's trace.
func TestContextIsPassedOnWithoutTracing(t *testing.T) {
	t.Parallel()
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	traceID, err := trace.TraceIDFromHex(id)
	require.NoError(t, err)
	ctx := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: traceID, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled,
	}))
	_, span, headers := telemetry.StartPublish(ctx, noop.NewTracerProvider().Tracer(""), message)
	span.End()
	require.Equal(t, id, telemetry.TraceIDOf(headers))
}

func TestNoTrace(t *testing.T) {
	t.Parallel()
	_, span, headers := telemetry.StartPublish(t.Context(), noop.NewTracerProvider().Tracer(""), message)
	span.End()
	require.Empty(t, headers["traceparent"])
	require.Empty(t, telemetry.TraceID(t.Context()))
}

func TestFail(t *testing.T) {
	t.Parallel()
	r, tracer := recorder()
	_, span := tracer.Start(t.Context(), "x")
	telemetry.Fail(span, "NotFound", "no such picture")
	span.End()
	s := r.Ended()[0]
	require.Equal(t, sdktrace.Status{Code: codes.Error, Description: "no such picture"}, s.Status())
	require.Contains(t, s.Attributes(), attribute.String("error.type", "NotFound"))
}
