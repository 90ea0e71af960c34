package e2e

import (
	"context"
	"encoding/hex"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// otlpReceiver is an OTLP collector that remembers every span.
type otlpReceiver struct {
	collector.UnimplementedTraceServiceServer
	address string

	mu    sync.Mutex
	spans []span
}

// span is a span and the service that made it.
type span struct {
	*tracepb.Span
	service string
}

func newOTLPReceiver(t testing.TB) *otlpReceiver {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &otlpReceiver{address: l.Addr().String()}
	s := grpc.NewServer()
	collector.RegisterTraceServiceServer(s, r)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return r
}

// Export implements the collector.
func (r *otlpReceiver) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rs := range request.ResourceSpans {
		service := ""
		for _, a := range rs.Resource.GetAttributes() {
			if a.Key == string(semconv.ServiceNameKey) {
				service = a.Value.GetStringValue()
			}
		}
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				r.spans = append(r.spans, span{s, service})
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// named gives the spans of a name in a trace.
func (r *otlpReceiver) named(trace []byte, name string) []span {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []span
	for _, s := range r.spans {
		if string(s.TraceId) == string(trace) && s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

// one waits for the span of a name in a trace.
func (r *otlpReceiver) one(t testing.TB, trace []byte, name string) span {
	t.Helper()
	brokertest.Eventually(t, 20*time.Second, func() bool { return len(r.named(trace, name)) == 1 })
	return r.named(trace, name)[0]
}

// rpc waits for the spans of a call, the caller's and the gateway's.
func (r *otlpReceiver) rpc(t testing.TB, trace []byte, method string) (client, server span) {
	t.Helper()
	brokertest.Eventually(t, 20*time.Second, func() bool { return len(r.named(trace, method)) == 2 })
	both := r.named(trace, method)
	if both[0].service != "client" {
		return both[1], both[0]
	}
	return both[0], both[1]
}

// fromAll has all processes of a platform send their spans here.
func (r *otlpReceiver) fromAll() func(*platform) {
	return withEnv("OTEL_EXPORTER_OTLP_ENDPOINT=http://"+r.address, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_BSP_SCHEDULE_DELAY=100")
}

// tracedCaller is a connection to the gateway whose calls are traced as those of the
// service "client", and that service's tracer.
func tracedCaller(t testing.TB, p *platform, r *otlpReceiver) (*grpc.ClientConn, trace.Tracer) {
	t.Helper()
	return tracedConnection(t, p.address, r)
}

// tracedConnection is tracedCaller for any server.
func tracedConnection(t testing.TB, address string, r *otlpReceiver) (*grpc.ClientConn, trace.Tracer) {
	t.Helper()
	exporter, err := otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpoint(r.address), otlptracegrpc.WithInsecure())
	require.NoError(t, err)
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter), sdktrace.WithResource(resource.NewSchemaless(semconv.ServiceName("client"))))
	t.Cleanup(func() { require.NoError(t, provider.Shutdown(context.Background())) })
	return dial(t, address,
		grpc.WithStatsHandler(otelgrpc.NewClientHandler(otelgrpc.WithTracerProvider(provider), otelgrpc.WithPropagators(propagation.TraceContext{})))), provider.Tracer("test")
}

// TestTraceThroughTheBroker: one trace from the client's span through the
// broker to the handler's.
func TestTraceThroughTheBroker(t *testing.T) {
	t.Parallel()
	receiver := newOTLPReceiver(t)
	p, _ := onVHost(t, receiver.fromAll())
	p.startWorker(t)
	p.awaitReady(t, typeDelay)

	conn, tracer := tracedCaller(t, p, receiver)
	ctx, root := tracer.Start(t.Context(), "the caller's own span")
	r, err := taskv1.NewTaskServiceClient(conn).SubmitTask(ctx, &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(0))})
	require.NoError(t, err)
	root.End()
	p.await(t, r.Task.TaskId)

	id := root.SpanContext().TraceID()
	require.Equal(t, id.String(), r.Task.TraceId)
	trace := id[:]
	caller := receiver.one(t, trace, "the caller's own span")
	client, server := receiver.rpc(t, trace, "warren.task.v1.TaskService/SubmitTask")
	publish := receiver.one(t, trace, "publish warren.tasks")
	process := receiver.one(t, trace, "process warren.work."+typeDelay)
	handler := receiver.one(t, trace, "handler's own span")

	requireChild := func(child, parent span) {
		t.Helper()
		require.Equal(t, hex.EncodeToString(parent.SpanId), hex.EncodeToString(child.ParentSpanId), "%s is not a child of %s", child.Name, parent.Name)
	}
	requireChild(client, caller)
	requireChild(server, client)
	requireChild(publish, server)
	requireChild(process, publish)
	requireChild(handler, process)
	require.Equal(t, tracepb.Span_SPAN_KIND_PRODUCER, publish.Kind)
	require.Equal(t, tracepb.Span_SPAN_KIND_CONSUMER, process.Kind)
	require.Len(t, process.Links, 1)
	require.Equal(t, publish.SpanId, process.Links[0].SpanId, "linked to the publish as well")
	require.Equal(t, "warren-gateway", publish.service)
	require.Equal(t, "e2e-worker", process.service)
	for key, want := range map[string]string{"messaging.system": "rabbitmq", "messaging.message.id": r.Task.TaskId, "warren.task.type": typeDelay} {
		require.Equal(t, want, attribute(process, key), key)
		require.Equal(t, want, attribute(publish, key), key)
	}
}

func attribute(s span, key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}
