package telemetry_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"

	"github.com/warrenmq/warren/pkg/telemetry"
)

func TestATraceIsPassedOnWithTelemetryOff(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	t.Setenv("OTEL_METRICS_EXPORTER", "none")
	stop, err := telemetry.Start(t.Context(), "test", "v", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stop(t.Context())) })
	h := telemetry.ServerHandler()
	call := func(md metadata.MD) string {
		ctx := h.TagRPC(metadata.NewIncomingContext(t.Context(), md), &stats.RPCTagInfo{FullMethodName: "/a.B/C"})
		return telemetry.TraceID(ctx)
	}
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", call(metadata.Pairs("traceparent", parent)))
	require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", call(metadata.Pairs("traceparent", parent, "tracestate", "a=b")))
	require.Empty(t, call(nil))
	require.Empty(t, call(metadata.Pairs("traceparent", "nonsense")))
	require.Empty(t, call(metadata.Pairs("traceparent", parent, "traceparent", parent)))
}

// Calls are measured once, by pkg/rpc, whether traces are on or off.
func TestServerHandlersMeasureNothing(t *testing.T) {
	received := newReceiver()
	clean(t, environment{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": overHTTP(t, received) + "/v1/traces"})
	s, flush := startScraped(t)
	traces, metrics := telemetry.On()
	require.True(t, traces)
	require.True(t, metrics)
	h := telemetry.ServerHandler()
	ctx := h.TagRPC(t.Context(), &stats.RPCTagInfo{FullMethodName: "/a.B/C"})
	h.HandleRPC(ctx, &stats.Begin{})
	h.HandleRPC(ctx, &stats.End{})
	for name := range scrape(t, s) {
		require.NotContains(t, name, "rpc")
	}
	require.NoError(t, flush())
	require.Equal(t, "a.B/C", received.traces.next(t).ResourceSpans[0].ScopeSpans[0].Spans[0].Name)
}
