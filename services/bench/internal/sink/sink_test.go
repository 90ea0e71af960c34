package sink_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/services/bench/internal/sink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSpansAreCounted(t *testing.T) {
	t.Parallel()
	s, err := sink.Listen(t.Context())
	require.NoError(t, err)
	exporter, err := otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpointURL(s.URL))
	require.NoError(t, err)
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	for range 3 {
		_, span := provider.Tracer("").Start(t.Context(), "x")
		span.End()
	}
	require.NoError(t, provider.Shutdown(t.Context()))
	require.Equal(t, int64(3), s.Spans())
	require.NoError(t, s.Close())
}
