package api

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/gateway/internal/later"
)

// tracedService is a service whose spans are recorded.
func tracedService(t testing.TB, f *fakes) (*TaskService, *tracetest.SpanRecorder) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	service, _ := newService(t, f, func(c *Config) { c.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)) })
	return service, recorder
}

// byName are the spans that have ended, by their names.
func byName(r *tracetest.SpanRecorder) map[string][]sdktrace.ReadOnlySpan {
	found := map[string][]sdktrace.ReadOnlySpan{}
	for _, s := range r.Ended() {
		found[s.Name()] = append(found[s.Name()], s)
	}
	return found
}

func TestSpansOfWhatFails(t *testing.T) {
	t.Parallel()
	f := &fakes{errs: []error{broker.ErrNotSent, broker.ErrUnknown}}
	service, recorder := tracedService(t, f)
	_, err := service.BatchSubmitTasks(t.Context(), batchOf(request(t), request(t)))
	require.NoError(t, err)
	spans := byName(recorder)
	require.Len(t, spans["create warren.tasks"], 2)
	for _, create := range spans["create warren.tasks"] {
		require.Equal(t, codes.Error, create.Status().Code)
		require.Contains(t, create.Attributes(), attribute.String("error.type", "UNAVAILABLE"))
	}
	whole := spans["publish warren.tasks"][0]
	require.Equal(t, codes.Error, whole.Status().Code)
	require.Contains(t, whole.Status().Description, "2 of 2 tasks were not submitted")
	require.Len(t, whole.Links(), 2, "by a call that is not sampled itself, each is a trace of the publish")
}

// What brings a trace of its own, alone or for later, is part of that; what is none
// is part of the call's.
func TestASubmissionBringsItsTrace(t *testing.T) {
	t.Parallel()
	const theirs = "4bf92f3577b34da6a3ce929d0e0e4736"
	service, _, _ := newBrokerService(t)
	recorder := tracetest.NewSpanRecorder()
	service.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer(scope)
	r := request(t)
	r.Traceparent = "00-" + theirs + "-00f067aa0ba902b7-01"
	answer, err := service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, theirs, answer.Task.TraceId)
	r.Delay = durationpb.New(time.Hour)
	answer, err = service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, theirs, answer.Task.TraceId)
	spans := byName(recorder)
	require.Equal(t, "00f067aa0ba902b7", spans["publish warren.tasks"][0].Parent().SpanID().String())
	require.Equal(t, "00f067aa0ba902b7", spans["create warren.tasks"][0].Parent().SpanID().String())

	r.Delay, r.Traceparent = nil, "nonsense"
	answer, err = service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	require.NotEmpty(t, answer.Task.TraceId)
	require.NotEqual(t, theirs, answer.Task.TraceId)
}

// A task that is due is published as part of the trace that it was created in; one
// that waits for room in its queue is not published, and makes no span.
func TestSpansOfWhatIsDue(t *testing.T) {
	t.Parallel()
	f := &fakes{writeErr: errors.New("away")}
	service, recorder := tracedService(t, f)
	m := &broker.TaskMessage{
		ID: "01a203f9-df05-7039-9548-dcf9c171f596", Type: typeDelay, Run: 1, CreateTime: time.Now(), RunTime: time.Now(),
		Trace: map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	}
	due := Due{TaskService: service}
	require.Error(t, due.PublishDue(t.Context(), []later.Task{{Message: m}})[0], "its QUEUED event is not confirmed")
	published := byName(recorder)["publish warren.tasks"]
	require.Len(t, published, 1)
	require.Equal(t, "00f067aa0ba902b7", published[0].Parent().SpanID().String())
	require.Equal(t, published[0].SpanContext().SpanID(), telemetry.SpanContextOf(f.published[0].Trace).SpanID())
	require.Equal(t, "00f067aa0ba902b7", telemetry.SpanContextOf(m.Trace).SpanID().String(), "who keeps it has what it had")

	f.full = true
	require.ErrorIs(t, due.PublishDue(t.Context(), []later.Task{{Message: m}})[0], later.ErrFull)
	require.Len(t, byName(recorder)["publish warren.tasks"], 1)
	f.full, f.errs = false, []error{broker.ErrNotSent}
	require.ErrorIs(t, errors.Join(due.PublishDue(t.Context(), []later.Task{{Message: m}})...), later.ErrNotPublished)
	require.Equal(t, codes.Error, byName(recorder)["publish warren.tasks"][1].Status().Code)
}

// With tracing off, tracing a submission allocates nothing.
func TestTracingOffCostsASubmissionNothing(t *testing.T) {
	service, _ := newService(t, &fakes{})
	ctx := context.Background()
	r := request(t)
	known, ok := service.cfg.Catalogue.Type(typeDelay)
	require.True(t, ok)
	sub, err := service.submission(known, r, time.Now(), time.Time{})
	require.NoError(t, err)
	without := testing.AllocsPerRun(100, func() {
		sub.message.LimitTrace()
		sub.queued = queued(sub.message)
	})
	for name, traced := range map[string]func(){
		"one":   func() { service.trace(ctx, sub) },
		"batch": func() { sub.batched = true; service.trace(ctx, sub) },
		"due":   func() { Due{TaskService: service}.trace(ctx, sub) },
	} {
		require.Equal(t, without, testing.AllocsPerRun(100, func() {
			traced()
			sub.endSpan()
		}), name)
	}
}
