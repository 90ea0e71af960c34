package telemetry_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/warrenmq/warren/pkg/telemetry"
)

// Tracing that is off allocates nothing: what a trace that others have begun costs is
// what carrying it on costs, and no more.
func TestTracingOffAllocatesNothing(t *testing.T) {
	tracer := noop.NewTracerProvider().Tracer("")
	headers := map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	none := context.Background()
	theirs := telemetry.Extract(none, headers)
	var ctx context.Context
	var span trace.Span
	var carried map[string]string
	for name, c := range map[string]struct{ without, with func() }{
		"publish": {
			func() { carried = telemetry.Headers(none) },
			func() { span, carried = telemetry.StartPublish(none, tracer, message) },
		},
		"publish in a trace": {
			func() { carried = telemetry.Headers(theirs) },
			func() { span, carried = telemetry.StartPublish(theirs, tracer, message) },
		},
		"create": {
			func() { carried = telemetry.Headers(none) },
			func() { span, carried = telemetry.StartCreate(none, tracer, message) },
		},
		"publish what was created": {
			func() {},
			func() { span, carried = telemetry.StartPublishCreated(none, tracer, message, headers) },
		},
		"publish a batch": {
			func() {},
			func() { ctx, span = telemetry.StartPublishBatch(none, tracer, "warren.tasks", 3) },
		},
		"process": {
			func() {},
			func() { ctx, span = telemetry.StartProcess(none, tracer, message, nil) },
		},
		"process in a trace": {
			func() { ctx = telemetry.Extract(none, headers) },
			func() { ctx, span = telemetry.StartProcess(none, tracer, message, headers) },
		},
		"process a batch": {
			func() {},
			func() { ctx, span = telemetry.StartProcessBatch(none, tracer, "warren.status", 3) },
		},
		"fire": {
			func() {},
			func() { ctx, span = telemetry.StartFire(none, tracer, "nightly") },
		},
		"ids": {
			func() {},
			func() { _, _ = telemetry.IDs(theirs, trace.SpanFromContext(none)) },
		},
	} {
		without, with := testing.AllocsPerRun(100, c.without), testing.AllocsPerRun(100, func() {
			c.with()
			if span != nil {
				span.End()
			}
		})
		require.Equal(t, without, with, name)
	}
	_, _ = ctx, carried
}
