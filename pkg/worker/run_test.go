package worker

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/task"
)

// await receives, within patience.
func await[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func TestHandlerSeesItsTask(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	type seen struct {
		info     task.Info
		ok       bool
		metadata metadata.MD
		left     time.Duration
	}
	handled := make(chan seen, 1)
	w, stop := run(t, &faults{delay: func(ctx context.Context) error {
		var s seen
		s.info, s.ok = task.FromContext(ctx)
		s.metadata, _ = metadata.FromIncomingContext(ctx)
		deadline, _ := ctx.Deadline()
		s.left = time.Until(deadline)
		handled <- s
		return nil
	}}, Config{AMQPURLs: []string{b.URL}})

	var m broker.TaskMessage
	id := g.Submit(t, typeDelay, func(msg *broker.TaskMessage) {
		msg.Run, msg.Priority = 3, task.PriorityHigh
		msg.Labels = map[string]string{"customer": "acme"}
		msg.Metadata = map[string][][]byte{"x-tenant": {[]byte("a"), []byte("b")}, "x-raw-bin": {{0, 255}}}
		msg.Trace = map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
		m = *msg
	})
	s := await(t, handled)
	require.True(t, s.ok)
	require.Equal(t, task.Info{ID: id, Type: typeDelay, Run: 3, Attempt: 1, Labels: map[string]string{"customer": "acme"}}, s.info)
	require.Equal(t, []string{"a", "b"}, s.metadata.Get("x-tenant"))
	require.Equal(t, []string{"\x00\xff"}, s.metadata.Get("x-raw-bin"))
	require.Greater(t, s.left, 50*time.Second, "the policy's minute")
	require.LessOrEqual(t, s.left, time.Minute)

	end := g.Await(t, id, task.PhaseSucceeded)
	events := g.Of(id)
	require.Len(t, events, 2)
	started := events[0]
	require.Equal(t, task.Key{Run: 3, Attempt: 1, Delivery: 1, Phase: task.PhaseStarted, Copy: m.Copy}, started.Key)
	require.Equal(t, w.ID(), started.WorkerID)
	require.Equal(t, "v-test", started.Execution.Version)
	require.NotEmpty(t, started.Execution.Host)
	require.False(t, started.Execution.Redelivered)
	require.Equal(t, task.PriorityHigh, started.Head.Priority)
	require.Equal(t, m.Labels, started.Head.Labels)
	require.True(t, m.CreateTime.Equal(started.Head.CreateTime))
	require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", started.Head.TraceID)
	require.Equal(t, task.Key{Run: 3, Attempt: 1, Delivery: 1, Phase: task.PhaseSucceeded, Copy: m.Copy}, end.Key)
	stop()
	g.RequireSettled(t, typeDelay)
}

func TestConcurrencyAndPrefetchAreBounded(t *testing.T) {
	t.Parallel()
	const concurrency, prefetch, tasks = 3, 2, 15
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay, typeFail)
	var running, most, ended atomic.Int32
	gate, failed := make(chan struct{}), make(chan struct{}, 1)
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	_, stop := run(t, &faults{
		delay: func(ctx context.Context) error {
			n := running.Add(1)
			defer ended.Add(1)
			defer running.Add(-1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			select {
			case <-gate:
			case <-ctx.Done():
			}
			return nil
		},
		fail: func(context.Context) error {
			failed <- struct{}{}
			return nil
		},
	}, Config{AMQPURLs: []string{b.URL}, Concurrency: concurrency, Prefetch: prefetch})
	for range tasks {
		g.Submit(t, typeDelay)
	}
	g.AwaitReady(t, g.Names.Work(typeDelay), tasks-concurrency-prefetch)
	brokertest.Eventually(t, patience, func() bool { return running.Load() == concurrency })
	// A full type does not hold up another.
	g.Submit(t, typeFail)
	await(t, failed)
	require.EqualValues(t, concurrency, running.Load())
	ready, _ := g.Count(t, g.Names.Work(typeDelay))
	require.Equal(t, tasks-concurrency-prefetch, ready, "no more are fetched while none has ended")
	open()
	brokertest.Eventually(t, patience, func() bool { return ended.Load() == tasks })
	stop()
	g.RequireSettled(t, typeDelay)
	require.EqualValues(t, concurrency, most.Load(), "all slots are used, and no more")
}

func TestTimeoutIsTheHandlersDeadline(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.Change(func() { g.Policies[typeDelay].Timeout = durationpb.New(50 * time.Millisecond) })
	_, stop := run(t, &faults{delay: func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}}, Config{AMQPURLs: []string{b.URL}})
	id := g.Submit(t, typeDelay)
	dead := g.Await(t, id, task.PhaseDeadLettered)
	require.EqualValues(t, codes.DeadlineExceeded, dead.Failure.Code)
	require.Equal(t, task.CauseAttemptsExhausted, dead.Cause)
	started := g.Await(t, id, task.PhaseStarted)
	require.GreaterOrEqual(t, dead.Time.Sub(started.Time), 50*time.Millisecond)
	g.AwaitReady(t, g.Names.Dead(), 1)
	stop()
	g.RequireSettled(t, typeDelay)
}

func TestFailureTravelsWithTheDeadLetter(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	run(t, &faults{delay: func(context.Context) error { return status.Error(codes.NotFound, "no such picture") }}, Config{AMQPURLs: []string{b.URL}})
	id := g.Submit(t, typeDelay)
	dead := g.Await(t, id, task.PhaseDeadLettered)
	require.Equal(t, &task.Failure{Kind: task.KindError, Code: int(codes.NotFound), Message: "no such picture"}, dead.Failure)
	require.Equal(t, task.CausePermanentFailure, dead.Cause)
	g.AwaitReady(t, g.Names.Dead(), 1)
	m := b.Drain(t, g.Names.Dead())[0]
	require.Equal(t, id, m.MessageId)
	require.Equal(t, "PERMANENT_FAILURE", m.Headers["x-opt-warren-cause"])
	require.Equal(t, typeDelay, m.RoutingKey)
}

func TestMessageThatIsNoTaskIsDeadLettered(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	handled := make(chan struct{}, 1)
	run(t, &faults{delay: func(context.Context) error {
		handled <- struct{}{}
		return nil
	}}, Config{AMQPURLs: []string{b.URL}, Concurrency: 1, Prefetch: 1})
	// Its header has no run. More of them than there is credit: they cost none.
	var ids []string
	for range 5 {
		ids = append(ids, g.Submit(t, typeDelay, func(m *broker.TaskMessage) { m.Run = 0 }))
	}
	g.AwaitReady(t, g.Names.Dead(), len(ids))
	for _, id := range ids {
		require.Empty(t, g.Of(id), "what is no task says nothing of the task whose id it has")
	}
	for _, m := range b.Drain(t, g.Names.Dead()) {
		require.Equal(t, "UNDECODABLE", m.Headers["x-opt-warren-cause"])
	}
	require.Empty(t, handled)
	g.Submit(t, typeDelay)
	await(t, handled)
}

func TestProgressIsThinnedToTheLatest(t *testing.T) {
	t.Parallel()
	const reports = 500
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	proxy := brokertest.NewProxy(t, b.URL)
	begin, reported, finish := make(chan struct{}), make(chan struct{}), make(chan struct{})
	run(t, &faults{delay: func(ctx context.Context) error {
		<-begin
		task.Progress(ctx, -1, "not\xffUTF-8")
		for i := range reports {
			task.Progress(ctx, float64(i+1)/reports, fmt.Sprint("step ", i+1))
		}
		close(reported)
		<-finish
		task.Progress(ctx, 7, "the last")
		return nil
	}}, Config{AMQPURLs: []string{proxy.URL()}})
	id := g.Submit(t, typeDelay)
	g.Await(t, id, task.PhaseStarted)

	// Nothing is confirmed now; reporting does not wait for that.
	proxy.Stall(brokertest.AMQP091)
	close(begin)
	await(t, reported)
	proxy.Restore()
	brokertest.Eventually(t, patience, func() bool {
		events := g.Of(id, task.PhaseProgress)
		return len(events) > 0 && events[len(events)-1].Progress.Message == fmt.Sprint("step ", reports)
	})
	require.LessOrEqual(t, len(g.Of(id, task.PhaseProgress)), 2, "what came while one was on its way, but for the latest, is left out")
	close(finish)
	g.Await(t, id, task.PhaseSucceeded)
	events := g.Of(id, task.PhaseProgress)
	last := events[len(events)-1]
	require.Equal(t, "the last", last.Progress.Message, "what was said last is told before the end")
	require.InDelta(t, 1, last.Progress.Fraction, 0)
	for i, e := range events {
		require.EqualValues(t, i+1, e.Key.Sequence)
		require.False(t, e.Progress.Time.IsZero())
	}
	all := g.Of(id)
	require.Equal(t, task.PhaseSucceeded, all[len(all)-1].Key.Phase, "nothing follows the end")
}

func TestLostConnectionEndsTheContextAndOutcomesAreToldAnyway(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay, typeFail)
	proxy := brokertest.NewProxy(t, b.URL)
	running, causes := make(chan struct{}, 2), make(chan error, 2)
	again := make(chan task.Info, 2)
	await1 := func(ctx context.Context) bool {
		info, _ := task.FromContext(ctx)
		if info.Redelivered {
			again <- info
			return false
		}
		running <- struct{}{}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return true
	}
	_, stop := run(t, &faults{
		// One handler finishes anyway, the other obeys.
		delay: func(ctx context.Context) error {
			await1(ctx)
			return nil
		},
		fail: func(ctx context.Context) error {
			if await1(ctx) {
				return ctx.Err()
			}
			return nil
		},
	}, Config{AMQPURLs: []string{proxy.URL()}})
	finishes, obeys := g.Submit(t, typeDelay), g.Submit(t, typeFail)
	await(t, running)
	await(t, running)

	proxy.Drop(brokertest.AMQP10)
	for range 2 {
		cause := await(t, causes)
		require.ErrorIs(t, cause, broker.ErrDeliveryLost)
		require.ErrorContains(t, cause, "DELIVERY_LOST")
	}
	end := g.Await(t, finishes, task.PhaseSucceeded)
	require.EqualValues(t, 1, end.Key.Delivery)
	lost := g.Await(t, obeys, task.PhaseLost)
	require.EqualValues(t, 1, lost.Key.Delivery)
	require.Nil(t, lost.Failure)
	require.Empty(t, g.Of(obeys, task.PhaseDeadLettered))

	// The broker delivers both again; no attempt was spent, and what has succeeded
	// is not done again.
	info := await(t, again)
	require.Equal(t, 1, info.Attempt)
	end = g.Await(t, obeys, task.PhaseSucceeded)
	require.EqualValues(t, 2, end.Key.Delivery)
	starts := g.Of(obeys, task.PhaseStarted)
	require.Len(t, starts, 2)
	require.True(t, starts[1].Execution.Redelivered)
	stop()
	g.RequireSettled(t, typeDelay)
	g.RequireSettled(t, typeFail)
	require.Len(t, g.Of(finishes, task.PhaseStarted), 1)
	require.Empty(t, again)
}

func TestOnlyAcceptedTypesAreConsumed(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay, typeFail)
	g.Change(func() { delete(g.Policies, typeFail) })
	handled := make(chan struct{}, 1)
	w, stop := run(t, &faults{delay: func(context.Context) error {
		handled <- struct{}{}
		return nil
	}}, Config{AMQPURLs: []string{b.URL}, Concurrency: 7})
	g.Submit(t, typeFail)
	g.Submit(t, typeDelay)
	await(t, handled)
	beat := g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool { return len(b.Types) > 0 })
	require.False(t, beat.Goodbye)
	require.False(t, beat.Draining)
	require.Len(t, beat.Types, 1, "a refused type is none of its types")
	require.Equal(t, typeDelay, beat.Types[0].Type)
	require.EqualValues(t, 7, beat.Types[0].Concurrency)
	waiting, consumers := g.Count(t, g.Names.Work(typeFail))
	require.Equal(t, 1, waiting)
	require.Zero(t, consumers)

	stop()
	brokertest.Eventually(t, patience, func() bool {
		_, beats := g.Snapshot()
		last := beats[len(beats)-1]
		return last.Goodbye && last.Draining
	})
	for _, q := range b.Queues(t) {
		require.NotContains(t, q.Name, w.ID(), "its control queue goes with it")
	}
}

func TestGatewayCanAskForRegistrationAndChangePolicies(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	left := make(chan time.Duration, 1)
	w, _ := run(t, &faults{delay: func(ctx context.Context) error {
		deadline, _ := ctx.Deadline()
		left <- time.Until(deadline)
		return nil
	}}, Config{AMQPURLs: []string{b.URL}})
	g.Submit(t, typeDelay)
	require.LessOrEqual(t, await(t, left), time.Minute)

	g.Change(func() {
		g.Again = true
		g.Policies[typeDelay].Timeout = durationpb.New(time.Hour)
	})
	brokertest.Eventually(t, patience, func() bool {
		requests, _ := g.Snapshot()
		return len(requests) >= 2
	})
	requests, _ := g.Snapshot()
	first, second := requests[0], requests[len(requests)-1]
	require.Equal(t, w.ID(), second.Worker.WorkerId)
	require.NotEqual(t, first.RequestId, second.RequestId)
	require.Equal(t, []string{"demo.v1.FaultService"}, second.GetRegistration().GetServices())
	require.Equal(t, first.GetRegistration().GetFiles(), second.GetRegistration().GetFiles())
	brokertest.Eventually(t, patience, func() bool {
		g.Submit(t, typeDelay)
		return await(t, left) > time.Minute
	})
}

func TestDrainLetsHandlersFinish(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	started, finish := make(chan string, 1), make(chan error, 1)
	_, stop := run(t, &faults{delay: func(ctx context.Context) error {
		info, _ := task.FromContext(ctx)
		started <- info.ID
		select {
		case err := <-finish:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}}, Config{AMQPURLs: []string{b.URL}, Concurrency: 1, Prefetch: 2, Grace: time.Minute})
	for range 4 {
		g.Submit(t, typeDelay)
	}
	id := await(t, started)
	g.AwaitReady(t, g.Names.Work(typeDelay), 1)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	// What it has only fetched returns at once, for others.
	g.AwaitReady(t, g.Names.Work(typeDelay), 3)
	finish <- nil
	await(t, stopped)
	g.Await(t, id, task.PhaseSucceeded)
	require.Empty(t, started, "no other task was started")
	g.AwaitReady(t, g.Names.Work(typeDelay), 3)
	_, consumers := g.Count(t, g.Names.Work(typeDelay))
	require.Zero(t, consumers)
}

func TestDrainGivesBackAfterTheGrace(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	started, cause := make(chan struct{}, 1), make(chan error, 1)
	_, stop := run(t, &faults{delay: func(ctx context.Context) error {
		started <- struct{}{}
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return ctx.Err()
	}}, Config{AMQPURLs: []string{b.URL}, Grace: -1})
	id := g.Submit(t, typeDelay)
	await(t, started)
	stop()
	require.ErrorContains(t, await(t, cause), "DRAINING")
	released := g.Await(t, id, task.PhaseReleased)
	require.Nil(t, released.Failure)
	require.Empty(t, g.Of(id, task.PhaseDeadLettered))
	g.AwaitReady(t, g.Names.Work(typeDelay), 1)
}

func TestHandlerThatIgnoresItsEndDoesNotHoldTheWorker(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	started, finish := make(chan struct{}, 1), make(chan struct{})
	defer close(finish)
	_, stop := run(t, &faults{delay: func(context.Context) error {
		started <- struct{}{}
		<-finish
		return nil
	}}, Config{AMQPURLs: []string{b.URL}, Grace: -1})
	g.Submit(t, typeDelay)
	await(t, started)
	stop()
	g.AwaitReady(t, g.Names.Work(typeDelay), 1)
}

func TestEnormousFailureHoldsUpNobody(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay, typeFail)
	_, stop := run(t, &faults{
		delay: func(ctx context.Context) error {
			task.Progress(ctx, 0, strings.Repeat("x", 17<<20))
			return status.Error(codes.NotFound, strings.Repeat("x", 17<<20))
		},
		fail: func(context.Context) error { return nil },
	}, Config{AMQPURLs: []string{b.URL}})
	dead := g.Await(t, g.Submit(t, typeDelay), task.PhaseDeadLettered)
	require.EqualValues(t, codes.NotFound, dead.Failure.Code)
	g.Await(t, g.Submit(t, typeFail), task.PhaseSucceeded)
	stop()
	g.RequireSettled(t, typeDelay)
}

// A gateway of another version may not say what this one knows.
func TestPolicyHasDefaults(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.Change(func() { g.Policies[typeDelay] = &brokerv1.TypePolicy{Type: typeDelay} })
	left := make(chan time.Duration, 1)
	run(t, &faults{delay: func(ctx context.Context) error {
		deadline, _ := ctx.Deadline()
		left <- time.Until(deadline)
		return nil
	}}, Config{AMQPURLs: []string{b.URL}})
	id := g.Submit(t, typeDelay)
	require.InDelta(t, catalogue.DefaultTimeout, await(t, left), float64(time.Minute))
	g.Await(t, id, task.PhaseSucceeded)
}

func TestWorkerWithoutABrokerCanStop(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	proxy.Cut()
	_, stop := run(t, &faults{}, Config{AMQPURLs: []string{proxy.URL()}})
	stop()
}

// Not parallel: it looks at all goroutines of the process.
func TestRunLeavesNothingBehind(t *testing.T) {
	t.Run("run", func(t *testing.T) {
		b := brokertest.VHost(t)
		g := startGateway(t, b, typeDelay)
		proxy := brokertest.NewProxy(t, b.URL)
		w, stop := run(t, &faults{delay: func(ctx context.Context) error {
			task.Progress(ctx, 0.5, "half")
			if info, _ := task.FromContext(ctx); info.Labels["cancel"] != "" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}, Config{AMQPURLs: []string{proxy.URL()}})
		g.Await(t, g.Submit(t, typeDelay), task.PhaseSucceeded)
		cancelled := g.Submit(t, typeDelay, func(m *broker.TaskMessage) { m.Labels = map[string]string{"cancel": "it"} })
		g.Await(t, cancelled, task.PhaseStarted)
		g.Cancel(t, w, "", cancelled)
		g.Await(t, cancelled, task.PhaseCancelled)
		g.Control(t, w, typeDelay, func(p *brokerv1.TypePolicy) { p.Concurrency = 1 })
		proxy.Drop()
		g.Await(t, g.Submit(t, typeDelay), task.PhaseSucceeded)
		g.Control(t, w, typeDelay, func(p *brokerv1.TypePolicy) { p.Pause = &brokerv1.Pause{Reason: "until the end"} })
		g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool { return slotsOf(b, typeDelay).Paused })
		stop()
		brokertest.Eventually(t, patience, func() bool { return proxy.Connections() == 0 })
	})
	goleak.VerifyNone(t, brokertest.LeakOptions()...)
}
