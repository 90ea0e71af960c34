package telemetry_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
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
	QueueTime: 1500 * time.Millisecond, RetryWait: 2250 * time.Millisecond,
}

func TestOneTraceThroughTheBroker(t *testing.T) {
	t.Parallel()
	r, tracer := recorder()
	member, err := baggage.NewMember("tenant", "acme")
	require.NoError(t, err)
	bag, err := baggage.New(member)
	require.NoError(t, err)
	ctx, root := tracer.Start(baggage.ContextWithBaggage(t.Context(), bag), "rpc")

	publish, headers := telemetry.StartPublish(ctx, tracer, message)
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
		"messaging.destination.name": "warren.tasks:a.v1.A.B", "messaging.destination.template": "warren.tasks",
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
		"messaging.destination.name":     "warren.tasks:a.v1.A.B:warren.work.a.v1.A.B",
		"messaging.destination.template": "warren.work.a.v1.A.B",
		"warren.task.run":                int64(2), "warren.task.attempt": int64(3),
		"warren.task.queue.time": 1.5, "warren.task.retry.wait": 2.25,
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

// ids are those of spans, for links.
func ids(spans ...trace.Span) []trace.SpanID {
	var ids []trace.SpanID
	for _, s := range spans {
		ids = append(ids, s.SpanContext().SpanID())
	}
	return ids
}

func linksOf(s sdktrace.ReadOnlySpan) []trace.SpanID {
	var ids []trace.SpanID
	for _, l := range s.Links() {
		ids = append(ids, l.SpanContext.SpanID())
	}
	return ids
}

// A task that is created now and published later: its context goes through the store
// as headers.
func TestCreatedAndPublishedLater(t *testing.T) {
	t.Parallel()
	r, tracer := recorder()
	ctx, root := tracer.Start(t.Context(), "rpc")
	create, created := telemetry.StartCreate(ctx, tracer, message)
	create.End()
	publish, headers := telemetry.StartPublishCreated(t.Context(), tracer, message, created)
	publish.End()
	require.Equal(t, publish.SpanContext().SpanID(), telemetry.SpanContextOf(headers).SpanID())
	spans := r.Ended()
	require.Equal(t, "create warren.tasks", spans[0].Name())
	require.Equal(t, trace.SpanKindProducer, spans[0].SpanKind())
	require.Equal(t, root.SpanContext().SpanID(), spans[0].Parent().SpanID())
	require.Equal(t, "create", attributes(spans[0])["messaging.operation.type"])
	require.Equal(t, create.SpanContext().SpanID(), spans[1].Parent().SpanID())
	require.Equal(t, ids(create), linksOf(spans[1]))
	require.Equal(t, "send", attributes(spans[1])["messaging.operation.type"])
}

// Of a batch each task is a trace of its own; one span publishes all and is linked to
// as many of them as a span can have links.
func TestABatchIsNotOneTrace(t *testing.T) {
	t.Parallel()
	r, tracer := recorder()
	ctx, root := tracer.Start(t.Context(), "rpc")
	publishing, batch := telemetry.StartPublishBatch(ctx, tracer, "warren.tasks", 200)
	var creates []trace.Span
	for range 200 {
		create, _ := telemetry.StartCreate(publishing, tracer, message, telemetry.Apart(root.SpanContext(), trace.SpanContext{})...)
		create.End()
		creates = append(creates, create)
	}
	telemetry.Link(batch, func(yield func(trace.SpanContext) bool) {
		for _, c := range append([]trace.Span{trace.SpanFromContext(t.Context())}, creates...) {
			if !yield(c.SpanContext()) {
				return
			}
		}
	})
	batch.End()
	spans := r.Ended()
	for _, create := range spans[:200] {
		require.False(t, create.Parent().IsValid())
		require.NotEqual(t, root.SpanContext().TraceID(), create.SpanContext().TraceID())
		require.Equal(t, ids(root), linksOf(create))
	}
	published := spans[200]
	require.Equal(t, "publish warren.tasks", published.Name())
	require.Equal(t, trace.SpanKindClient, published.SpanKind())
	require.Equal(t, ids(creates[:128]...), linksOf(published))
	require.Zero(t, published.DroppedLinks())
	require.Equal(t, map[string]any{
		"messaging.system": "rabbitmq", "messaging.operation.name": "publish", "messaging.operation.type": "send",
		"messaging.destination.name": "warren.tasks", "messaging.batch.message_count": int64(200),
	}, attributes(published))
}

func TestAFiringIsATraceOfItsOwn(t *testing.T) {
	t.Parallel()
	r, tracer := recorder()
	_, span := telemetry.StartFire(t.Context(), tracer, "nightly")
	span.End()
	operator, call := tracer.Start(t.Context(), "TriggerSchedule")
	ctx, triggered := telemetry.StartFire(operator, tracer, "nightly")
	triggered.End()
	require.Equal(t, triggered.SpanContext(), trace.SpanContextFromContext(ctx))
	for i, links := range [][]trace.SpanID{nil, ids(call)} {
		s := r.Ended()[i]
		require.Equal(t, "fire", s.Name())
		require.Equal(t, trace.SpanKindInternal, s.SpanKind())
		require.False(t, s.Parent().IsValid())
		require.Equal(t, links, linksOf(s))
		require.Equal(t, map[string]any{"warren.schedule.id": "nightly"}, attributes(s))
	}
}

func TestABatchOfEventsIsATraceOfItsOwn(t *testing.T) {
	t.Parallel()
	r, tracer := recorder()
	ctx, _ := tracer.Start(t.Context(), "whatever")
	_, span := telemetry.StartProcessBatch(ctx, tracer, "warren.status", 3)
	span.End()
	s := r.Ended()[0]
	require.False(t, s.Parent().IsValid())
	require.Equal(t, "process warren.status", s.Name())
	require.Equal(t, trace.SpanKindConsumer, s.SpanKind())
	require.Equal(t, int64(3), attributes(s)["messaging.batch.message_count"])
}

// Only a span that somebody can see is worth a link.
func TestIDsOfASpan(t *testing.T) {
	t.Parallel()
	_, tracer := recorder()
	ctx, span := tracer.Start(t.Context(), "x")
	traceID, spanID := telemetry.IDs(ctx, span)
	sc := telemetry.SpanContext(traceID, spanID)
	require.Equal(t, span.SpanContext().TraceID(), sc.TraceID())
	require.Equal(t, span.SpanContext().SpanID(), sc.SpanID())
	require.True(t, sc.IsSampled())

	never := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())).Tracer("test")
	for name, unseen := range map[string]trace.Tracer{"unsampled": never, "off": noop.NewTracerProvider().Tracer("")} {
		headers := map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}
		ctx, span := telemetry.StartProcess(t.Context(), unseen, message, headers)
		traceID, spanID := telemetry.IDs(ctx, span)
		require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", trace.TraceID(traceID).String(), name)
		require.Zero(t, spanID, name)
		require.False(t, telemetry.SpanContext(traceID, spanID).IsValid(), name)
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
	span, headers := telemetry.StartPublish(ctx, noop.NewTracerProvider().Tracer(""), message)
	span.End()
	require.Equal(t, id, telemetry.TraceIDOf(headers))
}

func TestNoTrace(t *testing.T) {
	t.Parallel()
	span, headers := telemetry.StartPublish(t.Context(), noop.NewTracerProvider().Tracer(""), message)
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

	_, long := tracer.Start(t.Context(), "x")
	telemetry.Fail(long, "Unknown", strings.Repeat("a", 257)+"\xff")
	long.End()
	require.Equal(t, strings.Repeat("a", 256)+"…", r.Ended()[1].Status().Description)
}

// early is of before any provider was set, as a worker's tracer may be.
var early = otel.Tracer("early")

// untouched has the test run alone in a process, where no other test has set otel's
// provider: it can be set once for what was made before.
const untouched = "WARREN_TEST_UNTOUCHED"

func TestATracerFromBeforeTheProviderWasSet(t *testing.T) {
	if os.Getenv(untouched) == "" {
		self := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
		self.Env = append(os.Environ(), untouched+"=1")
		out, err := self.CombinedOutput()
		require.NoError(t, err, string(out))
		return
	}
	ctx, span := telemetry.StartProcess(t.Context(), early, message, nil)
	require.False(t, span.IsRecording())
	require.Equal(t, t.Context(), ctx, "nothing was made")
	r := tracetest.NewSpanRecorder()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r)))
	_, span = telemetry.StartProcess(t.Context(), early, message, nil)
	span.End()
	require.Len(t, r.Ended(), 1)
}
