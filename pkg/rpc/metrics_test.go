package rpc_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/frame"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/telemetry"
)

const (
	getTask   = "warren.task.v1.TaskService/GetTask"
	watchTask = "warren.task.v1.TaskService/WatchTask"
)

// measured serves with metrics, which the reader has.
func measured(t testing.TB, do func(context.Context) error, edit ...func(*rpc.ServerConfig)) (*grpc.ClientConn, *sdkmetric.ManualReader) {
	t.Helper()
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	conn, _ := serve(t, do, append(edit, func(cfg *rpc.ServerConfig) { cfg.MeterProvider = provider })...)
	return conn, reader
}

// durations are the points of rpc.server.call.duration, by method and code.
func durations(t testing.TB, reader *sdkmetric.ManualReader) map[string]metricdata.HistogramDataPoint[float64] {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &all))
	points := map[string]metricdata.HistogramDataPoint[float64]{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			require.Equal(t, "rpc.server.call.duration", m.Name, "nothing else is measured")
			require.Equal(t, "s", m.Unit)
			for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
				method, _ := p.Attributes.Value("rpc.method")
				code, _ := p.Attributes.Value("rpc.response.status_code")
				system, _ := p.Attributes.Value("rpc.system.name")
				require.Equal(t, "grpc", system.AsString())
				require.Equal(t, 3, p.Attributes.Len())
				points[method.AsString()+" "+code.AsString()] = p
			}
		}
	}
	return points
}

// awaitCounts waits for what was counted: a call is measured after its answer.
func awaitCounts(t testing.TB, reader *sdkmetric.ManualReader, want map[string]uint64) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		got := map[string]uint64{}
		for key, p := range durations(t, reader) {
			got[key] = p.Count
		}
		require.Equal(c, want, got)
	}, patience, 10*time.Millisecond)
}

func TestEveryCallIsMeasured(t *testing.T) {
	t.Parallel()
	var answer error
	conn, reader := measured(t, func(context.Context) error { return answer }, func(cfg *rpc.ServerConfig) {
		cfg.Known = func(method string) bool { return method == "/acme.v1.Images/Resize" }
		cfg.Unknown = func(_ any, ss grpc.ServerStream) error {
			if method, _ := grpc.MethodFromServerStream(ss); method != "/acme.v1.Images/Resize" {
				return rpc.UnknownMethod(nil, ss)
			}
			return &rpc.AnswerError{Status: status.New(codes.Code(99), "theirs")}
		}
	})
	tasks := calls(conn)
	answer = rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_TASK_NOT_FOUND, "no")
	for range 2 {
		require.Error(t, tasks["unary"](t.Context(), id))
	}
	require.Error(t, tasks["stream"](t.Context(), id))
	require.Error(t, tasks["unary"](t.Context(), "no id"))
	answer = nil
	require.NoError(t, tasks["unary"](t.Context(), id))
	for _, method := range []string{"/acme.v1.Images/Resize", "/acme.v1.Images/Other", "/acme.v1.Images/Another", "/warren.task.v1.TaskService/Nothing"} {
		require.Error(t, conn.Invoke(t.Context(), method, &frame.Frame{}, &frame.Frame{}, grpc.ForceCodecV2(frame.Codec())))
	}
	_, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	awaitCounts(t, reader, map[string]uint64{
		getTask + " NOT_FOUND": 2, getTask + " INVALID_ARGUMENT": 1, getTask + " OK": 1, watchTask + " NOT_FOUND": 1,
		"acme.v1.Images/Resize UNKNOWN": 1, "_OTHER UNIMPLEMENTED": 3,
	})
	require.Equal(t, telemetry.SecondsBuckets, durations(t, reader)[getTask+" OK"].Bounds)
}

// TestMeasuredMethodsAreBounded: whatever callers call, the names are the server's.
func TestMeasuredMethodsAreBounded(t *testing.T) {
	t.Parallel()
	conn, reader := measured(t, func(context.Context) error { return nil })
	const names = 1000
	var calling sync.WaitGroup
	for worker := range 8 {
		calling.Go(func() {
			for i := worker; i < names; i += 8 {
				_ = conn.Invoke(t.Context(), fmt.Sprintf("/a.B%d/C", i), &frame.Frame{}, &frame.Frame{}, grpc.ForceCodecV2(frame.Codec()))
			}
		})
	}
	calling.Wait()
	awaitCounts(t, reader, map[string]uint64{"_OTHER UNIMPLEMENTED": names})
}

// TestDurationsAreThoseOfCalls: what a call takes is measured, not what a client
// waits before or after.
func TestDurationsAreThoseOfCalls(t *testing.T) {
	t.Parallel()
	started, finish := make(chan struct{}), make(chan struct{})
	conn, reader := measured(t, func(context.Context) error {
		close(started)
		<-finish
		return nil
	})
	answered := make(chan error, 1)
	go func() { answered <- calls(conn)["unary"](t.Context(), id) }()
	receive(t, started)
	require.Empty(t, durations(t, reader), "it is under way")
	close(finish)
	require.NoError(t, receive(t, answered))
	awaitCounts(t, reader, map[string]uint64{getTask + " OK": 1})
	require.Positive(t, durations(t, reader)[getTask+" OK"].Sum)
}

// TestMeasuringAllocatesLittle: one context for each call, and nothing to record.
func TestMeasuringAllocatesLittle(t *testing.T) {
	conn, reader := measured(t, func(context.Context) error { return nil })
	require.NoError(t, calls(conn)["unary"](t.Context(), id))
	awaitCounts(t, reader, map[string]uint64{getTask + " OK": 1})
	h := rpc.Metrics(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())), func(method string) bool { return strings.HasPrefix(method, "/acme.") })
	info, end := &stats.RPCTagInfo{FullMethodName: "/acme.v1.Images/Resize"}, &stats.End{}
	h.HandleRPC(h.TagRPC(t.Context(), info), end) // makes what is kept
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { h.HandleRPC(h.TagRPC(t.Context(), info), end) }), 1.0)
}

// BenchmarkMetrics is what one call costs, and what of it the metrics do.
func BenchmarkMetrics(b *testing.B) {
	ok := func(context.Context) error { return nil }
	for name, serving := range map[string]func() *grpc.ClientConn{
		"off": func() *grpc.ClientConn {
			conn, _ := serve(b, ok, func(cfg *rpc.ServerConfig) { cfg.MeterProvider = metricnoop.NewMeterProvider() })
			return conn
		},
		"on": func() *grpc.ClientConn {
			conn, _ := measured(b, ok)
			return conn
		},
	} {
		b.Run("call/"+name, func(b *testing.B) {
			call := calls(serving())["unary"]
			b.ReportAllocs()
			for b.Loop() {
				if err := call(b.Context(), id); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("handler", func(b *testing.B) {
		h := rpc.Metrics(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())), func(string) bool { return true })
		info, end := &stats.RPCTagInfo{FullMethodName: "/acme.v1.Images/Resize"}, &stats.End{}
		b.ReportAllocs()
		for b.Loop() {
			h.HandleRPC(h.TagRPC(b.Context(), info), end)
		}
	})
}
