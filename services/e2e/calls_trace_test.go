package e2e

import (
	"context"
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"google.golang.org/grpc"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// One trace goes from the caller's span through the call at the gateway and the broker
// to the handler's, which is named after the user's method.
func TestCallIsOneTrace(t *testing.T) {
	t.Parallel()
	receiver := newOTLPReceiver(t)
	p, _ := onVHost(t, withEnv(
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://"+receiver.address, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_BSP_SCHEDULE_DELAY=100",
	))
	p.startWorker(t)
	p.awaitReady(t, typeDelay)

	exporter, err := otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpoint(receiver.address), otlptracegrpc.WithInsecure())
	require.NoError(t, err)
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter), sdktrace.WithResource(resource.NewSchemaless(semconv.ServiceName("client"))))
	t.Cleanup(func() { require.NoError(t, provider.Shutdown(context.Background())) })
	conn := dial(t, p.address,
		grpc.WithStatsHandler(otelgrpc.NewClientHandler(otelgrpc.WithTracerProvider(provider), otelgrpc.WithPropagators(propagation.TraceContext{}))))
	ctx, root := provider.Tracer("test").Start(t.Context(), "the caller's own span")
	_, err = faults(conn).Delay(ctx, delay(0))
	require.NoError(t, err)
	root.End()

	id := root.SpanContext().TraceID()
	trace := id[:]
	const method = "demo.v1.FaultService/Delay"
	brokertest.Eventually(t, 20*time.Second, func() bool { return len(receiver.named(trace, method)) == 2 })
	rpcs := receiver.named(trace, method)
	client, server := rpcs[0], rpcs[1]
	if client.service != "client" {
		client, server = server, client
	}
	require.Equal(t, "warren-gateway", server.service)
	chain := []span{
		receiver.one(t, trace, "the caller's own span"), client, server, receiver.one(t, trace, "publish warren.tasks"),
		receiver.one(t, trace, "process warren.work."+typeDelay), receiver.one(t, trace, "handler's own span"),
	}
	for i, child := range chain[1:] {
		require.Equal(t, hex.EncodeToString(chain[i].SpanId), hex.EncodeToString(child.ParentSpanId), "%s is not a child of %s", child.Name, chain[i].Name)
	}
}
