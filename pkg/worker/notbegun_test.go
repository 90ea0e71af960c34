package worker

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/worker/gatewaytest"
)

// atMostOnce makes a type one that runs at most once.
func atMostOnce(o *taskv1.TaskOptions) {
	yes := true
	o.AtMostOnce, o.Retry = &yes, nil
}

func TestTaskThatCouldNotBeginComesBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options func(*taskv1.TaskOptions)
		message func(*broker.TaskMessage)
	}{
		"of one attempt": {options: func(o *taskv1.TaskOptions) { o.Retry.MaxAttempts = 1 }},
		"at most once":   {options: atMostOnce},
		"a replay":       {options: func(*taskv1.TaskOptions) {}, message: func(m *broker.TaskMessage) { m.Run = 2 }},
		"a resend":       {options: func(*taskv1.TaskOptions) {}, message: func(m *broker.TaskMessage) { m.Resend = true }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			p := workplace(t, func(ctx context.Context) error {
				if info, _ := task.FromContext(ctx); info.Attempt != 1 {
					t.Errorf("this is attempt %d", info.Attempt)
				}
				if calls.Add(1) < 3 {
					return task.NotBegun(status.Error(codes.Unavailable, "no connection"))
				}
				return nil
			}, c.options)
			message := c.message
			if message == nil {
				message = func(*broker.TaskMessage) {}
			}
			id := p.Submit(t, typeDelay, message)
			end := p.Await(t, id, task.PhaseSucceeded)
			require.Equal(t, 1, end.Key.Attempt)
			require.EqualValues(t, 3, end.Key.Delivery)
			released, started := p.Of(id, task.PhaseReleased), p.Of(id, task.PhaseStarted)
			require.Len(t, released, 2)
			require.Len(t, started, 3)
			for i, e := range released {
				require.True(t, e.NotBegun())
				require.Contains(t, e.Decision, "not begun: ")
				require.Contains(t, e.Decision, "no connection")
				require.Nil(t, e.Failure)
				require.Greater(t, started[i+1].Time.Sub(e.Time), notBegunPause-100*time.Millisecond, "it is not tried at once")
			}
			for _, r := range p.records(id) {
				require.Equal(t, name == "a resend", r.Extra, "nothing was begun before: %+v", r)
			}
			p.stop()
			p.RequireSettled(t, typeDelay)
			require.EqualValues(t, 3, calls.Load())
		})
	}
}

// records are the executions of a task.
func (g *gateway) records(id string) []task.Record {
	var history []task.NumberedEvent
	for _, e := range g.Of(id) {
		history = append(history, task.NumberedEvent{Event: e})
	}
	return task.Records(history)
}

// What is on record counts, however the delivery was settled.
func TestTaskThatCouldNotBeginAndWasNotSettled(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.setOptions(typeDelay, atMostOnce)
	proxy := brokertest.NewProxy(t, b.URL)
	var calls atomic.Int32
	running, fail := make(chan struct{}), make(chan struct{})
	_, stop := run(t, &faults{delay: func(context.Context) error {
		if calls.Add(1) > 1 {
			return nil
		}
		close(running)
		<-fail
		return task.NotBegun(errors.New("no connection"))
	}}, Config{AMQPURLs: []string{proxy.URL()}})
	id := g.Submit(t, typeDelay)
	await(t, running)
	proxy.Stall(brokertest.AMQP10)
	close(fail)
	g.Await(t, id, task.PhaseReleased)
	proxy.Drop(brokertest.AMQP10)
	proxy.Restore(brokertest.AMQP10)
	end := g.Await(t, id, task.PhaseSucceeded)
	require.EqualValues(t, 2, end.Key.Delivery)
	require.EqualValues(t, 2, calls.Load())
	stop()
	g.RequireSettled(t, typeDelay)
}

func TestSuspectThatCouldNotBeginIsNoCrash(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.Change(func() { g.Suspect = true })
	var calls atomic.Int32
	w, stop := run(t, &faults{delay: func(context.Context) error {
		if calls.Add(1) == 1 {
			return task.NotBegun(errors.New("no connection"))
		}
		return nil
	}}, Config{AMQPURLs: []string{b.URL}})
	id := g.Submit(t, typeDelay, func(m *broker.TaskMessage) { m.Resend = true })
	g.Await(t, id, task.PhaseSucceeded)
	starts := g.Of(id, task.PhaseStarted)
	require.Len(t, starts, 2)
	for _, e := range starts {
		require.True(t, e.Execution.Alone)
	}
	require.Empty(t, g.Of(id, task.PhaseRetrying), "no attempt was spent")
	stop()
	g.RequireSettled(t, typeDelay)
	s, _ := w.gate.now()
	require.Equal(t, gateState{}, s, "others may run again")
}

// endsUnbegun is a handler that could not begin until its context ended, and then
// could.
func endsUnbegun(started chan<- struct{}) func(context.Context) error {
	var calls atomic.Int32
	return func(ctx context.Context) error {
		if calls.Add(1) > 1 {
			return nil
		}
		started <- struct{}{}
		<-ctx.Done()
		return task.NotBegun(ctx.Err())
	}
}

// What was not begun when the worker drained is another's at once.
func TestWhatADrainFindsNotBegunIsGivenBack(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	started := make(chan struct{}, 1)
	_, stop := run(t, &faults{delay: endsUnbegun(started)}, Config{AMQPURLs: []string{b.URL}, Grace: -1})
	id := g.Submit(t, typeDelay)
	await(t, started)
	stop()
	released := g.Await(t, id, task.PhaseReleased)
	require.True(t, released.NotBegun())
	g.AwaitReady(t, g.Names.Work(typeDelay), 1)
	require.NotContains(t, b.Drain(t, g.Names.Work(typeDelay))[0].Headers, "x-opt-warren-put-off-to", "it is not put off")
}

func TestDrainDoesNotSpendThePermitOfWhatWasNotBegun(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.setOptions(typeDelay, atMostOnce)
	started := make(chan struct{}, 1)
	handler := endsUnbegun(started)
	_, stop := run(t, &faults{delay: handler}, Config{AMQPURLs: []string{b.URL}, Grace: -1})
	id := g.Submit(t, typeDelay)
	await(t, started)
	stop()
	run(t, &faults{delay: handler}, Config{AMQPURLs: []string{b.URL}})
	g.requireStartedAgain(t, id)
}

func TestLostLinkDoesNotSpendThePermitOfWhatWasNotBegun(t *testing.T) {
	t.Parallel()
	started := make(chan struct{}, 1)
	p := workplace(t, endsUnbegun(started), atMostOnce)
	id := p.Submit(t, typeDelay)
	await(t, started)
	p.proxy.Drop(brokertest.AMQP10)
	p.requireStartedAgain(t, id)
	p.Await(t, id, task.PhaseLost)
	require.Equal(t, task.OutcomeReleased, p.records(id)[0].Outcome, "that nothing was begun is more than that the connection was lost")
}

// requireStartedAgain demands that a task which its first worker has not begun
// ends well with its second start.
func (g *gateway) requireStartedAgain(t testing.TB, id string) {
	t.Helper()
	g.Await(t, id, task.PhaseSucceeded)
	require.True(t, g.Of(id, task.PhaseReleased)[0].NotBegun())
	require.Len(t, g.Of(id, task.PhaseStarted), 2)
	require.Empty(t, g.Of(id, task.PhaseDeadLettered))
	records := g.records(id)
	require.Len(t, records, 2)
	require.Contains(t, records[0].Decision, "not begun: ")
}

// A connection that is lost right before the handler leaves the permit unspent.
func TestLostLinkBeforeTheHandlerSpendsNoPermit(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.setOptions(typeDelay, atMostOnce)
	g.Change(func() { g.Mute = true })
	proxy := brokertest.NewProxy(t, b.URL)
	var calls atomic.Int32
	w, _ := run(t, &faults{delay: func(context.Context) error {
		calls.Add(1)
		return nil
	}}, Config{AMQPURLs: []string{proxy.URL()}})
	id := g.Submit(t, typeDelay)
	g.AwaitAsked(t)
	proxy.Stall(brokertest.AMQP091)
	g.Change(func() { g.Mute = false })
	require.NoError(t, g.AnswerStarts(t.Context()))
	brokertest.Eventually(t, patience, func() bool {
		w.starts.mu.Lock()
		defer w.starts.mu.Unlock()
		return len(w.starts.waiting) == 0
	})
	// It waits for its start to be on record.
	proxy.Drop(brokertest.AMQP10)
	brokertest.Eventually(t, patience, func() bool { return w.links.Load() == 0 })
	proxy.Restore(brokertest.AMQP091)
	g.requireStartedAgain(t, id)
	require.Contains(t, g.Of(id, task.PhaseReleased)[0].Decision, "connection")
	require.EqualValues(t, 1, calls.Load())
}

// A handler that was not started when the worker drained has spent no permit.
func TestDrainBeforeTheHandlerSpendsNoPermit(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.setOptions(typeDelay, atMostOnce)
	g.Change(func() { g.Mute = true })
	_, stop := run(t, &faults{delay: func(context.Context) error {
		t.Error("it was not permitted")
		return nil
	}}, Config{AMQPURLs: []string{b.URL}, Grace: -1})
	id := g.Submit(t, typeDelay)
	g.AwaitAsked(t)
	stop()
	released := g.Await(t, id, task.PhaseReleased)
	require.True(t, released.NotBegun())
	// The answer comes when nobody waits for it.
	g.Change(func() { g.Mute = false })
	require.NoError(t, g.AnswerStarts(t.Context()))
	run(t, &faults{delay: func(context.Context) error { return nil }}, Config{AMQPURLs: []string{b.URL}})
	g.Await(t, id, task.PhaseSucceeded)
	require.Empty(t, g.Of(id, task.PhaseDeadLettered))
}

// A worker that drains before it could ask for a start gives the task back at once.
func TestDrainBeforeAStartWasAskedFor(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	proxy := brokertest.NewProxy(t, b.URL)
	w, stop := run(t, &faults{delay: func(context.Context) error {
		t.Error("it was not permitted")
		return nil
	}}, Config{AMQPURLs: []string{proxy.URL()}, Grace: -1})
	queue := g.Names.Work(typeDelay)
	brokertest.Eventually(t, patience, func() bool {
		_, consumers := g.Count(t, queue)
		return consumers == 1
	})
	proxy.Stall(brokertest.AMQP091)
	g.Submit(t, typeDelay, func(m *broker.TaskMessage) { m.Run = 2 })
	brokertest.Eventually(t, patience, func() bool {
		s, _ := w.gate.now()
		return s.executing == 1
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		stop()
	}()
	g.AwaitReady(t, queue, 1)
	proxy.Restore()
	await(t, ended)
	require.NotContains(t, b.Drain(t, queue)[0].Headers, "x-opt-warren-put-off-to", "it is not put off")
}

// A permit that comes too late is not spent, whatever becomes of the message.
func TestPermitThatComesTooLateIsNotSpent(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.setOptions(typeDelay, atMostOnce)
	g.Change(func() { g.Mute = true })
	w, err := New(Config{AMQPURLs: []string{b.URL}, Logger: quiet()})
	require.NoError(t, err)
	w.startTimeout = 200 * time.Millisecond
	demov1.RegisterFaultServiceServer(w, &faults{delay: func(context.Context) error {
		t.Error("it was not permitted")
		return nil
	}})
	stop := serve(t, w)
	id := g.Submit(t, typeDelay)
	released := g.Await(t, id, task.PhaseReleased)
	require.True(t, released.NotBegun())
	require.Contains(t, released.Decision, "no gateway")
	stop()
	require.Empty(t, g.Of(id, task.PhaseStarted))
	g.Change(func() { g.Mute = false })
	require.NoError(t, g.AnswerStarts(t.Context()))
	// Then it is given back by one that is paused, and put off by one that asks in vain.
	g.Change(func() {
		r := task.StartRequest{
			RequestID: "now", TaskID: id, Type: typeDelay, Run: 1, Attempt: 1, Copy: released.Key.Copy,
			Delivery: 4, PutOffFrom: 3, PutOffTo: 3, AtMostOnce: true,
		}
		require.EqualValues(t, 1, g.Claims[gatewaytest.ClaimKey(r)].Delivery, "the permit is on record")
		require.Equal(t, task.VerdictStart, g.Decide(r).Verdict)
	})
}

func TestDecisionOfWhatWasNotBegunIsBounded(t *testing.T) {
	t.Parallel()
	p := workplace(t, func(context.Context) error { return task.NotBegun(errors.New("\xff" + strings.Repeat("ä", 1<<20))) })
	e := p.Await(t, p.Submit(t, typeDelay), task.PhaseReleased)
	require.LessOrEqual(t, len(e.Decision), maxDecision+20)
	require.True(t, utf8.ValidString(e.Decision))
	require.Contains(t, e.Decision, "cut")
}
