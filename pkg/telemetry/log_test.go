package telemetry_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/telemetry"
)

func TestLoggerAddsTraceIDs(t *testing.T) {
	t.Parallel()
	_, tracer := recorder()
	ctx, span := tracer.Start(t.Context(), "x")
	defer span.End()
	for name, derive := range map[string]func(*slog.Logger) *slog.Logger{
		"plain": func(l *slog.Logger) *slog.Logger { return l },
		"with":  func(l *slog.Logger) *slog.Logger { return l.With("task_id", "t-1") },
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			log := derive(telemetry.NewLogger(&out, slog.LevelInfo, true))
			log.InfoContext(ctx, "hello")
			var line map[string]any
			require.NoError(t, json.Unmarshal(out.Bytes(), &line))
			require.Equal(t, span.SpanContext().TraceID().String(), line["trace_id"])
			require.Equal(t, span.SpanContext().SpanID().String(), line["span_id"])

			out.Reset()
			log.InfoContext(t.Context(), "hello")
			require.NotContains(t, out.String(), "trace_id", "no span, no ids")
		})
	}
}

func TestLoggerGroups(t *testing.T) {
	t.Parallel()
	_, tracer := recorder()
	ctx, span := tracer.Start(t.Context(), "x")
	defer span.End()
	var out bytes.Buffer
	telemetry.NewLogger(&out, slog.LevelInfo, false).WithGroup("g").InfoContext(ctx, "hello", "a", 1)
	require.Contains(t, out.String(), "g.a=1")
	require.Contains(t, out.String(), "trace_id="+span.SpanContext().TraceID().String())
}

func TestLoggerLevelAndFormat(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := telemetry.NewLogger(&out, slog.LevelWarn, false)
	log.Info("hidden")
	require.Empty(t, out.String())
	log.Warn("shown", "key", "value")
	require.Contains(t, out.String(), "level=WARN msg=shown key=value")
}
