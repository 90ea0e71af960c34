package telemetry

import (
	"context"
	"log/slog"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Keys of log lines about tasks, the same in every process.
const (
	logTaskID   = "task_id"
	logTaskType = "task_type"
	logRun      = "run"
	logAttempt  = "attempt"
	logTraceID  = "trace_id"
	logSpanID   = "span_id"
)

// TaskOfLog is the task that log lines are about. What is zero is left out. Of a task,
// lines have this and never its payload, result, labels or metadata.
type TaskOfLog struct {
	ID, Type string
	// Run and Attempt count from 1.
	Run, Attempt int
	// TraceID is the task's, in hexadecimal, SpanID that of one of its spans. They take
	// the place of those in the context that a line is logged with.
	TraceID, SpanID string
}

// InSpan is the task with the ids of a span, if that has any.
func (t TaskOfLog) InSpan(sc trace.SpanContext) TaskOfLog {
	if sc.HasTraceID() {
		t.TraceID, t.SpanID = sc.TraceID().String(), ""
	}
	if sc.HasSpanID() {
		t.SpanID = sc.SpanID().String()
	}
	return t
}

// Log is a logger for lines about the task: they have the keys task_id, task_type, run,
// attempt, trace_id and span_id.
func (t TaskOfLog) Log(log *slog.Logger) *slog.Logger {
	var attrs []any
	for _, text := range [...]struct{ key, value string }{{logTaskID, t.ID}, {logTaskType, t.Type}} {
		if text.value != "" {
			attrs = append(attrs, slog.String(text.key, BoundText(text.value, maxName)))
		}
	}
	for _, number := range [...]struct {
		key   string
		value int
	}{{logRun, t.Run}, {logAttempt, t.Attempt}} {
		if number.value != 0 {
			attrs = append(attrs, slog.Int(number.key, number.value))
		}
	}
	for _, id := range [...]struct{ key, value string }{{logTraceID, t.TraceID}, {logSpanID, t.SpanID}} {
		if id.value != "" {
			attrs = append(attrs, slog.String(id.key, id.value))
		}
	}
	return log.With(attrs...)
}

// maxName bounds ids and types in a log line, in bytes: those of messages that others
// have published may be anything.
const maxName = 256

// BoundText is a text for a log line: at most so many bytes of it, valid UTF-8.
func BoundText(text string, limit int) string {
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// SpanOf is the span that a message's headers name.
func SpanOf(headers map[string]string) trace.SpanContext {
	return trace.SpanContextFromContext(propagator.Extract(context.Background(), propagation.MapCarrier(headers)))
}
