package telemetry_test

import (
	"context"
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

// turnedOff turns everything off.
func turnedOff(t *testing.T) {
	t.Helper()
	clean(t, environment{"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"})
	require.NoError(t, start(t)())
}

func TestATraceIsCarriedOnWithTelemetryOff(t *testing.T) {
	turnedOff(t)
	h := telemetry.ClientHandler()
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	const other = "00-5bf92f3577b34da6a3ce929d0e0e4736-10f067aa0ba902b7-01"
	for name, c := range map[string]struct{ trace, before, want metadata.MD }{
		"no trace":               {nil, nil, nil},
		"no trace of its own":    {nil, metadata.Pairs("traceparent", other), metadata.Pairs("traceparent", other)},
		"trace":                  {metadata.Pairs("traceparent", parent), nil, metadata.Pairs("traceparent", parent)},
		"trace not sampled":      {metadata.Pairs("traceparent", parent[:53]+"00"), nil, metadata.Pairs("traceparent", parent[:53]+"00")},
		"trace with state":       {metadata.Pairs("traceparent", parent, "tracestate", "a=b"), nil, metadata.Pairs("traceparent", parent, "tracestate", "a=b")},
		"trace besides metadata": {metadata.Pairs("traceparent", parent), metadata.Pairs("k", "1", "k", "2"), metadata.Pairs("k", "1", "k", "2", "traceparent", parent)},
		"trace in the place of another": {
			metadata.Pairs("traceparent", parent),
			metadata.Pairs("traceparent", other, "traceparent", other, "tracestate", "c=d"), metadata.Pairs("traceparent", parent),
		},
	} {
		ctx := telemetry.ServerHandler().TagRPC(metadata.NewIncomingContext(t.Context(), c.trace), &stats.RPCTagInfo{})
		if c.before != nil {
			ctx = metadata.NewOutgoingContext(ctx, c.before)
		}
		before := c.before.Copy()
		sent, _ := metadata.FromOutgoingContext(h.TagRPC(ctx, &stats.RPCTagInfo{FullMethodName: "/a.B/C"}))
		require.Equal(t, c.want, sent, name)
		require.Equal(t, before, c.before.Copy(), "%s: the caller's own stays as it is", name)
	}
}

// With tracing off a call outside of a trace costs nothing, and one in a trace its headers.
func TestACallWithTelemetryOffAllocatesLittle(t *testing.T) {
	turnedOff(t)
	h := telemetry.ClientHandler()
	info := &stats.RPCTagInfo{FullMethodName: "/a.B/C"}
	begin, end := &stats.Begin{Client: true}, &stats.End{Client: true}
	none := t.Context()
	theirs := telemetry.Extract(none, map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
	call := func(ctx context.Context) func() {
		return func() {
			ctx := h.TagRPC(ctx, info)
			h.HandleRPC(ctx, begin)
			h.HandleRPC(ctx, end)
		}
	}
	require.Zero(t, testing.AllocsPerRun(100, call(none)))
	require.LessOrEqual(t, testing.AllocsPerRun(100, call(theirs)), 8.0)
}

// What clients measure is in no list of metrics.
func TestClientHandlersMeasureNothing(t *testing.T) {
	received := newReceiver()
	clean(t, environment{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": overHTTP(t, received) + "/v1/traces"})
	s, flush := startScraped(t)
	h := telemetry.ClientHandler()
	ctx := h.TagRPC(t.Context(), &stats.RPCTagInfo{FullMethodName: "/a.B/C"})
	h.HandleRPC(ctx, &stats.Begin{Client: true})
	h.HandleRPC(ctx, &stats.End{Client: true})
	for name := range scrape(t, s) {
		require.NotContains(t, name, "rpc")
	}
	sent, _ := metadata.FromOutgoingContext(ctx)
	require.Len(t, sent.Get("traceparent"), 1)
	require.NoError(t, flush())
	require.Equal(t, "a.B/C", received.traces.next(t).ResourceSpans[0].ScopeSpans[0].Spans[0].Name)
}
