package worker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
)

// An attempt has waited since it was due, which a retry is after the attempt before.
func TestWhatAnAttemptHasWaited(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	after := func(s int) *timestamppb.Timestamp { return timestamppb.New(begin.Add(time.Duration(s) * time.Second)) }
	for name, c := range map[string]struct {
		history            []*brokerv1.PastAttempt
		inQueue, sinceLast time.Duration
	}{
		"first":              {nil, 60 * time.Second, 0},
		"retry":              {[]*brokerv1.PastAttempt{{}, {EndTime: after(20), NextAttemptTime: after(50)}}, 10 * time.Second, 40 * time.Second},
		"by a clock ahead":   {[]*brokerv1.PastAttempt{{EndTime: after(70), NextAttemptTime: after(80)}}, 0, 0},
		"by an older worker": {[]*brokerv1.PastAttempt{{EndTime: after(20)}}, 60 * time.Second, 40 * time.Second},
	} {
		x := &execution{msg: broker.TaskMessage{RunTime: begin}, history: &brokerv1.AttemptHistory{Attempts: c.history}}
		inQueue, sinceLast := x.waited(begin.Add(time.Minute))
		require.Equal(t, c.inQueue, inQueue, name)
		require.Equal(t, c.sinceLast, sinceLast, name)
	}
}

// A span says how its attempt ended and what was decided.
func TestDescribe(t *testing.T) {
	t.Parallel()
	now := time.Now()
	failure := &task.Failure{Code: 14, Message: "away"}
	for name, c := range map[string]struct {
		event task.Event
		want  map[string]any
	}{
		"succeeded": {task.Event{Key: task.Key{Phase: task.PhaseSucceeded}}, map[string]any{"warren.outcome": "succeeded"}},
		"retrying": {
			task.Event{Key: task.Key{Phase: task.PhaseRetrying}, Failure: failure, Decision: "again", Time: now, NextAttemptTime: now.Add(1500 * time.Millisecond)},
			map[string]any{"warren.outcome": "failed", "warren.task.decision": "again", "warren.task.retry.delay": 1.5, "error.type": "UNAVAILABLE"},
		},
		"dead": {
			task.Event{Key: task.Key{Phase: task.PhaseDeadLettered}, Failure: failure, Cause: task.CauseAttemptsExhausted},
			map[string]any{"warren.outcome": "failed", "warren.cause": "ATTEMPTS_EXHAUSTED", "error.type": "UNAVAILABLE"},
		},
	} {
		recorder := tracetest.NewSpanRecorder()
		_, span := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("").Start(t.Context(), "x")
		describe(span, &c.event)
		span.End()
		got := map[string]any{}
		for _, a := range recorder.Ended()[0].Attributes() {
			got[string(a.Key)] = a.Value.AsInterface()
		}
		require.Equal(t, c.want, got, name)
	}
}

// With tracing off an attempt's span costs nothing but the trace that its handler
// goes on with.
func TestNoSpanAllocatesNothing(t *testing.T) {
	headers := map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	base := context.Background()
	ended := &task.Event{Key: task.Key{Phase: task.PhaseSucceeded}}
	for tracing, cfg := range map[string]Config{"off": {TracerProvider: noop.NewTracerProvider()}, "never set up": {}} {
		w := newWorker(t, cfg)
		for name, trace := range map[string]map[string]string{"no trace": nil, "a trace": headers} {
			x := &execution{
				consumption: &consumption{w: w, taskType: typeDelay, pool: newPool(1, 1)}, delivery: &fixedDelivery{},
				base: base, msg: broker.TaskMessage{ID: task.NewID(), RunTime: time.Now(), Trace: trace},
			}
			var ctx context.Context
			without := testing.AllocsPerRun(100, func() {
				ctx = telemetry.Extract(base, trace)
			})
			with := testing.AllocsPerRun(100, func() {
				x.startSpan()
				x.ended(ended)
				x.endSpan()
			})
			require.Equal(t, without, with, "%s, %s", tracing, name)
			require.Equal(t, telemetry.TraceID(ctx), x.traced.ids.Trace(), "%s, %s", tracing, name)
		}
	}
}

// fixedDelivery is the first of a task.
type fixedDelivery struct{ delivery }

// Attempt implements delivery.
func (*fixedDelivery) Attempt() int { return 1 }
