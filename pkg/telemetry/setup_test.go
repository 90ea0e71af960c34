package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/telemetry"
)

type environment map[string]string

// clean takes OpenTelemetry's settings out of the environment until the test
// ends, with env in their place, and takes back what Start sets for the process.
func clean(t *testing.T, env ...environment) {
	t.Helper()
	for _, entry := range os.Environ() {
		if key, _, _ := strings.Cut(entry, "="); strings.HasPrefix(key, "OTEL_") {
			t.Setenv(key, "")
			require.NoError(t, os.Unsetenv(key))
		}
	}
	for _, e := range env {
		for k, v := range e {
			t.Setenv(k, v)
		}
	}
	t.Cleanup(func() {
		otel.SetTracerProvider(tracenoop.NewTracerProvider())
		otel.SetMeterProvider(metricnoop.NewMeterProvider())
		otel.SetTextMapPropagator(propagation.TraceContext{})
		telemetry.LogErrors(slog.Default())
	})
}

// start is Start, and a flush of bounded time.
func start(t *testing.T) func() error {
	t.Helper()
	flush, err := telemetry.Start(t.Context(), "warren-test", "v7", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return func() error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return flush(ctx)
	}
}

// use makes a span and measures, by what Start has set, and says which of the
// two are on.
func use(t *testing.T) (traces, metrics bool) {
	t.Helper()
	_, s := otel.Tracer("test").Start(t.Context(), "a span")
	traces = s.IsRecording()
	s.End()
	gauge, err := otel.Meter("test").Int64Gauge("a.gauge")
	require.NoError(t, err)
	gauge.Record(t.Context(), 42)
	return traces, gauge.Enabled(t.Context())
}

func TestNothingIsExportedByDefault(t *testing.T) {
	cases := map[string]environment{
		"default":               nil,
		"none":                  {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
		"none, with endpoint":   {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
		"nobody scrapes":        {"OTEL_METRICS_EXPORTER": "prometheus"},
		"disabled":              {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp"},
		"disabled, in capitals": {"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
		"disabled, with a typo": {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "oltp", "OTEL_METRICS_EXPORTER": "oltp"},
		"protocol alone":        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
	}
	for name, env := range cases {
		t.Run(name, func(t *testing.T) {
			clean(t, env)
			before := goleak.IgnoreCurrent()
			flush := start(t)
			traces, metrics := use(t)
			require.False(t, traces)
			require.False(t, metrics)
			traces, metrics = telemetry.On()
			require.False(t, traces)
			require.False(t, metrics)
			goleak.VerifyNone(t, before)
			require.NoError(t, flush())
			require.ElementsMatch(t, []string{"traceparent", "tracestate", "baggage"}, otel.GetTextMapPropagator().Fields(), "context is passed on all the same")
		})
	}
}

// A failed Start leaves nothing behind: TestMain looks.
func TestUnknownSettingsAreErrors(t *testing.T) {
	for key, env := range map[string]environment{
		"OTEL_TRACES_EXPORTER=jaeger":                   {"OTEL_TRACES_EXPORTER": "jaeger"},
		"OTEL_TRACES_EXPORTER=prometheus":               {"OTEL_TRACES_EXPORTER": "prometheus"},
		"OTEL_METRICS_EXPORTER=statsd":                  {"OTEL_METRICS_EXPORTER": "statsd"},
		"OTEL_EXPORTER_OTLP_PROTOCOL=http/json":         {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
		"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json":  {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
		"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/json": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/json"},
	} {
		t.Run(key, func(t *testing.T) {
			clean(t, env)
			_, err := telemetry.Start(t.Context(), "s", "v", slog.New(slog.DiscardHandler))
			require.ErrorContains(t, err, key)
		})
	}
}

func TestVariablesChooseTheExporters(t *testing.T) {
	cases := map[string]struct {
		listen          listener
		env             func(url string) environment
		traces, metrics bool
	}{
		"endpoint": {overHTTP, func(url string) environment {
			return environment{"OTEL_EXPORTER_OTLP_ENDPOINT": url}
		}, true, true},
		"endpoint of traces": {overHTTP, func(url string) environment {
			return environment{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": url + "/v1/traces", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
		}, true, false},
		"endpoint of metrics": {overHTTP, func(url string) environment {
			return environment{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": url + "/v1/metrics", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
		}, false, true},
		"no metrics": {overHTTP, func(url string) environment {
			return environment{"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_METRICS_EXPORTER": "none"}
		}, true, false},
		"no traces": {overHTTP, func(url string) environment {
			return environment{"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_TRACES_EXPORTER": "none"}
		}, false, true},
		"grpc": {overGRPC, func(url string) environment {
			return environment{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
		}, true, true},
		"grpc for traces": {overGRPC, func(url string) environment {
			return environment{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}
		}, true, false},
		"grpc for metrics": {overGRPC, func(url string) environment {
			return environment{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc"}
		}, false, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			received := newReceiver()
			clean(t, environment{"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"}, c.env(c.listen(t, received)))
			flush := start(t)
			traces, metrics := use(t)
			require.Equal(t, c.traces, traces)
			require.Equal(t, c.metrics, metrics)
			traces, metrics = telemetry.On()
			require.Equal(t, c.traces, traces)
			require.Equal(t, c.metrics, metrics)
			require.NoError(t, flush())
			if traces {
				requireSpan(t, received)
			}
			if metrics {
				requireGauge(t, received)
			}
			require.Empty(t, received.traces)
			require.Empty(t, received.metrics)
		})
	}
}

func requireSpan(t *testing.T, received *receiver) {
	t.Helper()
	r := received.traces.next(t).ResourceSpans[0]
	requireResource(t, r.Resource)
	require.Equal(t, "a span", r.ScopeSpans[0].Spans[0].Name)
}

func requireGauge(t *testing.T, received *receiver) {
	t.Helper()
	r := received.metrics.next(t).ResourceMetrics[0]
	requireResource(t, r.Resource)
	gauge := findGauge(r)
	require.NotNil(t, gauge)
	require.EqualValues(t, 42, gauge.GetGauge().DataPoints[0].GetAsInt())
}

// findGauge is what use has recorded, nil if it is not there.
func findGauge(r *metricsv1.ResourceMetrics) *metricsv1.Metric {
	for _, scope := range r.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name == "a.gauge" {
				return m
			}
		}
	}
	return nil
}

func TestMetricsAreExportedAtTheInterval(t *testing.T) {
	received := newReceiver()
	clean(t, environment{
		"OTEL_EXPORTER_OTLP_ENDPOINT": overHTTP(t, received), "OTEL_METRIC_EXPORT_INTERVAL": "10",
		"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
	})
	flush := start(t)
	use(t)
	for findGauge(received.metrics.next(t).ResourceMetrics[0]) == nil { // before the gauge was recorded
	}
	requireGauge(t, received)
	require.NoError(t, flush())
}

// A receiver of traces alone gets them all, and is no reason to wait.
func TestReceiverWithoutMetrics(t *testing.T) {
	for name, c := range map[string]struct {
		listen listener
		env    environment
		says   string
	}{
		"http": {overHTTP, nil, "404"},
		"grpc": {overGRPC, environment{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "Unimplemented"},
	} {
		t.Run(name, func(t *testing.T) {
			received := newReceiver()
			received.metrics = nil
			clean(t, c.env, environment{
				"OTEL_EXPORTER_OTLP_ENDPOINT": c.listen(t, received), "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
			})
			flush := start(t)
			use(t)
			err := flush()
			require.ErrorContains(t, err, "export the last metrics")
			require.ErrorContains(t, err, c.says)
			require.NotErrorIs(t, err, context.DeadlineExceeded)
			require.NotContains(t, err.Error(), "traces:")
			requireSpan(t, received)
		})
	}
}

// The last metrics arrive though the receiver of traces hangs.
func TestFlushesDoNotWaitForEachOther(t *testing.T) {
	released, release := context.WithCancel(t.Context())
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-released.Done() }))
	t.Cleanup(hangs.Close)
	received := newReceiver()
	clean(t, environment{
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": hangs.URL, "OTEL_EXPORTER_OTLP_ENDPOINT": overHTTP(t, received),
		"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
	})
	flush := start(t)
	use(t)
	done := make(chan error, 1)
	go func() { done <- flush() }()
	requireGauge(t, received)
	require.Empty(t, done)
	release()
	require.NoError(t, <-done)
}

func TestFlushReportsWhatIsLost(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	telemetry.Flush(func(ctx context.Context) error {
		_, bounded := ctx.Deadline()
		require.True(t, bounded)
		return nil
	}, log)
	require.Empty(t, out.String())
	telemetry.Flush(func(context.Context) error { return errors.New("nobody listens") }, log)
	require.Contains(t, out.String(), "nobody listens")
}
