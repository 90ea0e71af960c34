package telemetry_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/telemetry"
)

func TestTaskOfLog(t *testing.T) {
	t.Parallel()
	_, tracer := recorder()
	ctx, span := tracer.Start(t.Context(), "x")
	defer span.End()
	const traceID, spanID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	headers := map[string]string{"traceparent": "00-" + traceID + "-" + spanID + "-01"}
	whole := telemetry.TaskOfLog{ID: "t-1", Type: "acme.v1.Images.Resize", Run: 2, Attempt: 3}
	own := span.SpanContext()
	for name, c := range map[string]struct {
		about telemetry.TaskOfLog
		want  map[string]any
	}{
		"the call's trace": {whole, map[string]any{
			"task_id": "t-1", "task_type": "acme.v1.Images.Resize", "run": 2., "attempt": 3., "trace_id": own.TraceID().String(), "span_id": own.SpanID().String(),
		}},
		"the task's trace": {whole.InSpan(telemetry.SpanOf(headers)), map[string]any{
			"task_id": "t-1", "task_type": "acme.v1.Images.Resize", "run": 2., "attempt": 3., "trace_id": traceID, "span_id": spanID,
		}},
		"the task's trace id alone": {telemetry.TaskOfLog{ID: "t-1", TraceID: traceID}, map[string]any{"task_id": "t-1", "trace_id": traceID}},
		"no trace in the headers": {telemetry.TaskOfLog{ID: "t-1"}.InSpan(telemetry.SpanOf(nil)), map[string]any{
			"task_id": "t-1", "trace_id": own.TraceID().String(), "span_id": own.SpanID().String(),
		}},
		"somebody's id": {telemetry.TaskOfLog{ID: strings.Repeat("x", 300), TraceID: traceID}, map[string]any{
			"task_id": strings.Repeat("x", 256) + "…", "trace_id": traceID,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			c.about.Log(telemetry.NewLogger(&out, slog.LevelInfo, true)).InfoContext(ctx, "hello", "a", "b")
			require.Equal(t, 1, strings.Count(out.String(), "trace_id"), "one trace id")
			var line map[string]any
			require.NoError(t, json.Unmarshal(out.Bytes(), &line))
			delete(line, "time")
			c.want["level"], c.want["msg"], c.want["a"] = "INFO", "hello", "b"
			require.Equal(t, c.want, line)
		})
	}
}

func TestBoundText(t *testing.T) {
	t.Parallel()
	require.Equal(t, "short", telemetry.BoundText("short", 5))
	require.Equal(t, "shor…", telemetry.BoundText("shorter", 4))
	require.Equal(t, "a…", telemetry.BoundText("aé", 2), "no half a character")
	require.Equal(t, "a\uFFFDb", telemetry.BoundText("a\xffb", 10))
}
