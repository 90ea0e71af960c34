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

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
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
			id := p.submit(t, typeDelay, message)
			end := p.await(t, id, task.PhaseSucceeded)
			require.Equal(t, 1, end.Key.Attempt)
			require.EqualValues(t, 3, end.Key.Delivery)
			released, started := p.of(id, task.PhaseReleased), p.of(id, task.PhaseStarted)
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
			p.requireSettled(t, typeDelay)
			require.EqualValues(t, 3, calls.Load())
		})
	}
}

// records are the executions of a task.
func (g *gateway) records(id string) []task.Record {
	var history []task.NumberedEvent
	for _, e := range g.of(id) {
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
	id := g.submit(t, typeDelay)
	await(t, running)
	proxy.Stall(brokertest.AMQP10)
	close(fail)
	g.await(t, id, task.PhaseReleased)
	proxy.Drop(brokertest.AMQP10)
	proxy.Restore(brokertest.AMQP10)
	end := g.await(t, id, task.PhaseSucceeded)
	require.EqualValues(t, 2, end.Key.Delivery)
	require.EqualValues(t, 2, calls.Load())
	stop()
	g.requireSettled(t, typeDelay)
}

func TestSuspectThatCouldNotBeginIsNoCrash(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.change(func() { g.suspect = true })
	var calls atomic.Int32
	w, stop := run(t, &faults{delay: func(context.Context) error {
		if calls.Add(1) == 1 {
			return task.NotBegun(errors.New("no connection"))
		}
		return nil
	}}, Config{AMQPURLs: []string{b.URL}})
	id := g.submit(t, typeDelay, func(m *broker.TaskMessage) { m.Resend = true })
	g.await(t, id, task.PhaseSucceeded)
	starts := g.of(id, task.PhaseStarted)
	require.Len(t, starts, 2)
	for _, e := range starts {
		require.True(t, e.Execution.Alone)
	}
	require.Empty(t, g.of(id, task.PhaseRetrying), "no attempt was spent")
	stop()
	g.requireSettled(t, typeDelay)
	s, _ := w.gate.now()
	require.Equal(t, gateState{}, s, "others may run again")
}

// A worker that drains gives back as ever: what it has begun may have been done.
func TestDrainOutweighsNotBegun(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	started := make(chan struct{}, 1)
	_, stop := run(t, &faults{delay: func(ctx context.Context) error {
		started <- struct{}{}
		<-ctx.Done()
		return task.NotBegun(ctx.Err())
	}}, Config{AMQPURLs: []string{b.URL}, Grace: -1})
	id := g.submit(t, typeDelay)
	await(t, started)
	stop()
	released := g.await(t, id, task.PhaseReleased)
	require.False(t, released.NotBegun())
	g.awaitReady(t, g.names.Work(typeDelay), 1)
}

// A handler that was not started when the worker drained has spent no permit.
func TestDrainBeforeTheHandlerSpendsNoPermit(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.setOptions(typeDelay, atMostOnce)
	g.change(func() { g.mute = true })
	_, stop := run(t, &faults{delay: func(context.Context) error {
		t.Error("it was not permitted")
		return nil
	}}, Config{AMQPURLs: []string{b.URL}, Grace: -1})
	id := g.submit(t, typeDelay)
	g.awaitAsked(t)
	stop()
	// The answer comes when nobody waits for it.
	g.change(func() { g.mute = false })
	require.NoError(t, g.answerStarts(t.Context()))
	run(t, &faults{delay: func(context.Context) error { return nil }}, Config{AMQPURLs: []string{b.URL}})
	g.await(t, id, task.PhaseSucceeded)
	require.Empty(t, g.of(id, task.PhaseDeadLettered))
}

func TestDecisionOfWhatWasNotBegunIsBounded(t *testing.T) {
	t.Parallel()
	p := workplace(t, func(context.Context) error { return task.NotBegun(errors.New("\xff" + strings.Repeat("ä", 1<<20))) })
	e := p.await(t, p.submit(t, typeDelay), task.PhaseReleased)
	require.LessOrEqual(t, len(e.Decision), maxDecision+20)
	require.True(t, utf8.ValidString(e.Decision))
	require.Contains(t, e.Decision, "cut")
}
