package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/broker/rabbitnode"
)

// submitMany submits n tasks from 32 callers; what is answered UNAVAILABLE with
// a task id is submitted again under it, as the error asks.
func (p *platform) submitMany(t testing.TB, n int, request func(i int) *taskv1.SubmitTaskRequest) []string {
	t.Helper()
	ids := make([]string, n)
	var g errgroup.Group
	g.SetLimit(32)
	for i := range n {
		g.Go(func() error {
			r := request(i)
			for {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				answer, err := p.tasks.SubmitTask(ctx, r)
				cancel()
				if err == nil {
					ids[i] = answer.Task.TaskId
					return nil
				}
				if status.Code(err) != codes.Unavailable || t.Context().Err() != nil {
					return err
				}
				if id := infoOf(err).GetMetadata()["task_id"]; id != "" {
					r.TaskId = id
				}
				_ = wait(t.Context(), 50*time.Millisecond)
			}
		})
	}
	require.NoError(t, g.Wait())
	return ids
}

// 1,000 tasks that always fail, three attempts each, while the intake is killed
// three times and the broker restarted once: exactly 1,000 dead letters. Then all
// are replayed against a mended handler: each succeeds, started once more.
func TestReplayOfAThousand(t *testing.T) {
	t.Parallel()
	const n = 1000
	node := brokertest.StartNode(t, rabbitnode.NodeConfig{})
	b := brokertest.VHostOn(t, node)
	p := newPlatform(t, b.URL)
	broken := p.startWorker(t, "--concurrency", "32")
	p.startDeadletter(t)
	p.awaitReady(t, typeFail)
	require.NoError(t, node.Sync(t.Context()))
	p.awaitDead(t, "", 0, 20*time.Second)

	ctx, stop := context.WithCancel(t.Context())
	var faults sync.WaitGroup
	var inFlight atomic.Int64
	faults.Go(func() {
		for i := range 4 {
			if wait(ctx, time.Duration(500+rand.IntN(500))*time.Millisecond) != nil {
				return
			}
			if i == 1 {
				inFlight.Store(int64(b.Queue(t, "warren.work."+typeFail).MessagesUnacknowledged) + 32 + 8)
				if err := errors.Join(node.Stop(ctx), node.Restart(ctx)); err != nil {
					t.Error(err)
				}
				continue
			}
			p.deadletter.kill()
			p.startDeadletter(t)
		}
	})
	ids := p.submitMany(t, n, func(i int) *taskv1.SubmitTaskRequest {
		return &taskv1.SubmitTaskRequest{Type: typeFail, Payload: payload(t, fail(codes.Unavailable, fmt.Sprint("task ", i))), Retry: quickly(3)}
	})
	faults.Wait()
	stop()
	dead := p.awaitDead(t, `state = "OPEN"`, n, 90*time.Second)
	require.Len(t, p.list(t, ""), n)
	known := map[string]bool{}
	for _, d := range dead {
		known[d.TaskId] = true
		require.Equal(t, taskv1.Cause_CAUSE_ATTEMPTS_EXHAUSTED, d.Cause)
		require.EqualValues(t, 3, d.Attempt)
		require.EqualValues(t, 1, d.OccurrenceCount)
	}
	extra := 0
	for _, id := range ids {
		require.True(t, known[id], "task %s has no dead letter", id)
		extra += p.requireAttempts(t, id, 3)
	}
	require.LessOrEqual(t, extra, int(inFlight.Load()), "more was executed again than was in flight at the restart")
	t.Logf("%d further executions, all marked", extra)

	broken.terminate(t, 20*time.Second)
	p.env = append(p.env, mendedEnv+"=1")
	p.startWorker(t, "--concurrency", "32")
	call, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r, err := p.dead.ReplayDeadLetters(call, &deadletterv1.ReplayDeadLettersRequest{Filter: `state = "OPEN"`, MaxItems: n, Reason: "mended"})
	require.NoError(t, err)
	require.EqualValues(t, n, r.Replayed)
	p.awaitDead(t, `state = "RESOLVED"`, n, 90*time.Second)
	for _, id := range ids {
		done := p.await(t, id)
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, done.State)
		require.EqualValues(t, 2, done.Run)
		again := 0
		for _, s := range p.recorder.of(id) {
			if s.run == 2 {
				again++
			}
		}
		require.Equal(t, 1, again, "task %s was started %d times in its replay", id, again)
	}
}

// requireAttempts demands that each attempt of the first run was decided once,
// and every further execution is marked; it returns how many there were.
func (p *platform) requireAttempts(t testing.TB, id string, attempts int) (extra int) {
	t.Helper()
	decided := map[int32]int{}
	started := map[int]int{}
	for _, s := range p.recorder.of(id) {
		started[s.attempt]++
	}
	for _, a := range p.attempts(t, id) {
		if a.Run != 1 {
			continue
		}
		if a.Decision != "" {
			decided[a.Attempt]++
		}
		if a.Extra {
			extra++
		}
	}
	again := 0
	for attempt, n := range started {
		require.LessOrEqual(t, attempt, attempts)
		again += n - 1
	}
	require.LessOrEqual(t, again, extra, "task %s was executed %d times more, %d of them marked", id, again, extra)
	for i := range attempts {
		require.Equal(t, 1, decided[int32(i+1)], "attempt %d of task %s: %v", i+1, id, p.attempts(t, id))
	}
	return extra
}

// TestPromise7: a replay happens once, whoever asks for it, however often, and
// whatever dies meanwhile.
func TestPromise7(t *testing.T) {
	t.Parallel()
	const letters, clients = 20, 8
	p, _ := onVHost(t)
	broken := p.startWorker(t)
	p.startDeadletter(t)
	p.awaitReady(t, typeFail)
	ids := p.submitMany(t, letters, func(int) *taskv1.SubmitTaskRequest {
		return &taskv1.SubmitTaskRequest{Type: typeFail, Payload: payload(t, fail(codes.NotFound, "x"))}
	})
	p.awaitDead(t, `state = "OPEN"`, letters, 30*time.Second)
	broken.terminate(t, 10*time.Second)
	p.env = append(p.env, mendedEnv+"=1")
	p.startWorker(t)

	ctx, stop := context.WithCancel(t.Context())
	var killer sync.WaitGroup
	killer.Go(func() {
		for wait(ctx, time.Duration(50+rand.IntN(300))*time.Millisecond) == nil {
			p.deadletter.kill()
			p.startDeadletter(t)
			p.awaitDead(t, "", letters, 30*time.Second)
		}
	})
	var won atomic.Int64
	var race errgroup.Group
	for _, id := range ids {
		for range clients {
			race.Go(func() error {
				for {
					call, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					_, err := p.dead.ReplayDeadLetter(call, &deadletterv1.ReplayDeadLetterRequest{DeadLetterId: id, Reason: "race"})
					cancel()
					switch status.Code(err) {
					case codes.OK:
						won.Add(1)
						return nil
					case codes.FailedPrecondition, codes.Aborted:
						return nil
					case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
						_ = wait(t.Context(), 20*time.Millisecond)
					default:
						return err
					}
				}
			})
		}
	}
	require.NoError(t, race.Wait())
	stop()
	killer.Wait()
	require.LessOrEqual(t, won.Load(), int64(letters))
	p.awaitDead(t, `state = "RESOLVED"`, letters, 60*time.Second)
	for _, id := range ids {
		done := p.await(t, id)
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, done.State)
		require.EqualValues(t, 2, done.Run, "task %s", id)
		require.Equal(t, []start{{1, 1}, {2, 1}}, p.recorder.of(id))
	}
}

// One task that kills its worker, among 200 good ones on three workers that are
// started again: the good ones succeed and spend no attempt, the killer dies.
func TestFaultKillerAmongGoodTasks(t *testing.T) {
	t.Parallel()
	const good = 200
	p, _ := onVHost(t)
	p.startDeadletter(t)
	ctx, stop := context.WithCancel(t.Context())
	var keepers sync.WaitGroup
	var crashes atomic.Int64
	for range 3 {
		w := p.startWorker(t, "--concurrency", "8")
		keepers.Go(func() {
			for {
				select {
				case <-w.done:
					crashes.Add(1)
					w = p.startWorker(t, "--concurrency", "8")
				case <-ctx.Done():
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		stop()
		keepers.Wait()
	})
	p.awaitReady(t, typeDelay)
	p.awaitReady(t, typeExit)
	sent := &demov1.ExitRequest{}
	var killer string
	ids := p.submitMany(t, good, func(i int) *taskv1.SubmitTaskRequest {
		if i == good/4 {
			killer = p.ask(t, typeExit, sent, func(r *taskv1.SubmitTaskRequest) { r.Retry = quickly(3) }).TaskId
		}
		return &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(100*time.Millisecond))}
	})
	for _, id := range ids {
		ctx, cancel := context.WithTimeout(t.Context(), 120*time.Second)
		r, err := p.tasks.WaitTask(ctx, &taskv1.WaitTaskRequest{TaskId: id})
		cancel()
		require.NoError(t, err)
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, r.Task.State, "%v: %v", r.Task, p.attempts(t, id))
		require.EqualValues(t, 1, r.Task.Attempt, "a neighbour spent an attempt: %v", p.attempts(t, id))
	}
	brokertest.Eventually(t, 120*time.Second, func() error {
		r, err := p.tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: killer})
		if err != nil || r.Task.State != taskv1.TaskState_TASK_STATE_DEAD_LETTERED {
			return fmt.Errorf("the killer: %v, %w", r, err)
		}
		return nil
	})
	stop()
	keepers.Wait()
	ended, d := p.requireDead(t, killer, taskv1.Cause_CAUSE_DELIVERY_LIMIT, sent)
	require.Equal(t, "WORKER_CRASHED", d.Reason)
	require.EqualValues(t, 3, ended.Attempt)
	alone := 0
	for _, a := range p.attempts(t, killer) {
		if a.Alone {
			alone++
			require.Equal(t, taskv1.AttemptOutcome_ATTEMPT_OUTCOME_CRASHED, a.Outcome)
		}
	}
	require.Equal(t, 3, alone, "attempts that count ran alone: %v", p.attempts(t, killer))
	t.Logf("%d workers were killed, the killer was started %d times", crashes.Load(), len(p.recorder.of(killer)))
}
