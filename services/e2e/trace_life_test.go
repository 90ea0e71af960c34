package e2e

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// TestTraceOfALife: a submission that fails twice, dies and is replayed. The attempts
// are siblings under the publish; the replay is a trace of its own, linked to the
// attempt that died and to the operator's call.
func TestTraceOfALife(t *testing.T) {
	t.Parallel()
	receiver := newOTLPReceiver(t)
	p, _ := onVHost(t, receiver.fromAll())
	p.startWorker(t)
	p.startDeadletter(t)
	p.awaitReady(t, typeFail)

	conn, tracer := tracedCaller(t, p, receiver)
	request := fail(codes.Unavailable, "not yet")
	request.Reason = reasonRun
	ctx, root := tracer.Start(t.Context(), "the caller's own span")
	r, err := taskv1.NewTaskServiceClient(conn).SubmitTask(ctx, &taskv1.SubmitTaskRequest{
		Type: typeFail, Payload: payload(t, request), Retry: quickly(2),
	})
	require.NoError(t, err)
	root.End()
	id := r.Task.TaskId
	p.await(t, id)
	p.deadLetter(t, id, open)

	operators, _ := tracedConnection(t, p.deadAddress, receiver)
	operator, call := tracer.Start(t.Context(), "the operator's own span")
	_, err = deadletterv1.NewDeadLetterServiceClient(operators).ReplayDeadLetter(operator, &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: id, Reason: "mended"})
	require.NoError(t, err)
	call.End()
	p.deadLetter(t, id, resolved)
	attempts := p.attempts(t, id)
	require.Len(t, attempts, 3)

	first, second := r.Task.TraceId, attempts[2].TraceId
	require.Equal(t, root.SpanContext().TraceID().String(), first)
	receiver.requireTree(t, first, `
the caller's own span                          client          internal
  warren.task.v1.TaskService/SubmitTask        client          client
    warren.task.v1.TaskService/SubmitTask      warren-gateway  server
      publish warren.tasks                     warren-gateway  producer
        process warren.work.`+typeFail+`       e2e-worker      consumer  run=1 attempt=1 outcome=failed error=UNAVAILABLE -> publish
          handler's own span                   e2e-worker      internal
        process warren.work.`+typeFail+`       e2e-worker      consumer  run=1 attempt=2 outcome=failed cause=ATTEMPTS_EXHAUSTED error=UNAVAILABLE -> publish
          handler's own span                   e2e-worker      internal
`)
	receiver.requireTree(t, second, `
publish warren.tasks                           warren-deadletter  producer  -> ReplayDeadLetter, process(1.2)
  process warren.work.`+typeFail+`             e2e-worker         consumer  run=2 attempt=1 outcome=succeeded -> publish
    handler's own span                         e2e-worker         internal
`)
	receiver.requireProcessed(t, id, attempts)
	receiver.requireProjected(t, attempts)

	d := p.deadLetter(t, id, resolved)
	require.Equal(t, first, d.TraceId)
	for i, a := range d.Occurrences[0].Attempts {
		require.Equal(t, []string{attempts[i].TraceId, attempts[i].SpanId}, []string{a.TraceId, a.SpanId}, "as the message told")
	}
	for _, trace := range []string{first, second} {
		found, err := p.tasks.ListTasks(t.Context(), &taskv1.ListTasksRequest{Filter: `attempt.trace_id = "` + trace + `"`})
		require.NoError(t, err)
		require.Len(t, found.Tasks, 1)
		require.Equal(t, id, found.Tasks[0].TaskId)
	}
}

// requireProcessed demands that attempts are shown with their spans, and that these say
// what they should.
func (r *otlpReceiver) requireProcessed(t testing.TB, id string, attempts []*taskv1.TaskAttempt) {
	t.Helper()
	for i, a := range attempts {
		of := slices.IndexFunc(r.all("process warren.work."+typeFail), func(s span) bool { return hex.EncodeToString(s.SpanId) == a.SpanId })
		require.NotEqual(t, -1, of, "attempt %d is shown with a span that nobody made: %v", i+1, a)
		s := r.all("process warren.work." + typeFail)[of]
		require.Equal(t, a.TraceId, hex.EncodeToString(s.TraceId))
		for key, want := range map[string]string{
			"messaging.system": "rabbitmq", "messaging.operation.name": "process", "messaging.operation.type": "process",
			"messaging.message.id": id, "messaging.rabbitmq.destination.routing_key": typeFail, "warren.task.type": typeFail,
			"messaging.destination.name": "warren.tasks:" + typeFail + ":warren.work." + typeFail,
			"warren.task.decision":       a.Decision,
		} {
			require.Equal(t, want, s.value(key), key)
		}
		waited, err := strconv.ParseFloat(s.value("warren.task.queue.time"), 64)
		require.NoError(t, err, "the time in the queue")
		require.GreaterOrEqual(t, waited, 0.0)
		require.Equal(t, a.Attempt > 1, s.value("warren.task.retry.wait") != "", "the wait before a retry, and nowhere else")
		require.Equal(t, a.NextAttemptTime != nil, s.value("warren.task.retry.delay") != "", "the delay, where one was decided on")
	}
}

// requireProjected demands that the batches of status events are traces of their own,
// linked to each attempt.
func (r *otlpReceiver) requireProjected(t testing.TB, attempts []*taskv1.TaskAttempt) {
	t.Helper()
	brokertest.Eventually(t, 20*time.Second, func() error {
		linked := map[string]bool{}
		for _, batch := range r.all("process warren.status") {
			for _, l := range batch.Links {
				linked[hex.EncodeToString(l.SpanId)] = true
			}
		}
		for _, a := range attempts {
			if !linked[a.SpanId] {
				return fmt.Errorf("no batch of the projection is linked to %v", a)
			}
		}
		return nil
	})
	for _, batch := range r.all("process warren.status") {
		require.Empty(t, batch.ParentSpanId)
		require.Equal(t, "warren-gateway", batch.service)
	}
}

// TestTraceOfAForwardedCall: a call of the user's own stub, carried out by a server
// that knows nothing of Warren.
func TestTraceOfAForwardedCall(t *testing.T) {
	t.Parallel()
	receiver := newOTLPReceiver(t)
	f := forward(t, demoTarget, nil, receiver.fromAll())
	f.awaitReady(t, typeDelay)
	conn, tracer := tracedCaller(t, f.platform, receiver)
	ctx, root := tracer.Start(t.Context(), "the caller's own span")
	_, err := faults(conn).Delay(ctx, delay(0))
	require.NoError(t, err)
	root.End()
	receiver.requireTree(t, root.SpanContext().TraceID().String(), `
the caller's own span                          client          internal
  demo.v1.FaultService/Delay                   client          client
    demo.v1.FaultService/Delay                 warren-gateway  server
      publish warren.tasks                     warren-gateway  producer
        process warren.work.`+typeDelay+`      warren-worker   consumer  run=1 attempt=1 outcome=succeeded -> publish
          demo.v1.FaultService/Delay           warren-worker   client
            demo.v1.FaultService/Delay         demo            server
`)
}

// TestTraceOfASchedule: each firing is a trace; one that somebody asked for is linked
// to the call.
func TestTraceOfASchedule(t *testing.T) {
	t.Parallel()
	receiver := newOTLPReceiver(t)
	p, _ := onVHost(t, receiver.fromAll())
	p.startWorker(t)
	p.awaitReady(t, typeDelay)
	conn, tracer := tracedCaller(t, p, receiver)
	admin := adminv1.NewAdminServiceClient(conn)
	create := func(id string, interval time.Duration) {
		_, err := p.admin.CreateSchedule(t.Context(), &adminv1.CreateScheduleRequest{Schedule: &adminv1.Schedule{
			ScheduleId: id, When: &adminv1.Schedule_Interval{Interval: durationpb.New(interval)},
			Task: &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(0))},
		}})
		require.NoError(t, err)
	}
	create("each-second", time.Second)
	create("each-day", 24*time.Hour)
	ctx, root := tracer.Start(t.Context(), "the operator's own span")
	r, err := admin.TriggerSchedule(ctx, &adminv1.TriggerScheduleRequest{ScheduleId: "each-day"})
	require.NoError(t, err)
	root.End()
	for schedule, link := range map[string]string{"each-day": " -> TriggerSchedule", "each-second": ""} {
		id := r.Firing.TaskId
		if schedule == "each-second" {
			id = p.firstOf(t, schedule)
		}
		done := p.await(t, id)
		require.NotEqual(t, root.SpanContext().TraceID().String(), done.TraceId)
		receiver.requireTree(t, done.TraceId, `
fire                                           warren-gateway  internal  outcome=fired schedule=`+schedule+link+`
  publish warren.tasks                         warren-gateway  producer  -> fire
    process warren.work.`+typeDelay+`          e2e-worker      consumer  run=1 attempt=1 outcome=succeeded -> publish
      handler's own span                       e2e-worker      internal
`)
	}
}

// firstOf waits for a task of a schedule.
func (p *platform) firstOf(t testing.TB, schedule string) (id string) {
	t.Helper()
	brokertest.Eventually(t, 20*time.Second, func() error {
		r, err := p.tasks.ListTasks(t.Context(), &taskv1.ListTasksRequest{Filter: `schedule_id = "` + schedule + `"`})
		if err != nil || len(r.Tasks) == 0 {
			return fmt.Errorf("it has not fired yet: %w", err)
		}
		id = r.Tasks[0].TaskId
		return nil
	})
	return id
}

// TestTraceOfABatch: each task of a batch is a trace that is linked to the call, or
// part of the one that it brings; a task for later says when it was published.
func TestTraceOfABatch(t *testing.T) {
	t.Parallel()
	receiver := newOTLPReceiver(t)
	p, _ := onVHost(t, receiver.fromAll())
	p.startWorker(t)
	p.awaitReady(t, typeDelay)
	conn, tracer := tracedCaller(t, p, receiver)
	ctx, root := tracer.Start(t.Context(), "the caller's own span")
	_, customer := tracer.Start(t.Context(), "the customer's own span")
	customer.End()
	item := func(edit func(*taskv1.SubmitTaskRequest)) *taskv1.SubmitTaskRequest {
		r := &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(0))}
		edit(r)
		return r
	}
	r, err := taskv1.NewTaskServiceClient(conn).BatchSubmitTasks(ctx, &taskv1.BatchSubmitTasksRequest{Requests: []*taskv1.SubmitTaskRequest{
		item(func(*taskv1.SubmitTaskRequest) {}),
		item(func(r *taskv1.SubmitTaskRequest) {
			r.Traceparent = fmt.Sprintf("00-%s-%s-01", customer.SpanContext().TraceID(), customer.SpanContext().SpanID())
		}),
		item(func(r *taskv1.SubmitTaskRequest) { r.Delay = durationpb.New(time.Millisecond) }),
	}})
	require.NoError(t, err)
	root.End()
	var traces []string
	for _, result := range r.Results {
		traces = append(traces, result.GetResponse().Task.TraceId)
		p.await(t, result.GetResponse().Task.TaskId)
	}
	require.Equal(t, customer.SpanContext().TraceID().String(), traces[1])
	process := `process warren.work.` + typeDelay + `  e2e-worker  consumer  run=1 attempt=1 outcome=succeeded`
	receiver.requireTree(t, root.SpanContext().TraceID().String(), `
the caller's own span                          client          internal
  warren.task.v1.TaskService/BatchSubmitTasks  client          client
    warren.task.v1.TaskService/BatchSubmitTasks  warren-gateway  server
      publish warren.tasks                     warren-gateway  client    messages=3 -> create, create, create
`)
	receiver.requireTree(t, traces[0], `
create warren.tasks                            warren-gateway  producer  -> publish
  `+process+` -> create
    handler's own span                         e2e-worker      internal
`)
	receiver.requireTree(t, traces[1], `
the customer's own span                        client          internal
  create warren.tasks                          warren-gateway  producer  -> publish
    `+process+` -> create
      handler's own span                       e2e-worker      internal
`)
	receiver.requireTree(t, traces[2], `
create warren.tasks                            warren-gateway  producer  -> publish
  publish warren.tasks                         warren-gateway  producer  -> create
    `+process+` -> publish
      handler's own span                       e2e-worker      internal
`)
}

// TestTraceThatIsNotSampled: no process makes a span of it, and everything that is
// shown has its id.
func TestTraceThatIsNotSampled(t *testing.T) {
	t.Parallel()
	receiver := newOTLPReceiver(t)
	p, _ := onVHost(t, receiver.fromAll())
	p.startWorker(t)
	p.startDeadletter(t)
	p.awaitReady(t, typeFail)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+trace+"-00f067aa0ba902b7-00")
	request := &taskv1.SubmitTaskRequest{Type: typeFail, Payload: payload(t, fail(codes.Unavailable, "x")), Retry: quickly(1)}
	one, err := p.tasks.SubmitTask(ctx, request)
	require.NoError(t, err)
	many, err := p.tasks.BatchSubmitTasks(ctx, &taskv1.BatchSubmitTasksRequest{Requests: []*taskv1.SubmitTaskRequest{request}})
	require.NoError(t, err)
	for _, submitted := range []*taskv1.Task{one.Task, many.Results[0].GetResponse().GetTask()} {
		require.Equal(t, trace, submitted.TraceId)
		require.Equal(t, trace, p.await(t, submitted.TaskId).TraceId)
		require.Equal(t, trace, p.attempts(t, submitted.TaskId)[0].TraceId)
		require.Empty(t, p.attempts(t, submitted.TaskId)[0].SpanId, "nobody can see it")
		require.Equal(t, trace, p.deadLetter(t, submitted.TaskId, open).TraceId)
	}
	require.Len(t, p.list(t, `trace_id = "`+trace+`"`), 2)
	found, err := p.tasks.ListTasks(t.Context(), &taskv1.ListTasksRequest{Filter: `trace_id = "` + trace + `"`})
	require.NoError(t, err)
	require.Len(t, found.Tasks, 2)

	// What comes after it is sampled, and has arrived: so would it have.
	later := p.submit(t, typeFail, fail(codes.Unavailable, "x"))
	traced := p.await(t, later.TaskId).TraceId
	require.NotEmpty(t, traced)
	id, err := hex.DecodeString(traced)
	require.NoError(t, err)
	receiver.one(t, id, "publish warren.tasks")
	require.Empty(t, receiver.tree(trace))
}
