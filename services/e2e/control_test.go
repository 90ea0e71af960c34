package e2e

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

func (p *platform) setConcurrency(t testing.TB, edit func(*adminv1.UpdateConcurrencyRequest)) *adminv1.TypeControl {
	t.Helper()
	r := &adminv1.UpdateConcurrencyRequest{TaskType: typeDelay, Reason: "test"}
	edit(r)
	answer, err := p.admin.UpdateConcurrency(t.Context(), r)
	require.NoError(t, err)
	return answer.Control
}

func slots(n int32) func(*adminv1.UpdateConcurrencyRequest) {
	return func(r *adminv1.UpdateConcurrencyRequest) {
		r.Setting = &adminv1.UpdateConcurrencyRequest_Concurrency{Concurrency: n}
	}
}

// workers are those that live.
func (p *platform) workers(t testing.TB) []*adminv1.Worker {
	t.Helper()
	r, err := p.admin.ListWorkers(t.Context(), &adminv1.ListWorkersRequest{})
	require.NoError(t, err)
	return r.Workers
}

// theWorker is the one that lives.
func (p *platform) theWorker(t testing.TB) *adminv1.Worker {
	t.Helper()
	var all []*adminv1.Worker
	brokertest.Eventually(t, 10*time.Second, func() error {
		if all = p.workers(t); len(all) != 1 {
			return fmt.Errorf("%d workers live", len(all))
		}
		return nil
	})
	return all[0]
}

// doing is what a worker does of the type of most tests.
func doing(w *adminv1.Worker, taskType string) *adminv1.WorkerType {
	for _, t := range w.GetTypes() {
		if t.TaskType == taskType {
			return t
		}
	}
	return &adminv1.WorkerType{}
}

// awaitConcurrency waits until the one worker has so many slots, no more tasks, and hardly
// a slot without one: between two tasks it is free for a moment.
func (p *platform) awaitConcurrency(t testing.TB, want int32) {
	t.Helper()
	brokertest.Eventually(t, 20*time.Second, func() error {
		w := p.theWorker(t)
		if d := doing(w, typeDelay); d.DesiredConcurrency != want || d.ActualConcurrency != want || d.Running > want || 4*d.Running <= 3*want {
			return fmt.Errorf("worker %s: %v", w.WorkerId, d)
		}
		return nil
	})
}

// TestControlConcurrency: slots come and go under load, and no task is lost or
// started twice for it.
func TestControlConcurrency(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t, "--concurrency", "2")
	p.awaitReady(t, typeDelay)
	ids := p.submitMany(t, 3000, func(int) *taskv1.SubmitTaskRequest {
		return &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(200*time.Millisecond))}
	})
	p.awaitConcurrency(t, 2)
	p.setConcurrency(t, slots(32))
	p.awaitConcurrency(t, 32)
	p.setConcurrency(t, slots(1))
	p.awaitConcurrency(t, 1)
	one := p.theWorker(t)
	require.Equal(t, "operator", doing(one, typeDelay).DesiredBy)
	p.setConcurrency(t, func(r *adminv1.UpdateConcurrencyRequest) { slots(64)(r); r.WorkerId = one.WorkerId })
	p.awaitConcurrency(t, 64)
	require.Equal(t, "operator, this worker", doing(p.theWorker(t), typeDelay).DesiredBy)
	p.gateway.kill()
	p.startGateway(t)
	p.awaitReady(t, typeDelay)
	for _, id := range ids {
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, id).State)
		require.Equal(t, []start{{1, 1}}, p.recorder.of(id))
		require.Len(t, p.attempts(t, id), 1)
	}
	require.EqualValues(t, 64, doing(p.theWorker(t), typeDelay).DesiredConcurrency, "it outlives the gateway")
	_, err := p.admin.UpdateConcurrency(t.Context(), &adminv1.UpdateConcurrencyRequest{
		TaskType: typeDelay, Reason: "x", WorkerId: "00000000-0000-7000-8000-000000000000",
		Setting: &adminv1.UpdateConcurrencyRequest_Concurrency{Concurrency: 1},
	})
	requireReason(t, err, "WORKER_NOT_FOUND")
}

// TestControlAutoscale: slots follow the backlog, between their bounds.
func TestControlAutoscale(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t, "--concurrency", "4")
	p.awaitReady(t, typeDelay)
	p.setConcurrency(t, func(r *adminv1.UpdateConcurrencyRequest) {
		r.Setting = &adminv1.UpdateConcurrencyRequest_Autoscale{Autoscale: &adminv1.Autoscale{Min: 2, Max: 16}}
	})
	have := func(want int32) func() error {
		return func() error {
			d := doing(p.theWorker(t), typeDelay)
			if d.ActualConcurrency != want || d.DesiredBy != "autoscale" {
				return fmt.Errorf("not %d slots but %v", want, d)
			}
			return nil
		}
	}
	brokertest.Eventually(t, 30*time.Second, have(2))
	ids := p.submitMany(t, 1500, func(int) *taskv1.SubmitTaskRequest {
		return &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(100*time.Millisecond))}
	})
	brokertest.Eventually(t, 40*time.Second, have(16))
	for _, id := range ids {
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, id).State)
		require.Len(t, p.recorder.of(id), 1)
	}
	brokertest.Eventually(t, 60*time.Second, have(2))
}

// TestControlPause: a paused type starts nothing, its neighbours go on, and what was
// fetched is nobody's.
func TestControlPause(t *testing.T) {
	t.Parallel()
	p, b := onVHost(t)
	p.startWorker(t, "--concurrency", "4")
	p.awaitReady(t, typeDelay)
	p.awaitReady(t, typeResult)
	r, err := p.admin.PauseTaskType(t.Context(), &adminv1.PauseTaskTypeRequest{TaskType: typeDelay, Reason: "the database is moved"})
	require.NoError(t, err)
	require.True(t, r.Control.Paused)
	brokertest.Eventually(t, 10*time.Second, func() bool { return doing(p.theWorker(t), typeDelay).Paused })
	var ids []string
	for range 20 {
		ids = append(ids, p.submit(t, typeDelay, delay(0)).TaskId)
	}
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, p.submit(t, typeResult, &demov1.ThumbnailRequest{MaxWidth: 1, MaxHeight: 1}).TaskId).State)
	queue := "warren.work." + typeDelay
	brokertest.Eventually(t, 10*time.Second, func() bool { return b.Queue(t, queue).MessagesReady == len(ids) })
	for _, id := range ids {
		require.Empty(t, p.recorder.of(id))
	}
	explained, err := p.tasks.ExplainTask(t.Context(), &taskv1.ExplainTaskRequest{TaskId: ids[0]})
	require.NoError(t, err)
	require.Contains(t, explained.Summary, "paused")
	require.Contains(t, explained.String(), "the database is moved")
	require.Contains(t, strings.Join(explained.Actions, "\n"), "ResumeTaskType")

	// A pause can end by itself, whether a gateway runs or not.
	until := time.Now().Add(3 * time.Second)
	_, err = p.admin.PauseTaskType(t.Context(), &adminv1.PauseTaskTypeRequest{TaskType: typeDelay, Reason: "almost done", Until: timestamppb.New(until)})
	require.NoError(t, err)
	p.gateway.kill()
	brokertest.Eventually(t, 20*time.Second, func() bool { return p.recorder.tasks() == len(ids)+1 })
	require.True(t, time.Now().After(until))
	p.startGateway(t)
	p.awaitReady(t, typeDelay)
	for _, id := range ids {
		done := p.await(t, id)
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, done.State)
		require.EqualValues(t, 1, done.Attempt)
	}
	brokertest.Eventually(t, 10*time.Second, func() bool {
		_, err = p.admin.PauseTaskType(t.Context(), &adminv1.PauseTaskTypeRequest{TaskType: "acme.v1.Nobody.Does", Reason: "x"})
		return status.Code(err) == codes.NotFound
	})
	requireReason(t, err, "TASK_TYPE_NOT_FOUND")
}

// TestControlDrain: a worker that is told to drain finishes what runs, and ends.
func TestControlDrain(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	w := p.startWorker(t, "--concurrency", "4")
	p.awaitReady(t, typeDelay)
	var ids []string
	for range 8 {
		ids = append(ids, p.submit(t, typeDelay, delay(3*time.Second)).TaskId)
	}
	var shown *adminv1.Worker
	brokertest.Eventually(t, 20*time.Second, func() bool {
		r, err := p.admin.GetWorker(t.Context(), &adminv1.GetWorkerRequest{WorkerId: p.theWorker(t).WorkerId})
		shown = r.GetWorker()
		return err == nil && len(shown.RunningTasks) == 4
	})
	require.Equal(t, adminv1.WorkerState_WORKER_STATE_LIVE, shown.State)
	require.Contains(t, ids, shown.RunningTasks[0].TaskId)
	require.Equal(t, "e2e", shown.Version)
	require.NotEmpty(t, shown.Host)
	_, err := p.admin.DrainWorker(t.Context(), &adminv1.DrainWorkerRequest{WorkerId: shown.WorkerId, Reason: "the host is patched"})
	require.NoError(t, err)
	select {
	case <-w.done:
	case <-time.After(20 * time.Second):
		require.Fail(t, "the worker goes on")
	}
	require.Zero(t, w.cmd.ProcessState.ExitCode())
	require.NoError(t, w.said("the host is patched"))
	require.Equal(t, 4, p.recorder.tasks(), "it took no more")
	brokertest.Eventually(t, 10*time.Second, func() bool { return len(p.workers(t)) == 0 })
	p.startWorker(t)
	for _, id := range ids {
		done := p.await(t, id)
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, done.State)
		require.EqualValues(t, 1, done.Attempt)
	}
	_, err = p.admin.DrainWorker(t.Context(), &adminv1.DrainWorkerRequest{WorkerId: "00000000-0000-7000-8000-000000000000", Reason: "x"})
	requireReason(t, err, "WORKER_NOT_FOUND")
}

// TestControlQueues: what waits is seen, and can be purged, visibly.
func TestControlQueues(t *testing.T) {
	t.Parallel()
	p, b := onVHost(t)
	w := p.startWorker(t, "--concurrency", "2")
	p.awaitReady(t, typeFail)
	for range 10 {
		p.ask(t, typeFail, fail(codes.Unavailable, "later"), func(r *taskv1.SubmitTaskRequest) {
			r.Retry = quickly(3)
			r.Retry.Backoff.Kind = &taskv1.Backoff_Fixed{Fixed: durationpb.New(time.Hour)}
		})
	}
	brokertest.Eventually(t, 20*time.Second, func() bool { return len(p.listAll(t, "state = RETRYING", func() {})) == 10 })
	w.terminate(t, 10*time.Second)
	for range 40 {
		p.submit(t, typeFail, fail(codes.Unavailable, "later"))
	}
	var queue *adminv1.Queue
	brokertest.Eventually(t, 20*time.Second, func() error {
		r, err := p.admin.GetQueue(t.Context(), &adminv1.GetQueueRequest{TaskType: typeFail})
		if queue = r.GetQueue(); err == nil && (queue.GetReady() != 40 || queue.GetRetrying() != 10) {
			err = fmt.Errorf("%v", queue)
		}
		return err
	})
	require.Equal(t, "warren.work."+typeFail, queue.Name)
	require.Zero(t, queue.GetConsumers())
	require.Positive(t, queue.OldestAge.AsDuration())
	listed, err := p.admin.ListQueues(t.Context(), &adminv1.ListQueuesRequest{})
	require.NoError(t, err)
	require.Greater(t, len(listed.Queues), 3)

	purge := func(count int64) (*adminv1.PurgeQueueResponse, error) {
		return p.admin.PurgeQueue(t.Context(), &adminv1.PurgeQueueRequest{TaskType: typeFail, Count: count, Reason: "the customer has left"})
	}
	_, err = purge(49)
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	require.Equal(t, "50", requireReason(t, err, "COUNT_EXCEEDED").Metadata["count"])
	purged, err := purge(50)
	require.NoError(t, err)
	require.EqualValues(t, 40, purged.Ready)
	require.EqualValues(t, 10, purged.Retrying)
	brokertest.Eventually(t, 30*time.Second, func() error {
		if left := p.listAll(t, "-state = CANCELLED", func() {}); len(left) > 0 {
			return fmt.Errorf("%d are not cancelled: %v", len(left), left[0])
		}
		return nil
	})
	for _, task := range p.listAll(t, "", func() {}) {
		require.Equal(t, "the customer has left", task.CancelReason)
	}
	require.Zero(t, b.Queue(t, queue.Name).MessagesReady)
}

// TestControlPriority: a critical task behind fifty thousand others is started within
// one prefetch of each consumer.
func TestControlPriority(t *testing.T) {
	t.Parallel()
	const others, workers, concurrency = 50_000, 2, 4
	p, _ := onVHost(t)
	first := p.startWorker(t)
	p.awaitReady(t, typeDelay)
	first.terminate(t, 10*time.Second)
	d := &cancelDrill{p: p}
	d.fill(t)
	require.Len(t, d.all, others)
	for range workers {
		p.startWorker(t, "--concurrency", fmt.Sprint(concurrency))
	}
	brokertest.Eventually(t, 20*time.Second, func() bool { return p.recorder.all() > 100 })
	// What consumers have fetched, or is on its way to them, is ahead of it.
	const fetched = workers * (concurrency + concurrency/4)
	for _, level := range []taskv1.Priority{taskv1.Priority_PRIORITY_CRITICAL, 7, taskv1.Priority_PRIORITY_HIGH} {
		critical := p.ask(t, typeDelay, delay(0), func(r *taskv1.SubmitTaskRequest) { r.Priority = level })
		at := p.recorder.all()
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, critical.TaskId).State)
		place := p.recorder.lastOf(critical.TaskId).place
		t.Logf("%v: %d others were started before it since it was accepted", level, place-at-1)
		require.LessOrEqual(t, place-at-1, fetched)
	}
	low := p.ask(t, typeDelay, delay(0), func(r *taskv1.SubmitTaskRequest) { r.Priority = taskv1.Priority_PRIORITY_LOW })
	require.NoError(t, wait(t.Context(), 2*time.Second))
	require.Empty(t, p.recorder.of(low.TaskId), "LOW is behind everything")
	require.Less(t, p.recorder.all(), others, "there were others all the time")
}

// TestControlIdempotencyKey: a hundred submissions with one key are one task, though
// the gateway is killed among them.
func TestControlIdempotencyKey(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t)
	p.awaitReady(t, typeDelay)
	// A worker takes tasks once its types are stored: until then a gateway that is killed
	// knows none of them until the worker has repeated what it serves.
	p.await(t, p.submit(t, typeDelay, delay(0)).TaskId)
	for round := range 5 {
		request := &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(0)), IdempotencyKey: fmt.Sprint("order-", round)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		var wg sync.WaitGroup
		var mu sync.Mutex
		answers, created := map[string]int{}, 0
		for range 100 {
			wg.Go(func() {
				for ctx.Err() == nil {
					r, err := p.tasks.SubmitTask(ctx, request)
					if err == nil {
						mu.Lock()
						answers[r.Task.TaskId]++
						if !r.AlreadySubmitted {
							created++
						}
						mu.Unlock()
						return
					}
					if status.Code(err) != codes.Unavailable {
						t.Errorf("round %d: %v", round, err)
						return
					}
					_ = wait(ctx, 50*time.Millisecond)
				}
			})
		}
		require.NoError(t, wait(ctx, time.Duration(round)*4*time.Millisecond))
		p.gateway.kill()
		p.startGateway(t)
		wg.Wait()
		cancel()
		require.Len(t, answers, 1, "round %d: one task", round)
		require.LessOrEqual(t, created, 1)
		for id, n := range answers {
			require.Equal(t, 100, n)
			require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, id).State)
			require.Equal(t, []start{{1, 1}}, p.recorder.of(id))
		}
		require.Equal(t, 1+round+1, p.recorder.tasks())
	}
	_, err := p.tasks.SubmitTask(t.Context(), &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(time.Second)), IdempotencyKey: "order-0"})
	require.Equal(t, codes.AlreadyExists, status.Code(err))
	requireReason(t, err, "IDEMPOTENCY_KEY_CONFLICT")
}

// TestControlSubmitStream: a stream of submissions is answered in its order, good and
// bad ones, however fast it is sent.
func TestControlSubmitStream(t *testing.T) {
	t.Parallel()
	const n = 20_000
	p, _ := onVHost(t)
	p.startWorker(t)
	p.awaitReady(t, typeDelay)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	stream, err := p.tasks.SubmitTasks(ctx)
	require.NoError(t, err)
	sent := make(chan error, 1)
	good, bad := payload(t, delay(0)), payload(t, &demov1.FailRequest{})
	go func() {
		for i := range n {
			r := &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: good}
			if i%100 == 7 {
				r.Payload = bad
			}
			if err := stream.Send(&taskv1.SubmitTasksRequest{Request: r}); err != nil {
				sent <- err
				return
			}
		}
		sent <- stream.CloseSend()
	}()
	begin := time.Now()
	ids := map[string]bool{}
	for i := range n {
		m, err := stream.Recv()
		require.NoError(t, err)
		require.EqualValues(t, i+1, m.Number)
		if i%100 == 7 {
			requireReason(t, status.FromProto(m.GetError()).Err(), "PAYLOAD_TYPE_MISMATCH")
			continue
		}
		require.NotNil(t, m.GetResponse().GetTask(), "%v", m)
		ids[m.GetResponse().Task.TaskId] = true
	}
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, <-sent)
	require.Len(t, ids, n-n/100)
	t.Logf("%d submissions in %.1f s", n, time.Since(begin).Seconds())
	brokertest.Eventually(t, 60*time.Second, func() bool { return p.recorder.tasks() == len(ids) })
	require.Equal(t, len(ids), p.recorder.all())
}

// TestControlFullTypeStarvesNone: a type whose slots are all taken does not hold up
// another type on the same worker.
func TestControlFullTypeStarvesNone(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t, "--concurrency", "2")
	p.awaitReady(t, typeDelay)
	p.awaitReady(t, typeResult)
	p.submitMany(t, 500, func(int) *taskv1.SubmitTaskRequest {
		return &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(time.Minute))}
	})
	for range 50 {
		begin := time.Now()
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, p.submit(t, typeResult, &demov1.ThumbnailRequest{MaxWidth: 1, MaxHeight: 1}).TaskId).State)
		require.Less(t, time.Since(begin), 5*time.Second)
	}
}
