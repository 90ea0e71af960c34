package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/task"
)

// place is a gateway, a worker of Delay, and what its handler does.
type place struct {
	*gateway
	broker brokertest.Broker
	// proxy has the worker's connections.
	proxy *brokertest.Proxy
	stop  func()
}

// workplace starts both. Retries come after 20 ms, edit changes the options.
func workplace(t testing.TB, handler func(context.Context) error, edit ...func(*taskv1.TaskOptions)) place {
	t.Helper()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.setOptions(typeDelay, edit...)
	proxy := brokertest.NewProxy(t, b.URL)
	_, stop := run(t, &faults{delay: handler}, Config{AMQPURLs: []string{proxy.URL()}})
	return place{g, b, proxy, stop}
}

func (g *gateway) setOptions(taskType string, edit ...func(*taskv1.TaskOptions)) {
	o := &taskv1.TaskOptions{Timeout: durationpb.New(time.Minute), Retry: &taskv1.RetryPolicy{
		MaxAttempts: 3, Backoff: &taskv1.Backoff{Kind: &taskv1.Backoff_Fixed{Fixed: durationpb.New(20 * time.Millisecond)}, Jitter: taskv1.Jitter_JITTER_NONE},
	}}
	for _, f := range edit {
		f(o)
	}
	g.Change(func() { g.Policies[taskType].Options = o })
}

func TestFailedAttemptsAreTriedAgain(t *testing.T) {
	t.Parallel()
	var starts atomic.Int32
	p := workplace(t, func(ctx context.Context) error {
		info, _ := task.FromContext(ctx)
		if n := starts.Add(1); int(n) != info.Attempt {
			t.Errorf("start %d was told that it is attempt %d", n, info.Attempt)
		}
		if info.Attempt < 3 {
			return status.Error(codes.Unavailable, "not now")
		}
		return nil
	})
	id := p.Submit(t, typeDelay)
	p.Await(t, id, task.PhaseSucceeded)
	retries := p.Of(id, task.PhaseRetrying)
	require.Len(t, retries, 2)
	for i, e := range retries {
		require.Equal(t, i+1, e.Key.Attempt)
		require.Equal(t, i+2, e.NextAttempt)
		require.Equal(t, "not now", e.Failure.Message)
		require.Contains(t, e.Decision, fmt.Sprintf("attempt %d of 3: UNAVAILABLE is retryable", i+1))
		started := p.Of(id, task.PhaseStarted)[i+1]
		require.False(t, started.Time.Before(e.NextAttemptTime.Add(-time.Millisecond)), "attempt %d was started %v early", i+2, e.NextAttemptTime.Sub(started.Time))
		require.False(t, started.Execution.Redelivered)
	}
	require.EqualValues(t, 3, starts.Load())
	requests, _ := p.Snapshot()
	for _, r := range requests {
		require.True(t, r.GetStart() == nil && r.GetStarts() == nil, "nothing is asked for a retry")
	}
	p.stop()
	p.RequireSettled(t, typeDelay)
}

func TestAttemptsEnd(t *testing.T) {
	t.Parallel()
	p := workplace(t, func(ctx context.Context) error {
		info, _ := task.FromContext(ctx)
		return status.Errorf(codes.Unavailable, "attempt %d", info.Attempt)
	})
	id := p.Submit(t, typeDelay)
	dead := p.Await(t, id, task.PhaseDeadLettered)
	require.Equal(t, 3, dead.Key.Attempt)
	require.Equal(t, task.CauseAttemptsExhausted, dead.Cause)
	require.Equal(t, "attempt 3", dead.Failure.Message)
	p.AwaitReady(t, p.Names.Dead(), 1)
	m := p.broker.Drain(t, p.Names.Dead())[0]
	require.Equal(t, "ATTEMPTS_EXHAUSTED", m.Headers["x-opt-warren-cause"])
	require.EqualValues(t, 3, m.Headers["x-opt-warren-attempt"])
	require.Equal(t, dead.Decision, m.Headers["x-opt-warren-decision"])
	h := historyOf(t, m.Headers)
	require.Len(t, h.Attempts, 3)
	for i, a := range h.Attempts {
		require.EqualValues(t, i+1, a.Attempt)
		require.Equal(t, fmt.Sprintf("attempt %d", i+1), a.Failure.Message)
		require.Equal(t, "v-test", a.WorkerVersion)
		require.NotEmpty(t, a.Decision)
		require.False(t, a.EndTime.AsTime().Before(a.StartTime.AsTime()))
	}
}

func TestWhatAHandlerAdvises(t *testing.T) {
	t.Parallel()
	info, err := status.New(codes.Aborted, "busy").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(70 * time.Millisecond)})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		err     error
		phase   task.Phase
		next    int
		after   time.Duration
		snoozed bool
	}{
		"permanent":   {err: task.Permanent(status.Error(codes.Unavailable, "gone for good")), phase: task.PhaseDeadLettered},
		"retry after": {err: task.RetryAfter(status.Error(codes.NotFound, "not yet"), 60*time.Millisecond), phase: task.PhaseRetrying, next: 2, after: 60 * time.Millisecond},
		"retry info":  {err: info.Err(), phase: task.PhaseRetrying, next: 2, after: 70 * time.Millisecond},
		"snooze":      {err: task.Snooze(50 * time.Millisecond), phase: task.PhaseRetrying, next: 1, after: 50 * time.Millisecond, snoozed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var starts atomic.Int32
			p := workplace(t, func(context.Context) error {
				if starts.Add(1) == 1 {
					return c.err
				}
				return nil
			})
			id := p.Submit(t, typeDelay)
			e := p.Await(t, id, c.phase)
			if c.phase == task.PhaseDeadLettered {
				require.Equal(t, task.CausePermanentFailure, e.Cause)
				return
			}
			require.Equal(t, c.next, e.NextAttempt)
			require.InDelta(t, c.after.Seconds(), e.NextAttemptTime.Sub(e.Time).Seconds(), 0.02)
			require.Equal(t, c.snoozed, e.Failure == nil)
			require.Equal(t, c.next, p.Await(t, id, task.PhaseSucceeded).Key.Attempt)
		})
	}
}

func TestSubmissionsOwnPolicy(t *testing.T) {
	t.Parallel()
	p := workplace(t, func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	id := p.Submit(t, typeDelay, func(m *broker.TaskMessage) {
		m.Timeout, m.Retry = durationpb.New(50*time.Millisecond), &taskv1.RetryPolicy{MaxAttempts: 2}
	})
	dead := p.Await(t, id, task.PhaseDeadLettered)
	require.Equal(t, 2, dead.Key.Attempt)
	require.Equal(t, task.KindTimeout, dead.Failure.Kind)
	require.Equal(t, "ATTEMPT_TIMED_OUT", policy.Reason(dead.Failure))
	require.EqualValues(t, codes.DeadlineExceeded, dead.Failure.Code)
}

func TestNeverStartedAfterItsTime(t *testing.T) {
	t.Parallel()
	started := make(chan struct{}, 1)
	p := workplace(t, func(context.Context) error {
		started <- struct{}{}
		return nil
	})
	id := p.Submit(t, typeDelay, func(m *broker.TaskMessage) { m.ExpireTime = time.Now().Add(-time.Minute) })
	dead := p.Await(t, id, task.PhaseDeadLettered)
	require.Equal(t, task.CauseExpired, dead.Cause)
	require.Empty(t, p.Of(id, task.PhaseStarted))
	require.Empty(t, started)
	p.AwaitReady(t, p.Names.Dead(), 1)
}

func TestRetryThatWouldBeTooLateExpires(t *testing.T) {
	t.Parallel()
	p := workplace(t, func(context.Context) error { return task.RetryAfter(errors.New("later"), time.Hour) })
	id := p.Submit(t, typeDelay, func(m *broker.TaskMessage) { m.ExpireTime = time.Now().Add(time.Minute) })
	require.Equal(t, task.CauseExpired, p.Await(t, id, task.PhaseDeadLettered).Cause)
}

func TestAtMostOnceAsksForEveryStart(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var starts atomic.Int32
	p := workplace(t, func(ctx context.Context) error {
		starts.Add(1)
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}, func(o *taskv1.TaskOptions) {
		yes := true
		o.AtMostOnce, o.Retry = &yes, nil
	})
	id := p.Submit(t, typeDelay)
	p.Await(t, id, task.PhaseStarted)
	p.proxy.Drop()
	dead := p.Await(t, id, task.PhaseDeadLettered)
	require.Equal(t, task.CauseDeliveryLimit, dead.Cause)
	require.Equal(t, "AT_MOST_ONCE", policy.Reason(dead.Failure))
	require.EqualValues(t, 1, starts.Load())

	id = p.Submit(t, typeDelay)
	p.Await(t, id, task.PhaseStarted)
	close(release)
	p.Await(t, id, task.PhaseSucceeded)
}

func TestReplayWaitsForItsPermit(t *testing.T) {
	t.Parallel()
	var starts atomic.Int32
	p := workplace(t, func(context.Context) error {
		starts.Add(1)
		return nil
	})
	id, copies := task.NewID(), []task.Copy{task.NewCopy(), task.NewCopy()}
	for _, c := range copies {
		p.Submit(t, typeDelay, func(m *broker.TaskMessage) { m.ID, m.Run, m.Copy, m.Resend = id, 2, c, true })
	}
	p.Await(t, id, task.PhaseSucceeded)
	p.stop()
	p.RequireSettled(t, typeDelay)
	require.EqualValues(t, 1, starts.Load(), "two messages of a run are started once")
}

// historyOf is the history that a dead letter has as a header.
func historyOf(t testing.TB, headers map[string]any) *brokerv1.AttemptHistory {
	t.Helper()
	b, ok := headers["x-opt-warren-history"].([]byte)
	if !ok { // RabbitMQ hands short binary over as text
		b = []byte(headers["x-opt-warren-history"].(string))
	}
	h := &brokerv1.AttemptHistory{}
	require.NoError(t, proto.Unmarshal(b, h))
	return h
}

func TestStuckHandlersAreWrittenOff(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.setOptions(typeDelay, func(o *taskv1.TaskOptions) {
		o.Timeout, o.Retry.MaxAttempts = durationpb.New(10*time.Millisecond), 1
	})
	w, err := New(Config{AMQPURLs: []string{b.URL}, Logger: quiet(), MaxStuck: 2, Concurrency: 4, Grace: -1})
	require.NoError(t, err)
	w.patience = 50 * time.Millisecond
	release := make(chan struct{})
	defer close(release)
	demov1.RegisterFaultServiceServer(w, &faults{delay: func(context.Context) error {
		<-release
		return nil
	}})
	ended := make(chan error, 1)
	go func() { ended <- w.Run(t.Context()) }()
	for range 2 {
		id := g.Submit(t, typeDelay)
		dead := g.Await(t, id, task.PhaseDeadLettered)
		require.EqualValues(t, codes.DeadlineExceeded, dead.Failure.Code)
		require.Equal(t, task.KindTimeout, dead.Failure.Kind)
		require.Equal(t, "HANDLER_STUCK", policy.Reason(dead.Failure))
	}
	require.ErrorIs(t, await(t, ended), ErrStuck)
	g.AwaitReady(t, g.Names.Dead(), 2)
}

func TestHandlerThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	p := workplace(t, func(context.Context) error {
		runtime.Goexit()
		return nil
	}, func(o *taskv1.TaskOptions) { o.Retry.MaxAttempts = 1 })
	dead := p.Await(t, p.Submit(t, typeDelay), task.PhaseDeadLettered)
	require.EqualValues(t, codes.Internal, dead.Failure.Code)
	require.Contains(t, dead.Failure.Message, "goroutine")
}

// lostAlone plays a worker that starts a task alone, says so, and is gone.
func (p place) lostAlone(t testing.TB, id string) task.Event {
	t.Helper()
	e := p.Await(t, id, task.PhaseStarted)
	e.Execution = &task.Execution{Alone: true, Host: "h", Version: "v"}
	return e
}

func TestAttemptThatTookItsWorkerDownIsSpent(t *testing.T) {
	t.Parallel()
	var starts atomic.Int32
	release := make(chan struct{})
	p := workplace(t, func(ctx context.Context) error {
		if starts.Add(1) == 1 {
			<-ctx.Done()
			// A worker that is gone says nothing: this one must not either.
			<-release
			return ctx.Err()
		}
		return nil
	})
	id := p.Submit(t, typeDelay)
	// It looks as if the start had been alone, and its worker gone.
	e := p.lostAlone(t, id)
	p.Change(func() {
		p.Unheard = task.PhaseLost
		for i := range p.Events {
			if p.Events[i].Key == e.Key {
				p.Events[i] = e
			}
		}
	})
	p.proxy.Drop()
	retry := p.Await(t, id, task.PhaseRetrying)
	require.Equal(t, e.Key.Delivery, retry.Key.Delivery, "it is the crashed execution that is decided about")
	require.Equal(t, 2, retry.NextAttempt)
	require.Equal(t, task.KindCrash, retry.Failure.Kind)
	require.Equal(t, "WORKER_CRASHED", policy.Reason(retry.Failure))

	// The next one is to be alone as well: it waits for the first, which is here.
	close(release)
	done := p.Await(t, id, task.PhaseSucceeded)
	require.Equal(t, 2, done.Key.Attempt)
	alone := p.Of(id, task.PhaseStarted)
	require.True(t, alone[len(alone)-1].Execution.Alone)
}

// A connection that is lost is no crash, however slow the handler is to notice.
func TestLostConnectionIsNoCrash(t *testing.T) {
	t.Parallel()
	var starts atomic.Int32
	var started [5]chan struct{}
	for i := range started {
		started[i] = make(chan struct{})
	}
	p := workplace(t, func(ctx context.Context) error {
		n := starts.Add(1)
		close(started[n])
		if n > 3 {
			return nil
		}
		<-ctx.Done()
		// It returns only once the task runs again elsewhere.
		<-started[n+1]
		return ctx.Err()
	}, func(o *taskv1.TaskOptions) { o.Retry.MaxAttempts = 1 })
	id := p.Submit(t, typeDelay)
	for n := range 3 {
		// Not only on record: a delivery that is lost before its handler begins counts for none.
		brokertest.Eventually(t, patience, func() bool { return int(starts.Load()) == n+1 && len(p.Of(id, task.PhaseStarted)) == n+1 })
		p.proxy.Drop()
	}
	end := p.Await(t, id, task.PhaseSucceeded)
	require.Equal(t, 1, end.Key.Attempt)
	for _, e := range p.Of(id, task.PhaseStarted) {
		require.False(t, e.Execution.Alone, "it is no suspect")
	}
	require.Empty(t, p.Of(id, task.PhaseRetrying))
}

func TestStuckSlotsEndTheWorker(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.setOptions(typeDelay, func(o *taskv1.TaskOptions) { o.Timeout, o.Retry.MaxAttempts = durationpb.New(10*time.Millisecond), 1 })
	w, err := New(Config{AMQPURLs: []string{b.URL}, Logger: quiet(), MaxStuck: 9, Concurrency: 1, Grace: -1})
	require.NoError(t, err)
	w.patience = 50 * time.Millisecond
	release := make(chan struct{})
	defer close(release)
	demov1.RegisterFaultServiceServer(w, &faults{delay: func(context.Context) error {
		<-release
		return nil
	}})
	ended := make(chan error, 1)
	go func() { ended <- w.Run(t.Context()) }()
	g.Await(t, g.Submit(t, typeDelay), task.PhaseDeadLettered)
	require.ErrorIs(t, await(t, ended), ErrStuck, "no slot is left")
}
