package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/warrenmq/warren/pkg/telemetry"
)

// patience is how long an export may take.
const patience = 10 * time.Second

// clean takes OpenTelemetry's settings out of the environment until the test
// ends, and restores what Start sets for the process.
func clean(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		if key, _, _ := strings.Cut(entry, "="); strings.HasPrefix(key, "OTEL_") {
			t.Setenv(key, "")
			require.NoError(t, os.Unsetenv(key))
		}
	}
	provider, propagator := otel.GetTracerProvider(), otel.GetTextMapPropagator()
	t.Cleanup(func() {
		otel.SetTracerProvider(provider)
		otel.SetTextMapPropagator(propagator)
	})
}

// span makes one by what Start has set, flushes, and says whether it was recorded.
func span(t *testing.T, flush func(context.Context) error) bool {
	t.Helper()
	_, s := otel.Tracer("test").Start(t.Context(), "a span")
	recording := s.IsRecording()
	s.End()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, flush(ctx))
	return recording
}

func TestNothingIsExportedByDefault(t *testing.T) {
	cases := map[string]map[string]string{
		"default":               nil,
		"none":                  {"OTEL_TRACES_EXPORTER": "none"},
		"none, with endpoint":   {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
		"disabled":              {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"},
		"disabled, with a typo": {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "oltp"},
		"protocol alone":        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
	}
	for name, env := range cases {
		t.Run(name, func(t *testing.T) {
			clean(t)
			for k, v := range env {
				t.Setenv(k, v)
			}
			flush, err := telemetry.Start(t.Context(), "s", "v")
			require.NoError(t, err)
			require.False(t, span(t, flush))
			require.ElementsMatch(t, []string{"traceparent", "tracestate", "baggage"}, otel.GetTextMapPropagator().Fields(), "context is passed on all the same")
		})
	}
}

func TestUnknownSettingsAreErrors(t *testing.T) {
	for key, env := range map[string]map[string]string{
		"OTEL_TRACES_EXPORTER=jaeger":           {"OTEL_TRACES_EXPORTER": "jaeger"},
		"OTEL_EXPORTER_OTLP_PROTOCOL=http/json": {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
	} {
		t.Run(key, func(t *testing.T) {
			clean(t)
			for k, v := range env {
				t.Setenv(k, v)
			}
			_, err := telemetry.Start(t.Context(), "s", "v")
			require.ErrorContains(t, err, key)
		})
	}
}

// collector takes in traces over both protocols.
type collector struct {
	collectorv1.UnimplementedTraceServiceServer
	requests chan *collectorv1.ExportTraceServiceRequest
}

func (c *collector) Export(_ context.Context, r *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	c.requests <- r
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	request := &collectorv1.ExportTraceServiceRequest{}
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, request) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.requests <- request
}

func overHTTP(t *testing.T, c *collector) string {
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	return s.URL
}

func overGRPC(t *testing.T, c *collector) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(s, c)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return "http://" + l.Addr().String()
}

func TestVariablesChooseTheExporter(t *testing.T) {
	cases := map[string]struct {
		listen func(*testing.T, *collector) string
		env    func(url string) map[string]string
	}{
		"endpoint": {overHTTP, func(url string) map[string]string {
			return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": url}
		}},
		"endpoint of traces": {overHTTP, func(url string) map[string]string {
			return map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": url + "/v1/traces", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
		}},
		"grpc": {overGRPC, func(url string) map[string]string {
			return map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
		}},
		"grpc for traces": {overGRPC, func(url string) map[string]string {
			return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			clean(t)
			received := &collector{requests: make(chan *collectorv1.ExportTraceServiceRequest, 10)}
			for k, v := range c.env(c.listen(t, received)) {
				t.Setenv(k, v)
			}
			t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
			flush, err := telemetry.Start(t.Context(), "warren-test", "v7")
			require.NoError(t, err)
			require.True(t, span(t, flush))
			r := <-received.requests
			require.Equal(t, "a span", r.ResourceSpans[0].ScopeSpans[0].Spans[0].Name)
			resource := map[string]string{}
			for _, a := range r.ResourceSpans[0].Resource.Attributes {
				resource[a.Key] = a.Value.GetStringValue()
			}
			require.Equal(t, "warren-test", resource["service.name"])
			require.Equal(t, "v7", resource["service.version"])
			require.Equal(t, "test", resource["deployment.environment.name"])
		})
	}
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
