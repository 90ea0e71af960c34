package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

// Size of the drill of promise 6.
const (
	cancelQueued = 50_000
	cancelEach   = 10 // one task of so many is cancelled
	cancelFilter = "labels.cancel = yes"
)

// TestPromise6Cancelled: none is started once it was answered that it is cancelled,
// while workers drain the queue, one of them is restarted, one is cut off from the
// broker and one is stopped without its knowing.
func TestPromise6Cancelled(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	p := newPlatform(t, b.URL)
	// It makes the type known, and is gone when the queue is filled.
	first := p.startWorker(t)
	p.awaitReady(t, typeDelay)
	first.terminate(t, 10*time.Second)
	d := &cancelDrill{p: p, answered: map[string]time.Time{}}
	d.fill(t)

	proxy := brokertest.NewProxy(t, b.URL)
	p.startWorker(t, "--concurrency", "8")
	restarted := p.startWorker(t, "--concurrency", "8", "--grace", "1s")
	p.startWorkerOn(t, proxy.URL(), "--concurrency", "8")
	stopped := p.startWorker(t, "--concurrency", "8")
	brokertest.Eventually(t, 30*time.Second, func() bool { return p.recorder.all() > 1000 })

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	watching, stopWatching := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { d.watch(t, watching) })
	var faults sync.WaitGroup
	proxy.Stall()
	stopped.pause(t)
	faults.Go(func() {
		restarted.kill()
		p.startWorker(t, "--concurrency", "8")
		_ = wait(ctx, 25*time.Second)
		proxy.Restore()
		stopped.resume(t)
	})
	d.cancel(t, ctx)
	faults.Wait()
	d.finish(t, ctx)
	stopWatching()
	watch.Wait()
	d.examine(t)
}

// cancelDrill is a queue of which a part is cancelled.
type cancelDrill struct {
	p           *platform
	doomed, all []string

	mu sync.Mutex
	// answered is when a task was first shown to be CANCELLED.
	answered map[string]time.Time
}

func (d *cancelDrill) fill(t testing.TB) {
	payloads := payload(t, delay(0))
	for n := 0; n < cancelQueued; n += listBatch {
		var requests []*taskv1.SubmitTaskRequest
		for i := range listBatch {
			r := &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payloads}
			if i%cancelEach == 0 {
				r.Labels = map[string]string{"cancel": "yes"}
			}
			requests = append(requests, r)
		}
		tasks, err := d.p.submitAll(t.Context(), requests)
		require.NoError(t, err)
		for i, task := range tasks {
			d.all = append(d.all, task.TaskId)
			if i%cancelEach == 0 {
				d.doomed = append(d.doomed, task.TaskId)
			}
		}
	}
	d.p.awaitStored(t, d.all[len(d.all)-1])
}

// watch notes when each task was first shown to be CANCELLED.
func (d *cancelDrill) watch(t testing.TB, ctx context.Context) {
	stream, err := d.p.tasks.WatchTasks(ctx, &taskv1.WatchTasksRequest{Filter: cancelFilter + " AND state = CANCELLED"})
	if err != nil {
		t.Errorf("watch: %v", err)
		return
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			if ctx.Err() == nil {
				t.Errorf("watch: %v", err)
			}
			return
		}
		if m.Event != nil {
			d.note(m.Task.TaskId)
		}
	}
}

func (d *cancelDrill) note(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.answered[id]; !known {
		d.answered[id] = time.Now()
	}
}

// cancel cancels by filter, and a few tasks by themselves meanwhile.
func (d *cancelDrill) cancel(t testing.TB, ctx context.Context) {
	preview, err := d.p.tasks.CancelTasks(ctx, &taskv1.CancelTasksRequest{Filter: cancelFilter, Reason: "drill", ValidateOnly: true})
	require.NoError(t, err)
	require.Positive(t, preview.Matched)
	require.LessOrEqual(t, preview.Matched, int64(len(d.doomed)))
	_, err = d.p.tasks.CancelTasks(ctx, &taskv1.CancelTasksRequest{Filter: cancelFilter, Reason: "drill", MaxCount: 10})
	requireReason(t, err, "COUNT_EXCEEDED")
	var wg sync.WaitGroup
	for range 20 {
		id := d.doomed[rand.IntN(len(d.doomed))]
		wg.Go(func() {
			r, err := d.p.tasks.CancelTask(ctx, &taskv1.CancelTaskRequest{TaskId: id, Reason: "drill", Timeout: durationpb.New(time.Minute)})
			if err != nil {
				t.Errorf("cancel %s: %v", id, err)
			} else if r.Outcome == taskv1.CancelOutcome_CANCEL_OUTCOME_CANCELLED {
				d.note(id)
			}
		})
	}
	begin := time.Now()
	r, err := d.p.tasks.CancelTasks(ctx, &taskv1.CancelTasksRequest{Filter: cancelFilter, Reason: "drill", Timeout: durationpb.New(100 * time.Millisecond)})
	require.NoError(t, err)
	require.Equal(t, r.Matched, r.Cancelled+r.Requested+r.Ended)
	require.NotEmpty(t, r.WaitingFor, "two workers can't have answered")
	t.Logf("%d of %d matched after %.1f s: %d cancelled, %d requested, %d ended; waiting for %v",
		r.Matched, len(d.doomed), time.Since(begin).Seconds(), r.Cancelled, r.Requested, r.Ended, r.WaitingFor)
	wg.Wait()
}

// finish waits until every task has ended.
func (d *cancelDrill) finish(t testing.TB, ctx context.Context) {
	brokertest.Eventually(t, 2*time.Minute, func() error {
		r, err := d.p.tasks.CancelTasks(ctx, &taskv1.CancelTasksRequest{Filter: "task_id = *", Reason: "drill", ValidateOnly: true, MaxCount: 100_000})
		if err == nil && r.Matched > 0 {
			err = fmt.Errorf("%d tasks have not ended: %v", r.Matched, r.States)
		}
		return err
	})
}

func (d *cancelDrill) examine(t testing.TB) {
	states := map[string]taskv1.TaskState{}
	listed := 0
	for _, task := range d.p.listAll(t, cancelFilter, func() {}) {
		states[task.TaskId] = task.State
		if task.State == taskv1.TaskState_TASK_STATE_CANCELLED {
			listed++
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, state := range states {
		if _, seen := d.answered[id]; state == taskv1.TaskState_TASK_STATE_CANCELLED {
			require.True(t, seen, "a watch sees each cancellation: %s", id)
		}
	}
	require.Greater(t, listed, 100, "most were started before")
	corrected := 0
	late, started := 0, 0
	for id, at := range d.answered {
		last := d.p.recorder.lastOf(id)
		if last.place > 0 {
			started++
		}
		if states[id] != taskv1.TaskState_TASK_STATE_CANCELLED {
			// A handler that ran on a worker which was taken for gone has ended well.
			corrected++
			require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, states[id], "%s", id)
			require.NotZero(t, last.place, "%s", id)
		}
		if last.at.After(at) {
			if late++; late <= 5 {
				t.Errorf("task %s was answered CANCELLED at %v and started at %v", id, at, last.at)
			}
		}
	}
	require.Zero(t, late, "tasks that were started after they were CANCELLED")
	succeeded := d.p.listAll(t, "state = SUCCEEDED", func() {})
	require.Equal(t, len(d.all), len(succeeded)+listed, "each has ended one way or the other")
	require.LessOrEqual(t, corrected, 32, "no more than ran")
	t.Logf("%d cancelled, %d of them had been started, %d were corrected; %d succeeded", listed, started, corrected, len(succeeded))
}

// TestControlCancel: whatever a task does, cancelling it says how it ends.
func TestControlCancel(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	p.startWorker(t, "--concurrency", "2")
	p.awaitReady(t, typeDelay)
	cancel := func(id string) *taskv1.CancelTaskResponse {
		t.Helper()
		r, err := p.tasks.CancelTask(t.Context(), &taskv1.CancelTaskRequest{TaskId: id, Reason: "not needed any more", Timeout: durationpb.New(20 * time.Second)})
		require.NoError(t, err)
		return r
	}
	const cancelled, ended = taskv1.CancelOutcome_CANCEL_OUTCOME_CANCELLED, taskv1.CancelOutcome_CANCEL_OUTCOME_ENDED

	running := []string{p.submit(t, typeDelay, delay(time.Minute)).TaskId, p.submit(t, typeDelay, delay(time.Minute)).TaskId}
	brokertest.Eventually(t, 10*time.Second, func() bool { return p.recorder.all() == 2 })
	queued := p.submit(t, typeDelay, delay(0)).TaskId
	scheduled := p.ask(t, typeDelay, delay(0), func(r *taskv1.SubmitTaskRequest) { r.Delay = durationpb.New(time.Hour) })
	require.Equal(t, taskv1.TaskState_TASK_STATE_SCHEDULED, scheduled.State)
	retrying := p.ask(t, typeFail, fail(codes.Unavailable, "later"), func(r *taskv1.SubmitTaskRequest) {
		r.Retry = quickly(3)
		r.Retry.Backoff.Kind = &taskv1.Backoff_Fixed{Fixed: durationpb.New(time.Hour)}
	}).TaskId
	p.awaitState(t, retrying, taskv1.TaskState_TASK_STATE_RETRYING)

	// The slots are taken until a running one is cancelled.
	for _, c := range []struct{ name, id string }{
		{"queued", queued}, {"scheduled", scheduled.TaskId}, {"retrying", retrying}, {"running", running[0]},
	} {
		name, id := c.name, c.id
		r := cancel(id)
		require.Equal(t, cancelled, r.Outcome, "%s: %v", name, r)
		require.Equal(t, taskv1.TaskState_TASK_STATE_CANCELLED, r.Task.State, name)
		require.Equal(t, "not needed any more", r.Task.CancelReason, name)
		require.Nil(t, r.Task.CancelRequest, name)
		require.Equal(t, cancelled, cancel(id).Outcome, "%s: asked again", name)
	}
	attempts := p.attempts(t, running[0])
	require.Len(t, attempts, 1)
	require.Equal(t, taskv1.AttemptOutcome_ATTEMPT_OUTCOME_CANCELLED, attempts[0].Outcome)
	require.Empty(t, p.recorder.of(queued))
	require.Len(t, p.recorder.of(retrying), 1)

	// A handler that has its way ends as it will.
	stubborn := p.submit(t, typeStuck, &demov1.FailTimesRequest{Times: 2}).TaskId
	brokertest.Eventually(t, 10*time.Second, func() bool { return len(p.recorder.of(stubborn)) == 1 })
	r := cancel(stubborn)
	require.Equal(t, ended, r.Outcome)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, r.Task.State)

	_, err := p.tasks.CancelTask(t.Context(), &taskv1.CancelTaskRequest{TaskId: task.NewID()})
	requireReason(t, err, "TASK_NOT_FOUND")
	_, err = p.tasks.CancelTasks(t.Context(), &taskv1.CancelTasksRequest{Filter: "stat = QUEUED", Reason: "x"})
	requireReason(t, err, "FILTER_INVALID")
	require.Equal(t, taskv1.TaskState_TASK_STATE_RUNNING, p.awaitState(t, running[1], taskv1.TaskState_TASK_STATE_RUNNING).State, "others are not concerned")
}

// TestControlCancellationsOutliveRestarts: what is cancelled while no worker lives is
// CANCELLED at once, and a worker that comes later knows it, whatever was restarted
// in between.
func TestControlCancellationsOutliveRestarts(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t)
	first := p.startWorker(t)
	p.awaitReady(t, typeDelay)
	first.terminate(t, 10*time.Second)
	var doomed, others []string
	for range 50 {
		doomed = append(doomed, p.submit(t, typeDelay, delay(0)).TaskId)
		others = append(others, p.submit(t, typeDelay, delay(0)).TaskId)
	}
	for i, id := range doomed {
		r, err := p.tasks.CancelTask(t.Context(), &taskv1.CancelTaskRequest{TaskId: id, Reason: "drill", Timeout: durationpb.New(30 * time.Second)})
		require.NoError(t, err)
		require.Equal(t, taskv1.CancelOutcome_CANCEL_OUTCOME_CANCELLED, r.Outcome, "%v", r)
		if i == 25 {
			p.gateway.kill()
			p.startGateway(t)
			p.awaitHealth(t, taskv1.TaskService_ServiceDesc.ServiceName, true, 20*time.Second)
		}
	}
	p.gateway.kill()
	late := p.startWorker(t)
	brokertest.Eventually(t, 20*time.Second, func() error { return late.said("waiting for a gateway") })
	require.Zero(t, p.recorder.all(), "it can't know what is cancelled")
	p.startGateway(t)
	p.awaitReady(t, typeDelay)
	for _, id := range others {
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, p.await(t, id).State)
	}
	for _, id := range doomed {
		require.Equal(t, taskv1.TaskState_TASK_STATE_CANCELLED, p.await(t, id).State)
		require.Empty(t, p.recorder.of(id))
	}
}

// awaitState waits until a task is in a state.
func (p *platform) awaitState(t testing.TB, id string, state taskv1.TaskState) (shown *taskv1.Task) {
	t.Helper()
	brokertest.Eventually(t, 20*time.Second, func() error {
		r, err := p.tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: id})
		if err == nil && r.Task.State != state {
			err = fmt.Errorf("%s is %v, not %v", id, r.Task.State, state)
		}
		shown = r.GetTask()
		return err
	})
	return shown
}
