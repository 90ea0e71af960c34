package worker

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

// requireDropped demands that a task was dropped without a start.
func (g *gateway) requireDropped(t testing.TB, id, reason string) {
	t.Helper()
	e := g.Await(t, id, task.PhaseCancelled)
	require.Equal(t, reason, e.Reason)
	require.Nil(t, e.Failure)
	require.Positive(t, e.Key.Delivery)
	require.NotZero(t, e.Key.Copy)
	require.NotEmpty(t, e.WorkerID)
	require.Empty(t, g.Of(id, task.PhaseStarted))
}

func TestCancelledTaskIsDropped(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*broker.TaskMessage){
		"its only message":           func(*broker.TaskMessage) {},
		"one of two messages, maybe": func(m *broker.TaskMessage) { m.Resend = true },
		"one whose time has passed":  func(m *broker.TaskMessage) { m.ExpireTime = time.Now().Add(-time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := brokertest.VHost(t)
			g := startGateway(t, b, typeDelay)
			// Nobody permits a start: none is asked for.
			g.Change(func() { g.Mute = true })
			id := g.Submit(t, typeDelay, edit)
			g.Record("not needed", id)
			_, stop := run(t, &faults{delay: func(context.Context) error { return errors.New("it was started") }}, Config{AMQPURLs: []string{b.URL}})
			g.requireDropped(t, id, "not needed")
			stop()
			g.RequireSettled(t, typeDelay)
			ready, _ := g.Count(t, g.Names.Dead())
			require.Zero(t, ready)
		})
	}
}

func TestCancellationIsOfARun(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	id := task.NewID()
	g.Record("the first run only", id)
	run(t, &faults{delay: func(context.Context) error { return nil }}, Config{AMQPURLs: []string{b.URL}})
	g.Submit(t, typeDelay, func(m *broker.TaskMessage) { m.ID, m.Run = id, 2 })
	g.Await(t, id, task.PhaseSucceeded)
}

func TestFetchedTaskIsDropped(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	started, finish := make(chan string, 1), make(chan struct{})
	w, stop := run(t, &faults{delay: func(ctx context.Context) error {
		info, _ := task.FromContext(ctx)
		started <- info.ID
		<-finish
		return nil
	}}, Config{AMQPURLs: []string{b.URL}, Concurrency: 1, Prefetch: 3})
	first := g.Submit(t, typeDelay)
	require.Equal(t, first, await(t, started))
	var fetched []string
	for range 3 {
		fetched = append(fetched, g.Submit(t, typeDelay))
	}
	g.AwaitReady(t, g.Names.Work(typeDelay), 0)
	position := g.Cancel(t, w, "", fetched...)
	g.AwaitEffect(t, w, position, fetched...)
	close(finish)
	for _, id := range fetched {
		g.requireDropped(t, id, "")
	}
	g.Await(t, first, task.PhaseSucceeded)
	stop()
	g.RequireSettled(t, typeDelay)
	require.Empty(t, started)
}

// What a handler makes of the end of its context decides.
func TestRunningTaskIsCancelled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		returns func(context.Context) error
		phase   task.Phase
		code    codes.Code
	}{
		"it obeys":          {context.Context.Err, task.PhaseCancelled, codes.Canceled},
		"it answers":        {func(context.Context) error { return nil }, task.PhaseSucceeded, codes.OK},
		"it fails":          {func(context.Context) error { return status.Error(codes.Unavailable, "no") }, task.PhaseCancelled, codes.Unavailable},
		"it panics":         {func(context.Context) error { panic("ouch") }, task.PhaseCancelled, codes.Internal},
		"it asks for later": {func(context.Context) error { return task.Snooze(time.Minute) }, task.PhaseCancelled, codes.OK},
		"it did not begin":  {func(context.Context) error { return task.NotBegun(errors.New("no way")) }, task.PhaseCancelled, codes.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cause := make(chan error, 1)
			b := brokertest.VHost(t)
			g := startGateway(t, b, typeDelay)
			g.setOptions(typeDelay)
			w, stop := run(t, &faults{delay: func(ctx context.Context) error {
				<-ctx.Done()
				cause <- context.Cause(ctx)
				return c.returns(ctx)
			}}, Config{AMQPURLs: []string{b.URL}})
			id := g.Submit(t, typeDelay)
			g.Await(t, id, task.PhaseStarted)
			beat := g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool { return len(b.Running) == 1 })
			require.Equal(t, id, beat.Running[0].TaskId)
			require.Equal(t, typeDelay, beat.Running[0].Type)
			require.EqualValues(t, 1, beat.Running[0].Run)
			require.EqualValues(t, 1, beat.Running[0].Attempt)
			require.Empty(t, beat.Cancelling)

			position := g.Cancel(t, w, "nobody wants it", id)
			err := await(t, cause)
			require.ErrorIs(t, err, task.ErrCancelled)
			require.ErrorContains(t, err, "nobody wants it")
			end := g.Await(t, id, c.phase)
			if c.phase == task.PhaseCancelled {
				require.Equal(t, "nobody wants it", end.Reason)
			}
			if c.code == codes.OK {
				require.Nil(t, end.Failure)
			} else {
				require.EqualValues(t, c.code, end.Failure.Code)
			}
			g.AwaitEffect(t, w, position, id)
			require.Len(t, g.Of(id), 2, "there is no other event than the start and the end")
			stop()
			g.RequireSettled(t, typeDelay)
			ready, _ := g.Count(t, g.Names.Dead())
			require.Zero(t, ready)
		})
	}
}

// Gateways hear that a cancelled task runs until its outcome is on record.
func TestCancellingUntilTheOutcomeIsConfirmed(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	ended, finish := make(chan struct{}), make(chan struct{})
	w, _ := run(t, &faults{delay: func(ctx context.Context) error {
		<-ctx.Done()
		close(ended)
		<-finish
		return ctx.Err()
	}}, Config{AMQPURLs: []string{b.URL}})
	id := g.Submit(t, typeDelay)
	g.Await(t, id, task.PhaseStarted)
	position := g.Cancel(t, w, "", id)
	await(t, ended)
	g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool {
		return b.CancelPosition == int64(position) && slices.Equal(b.Cancelling, []string{id})
	})
	close(finish)
	g.AwaitEffect(t, w, position, id)
	require.NotEmpty(t, g.Of(id, task.PhaseCancelled), "it is on record before")
}

func TestCancelledBetweenAttempts(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.setOptions(typeDelay, func(o *taskv1.TaskOptions) { o.Retry = &taskv1.RetryPolicy{MaxAttempts: 5} })
	w, stop := run(t, &faults{delay: func(context.Context) error {
		return task.RetryAfter(errors.New("later"), time.Second)
	}}, Config{AMQPURLs: []string{b.URL}})
	id := g.Submit(t, typeDelay)
	g.Await(t, id, task.PhaseRetrying)
	g.Cancel(t, w, "enough", id)
	end := g.Await(t, id, task.PhaseCancelled)
	require.Equal(t, "enough", end.Reason)
	require.Len(t, g.Of(id, task.PhaseStarted), 1)
	stop()
	g.RequireSettled(t, typeDelay)
}

func TestDrainLeavesACancelledTaskCancelled(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	ended, finish := make(chan error, 1), make(chan struct{})
	w, stop := run(t, &faults{delay: func(ctx context.Context) error {
		<-ctx.Done()
		ended <- context.Cause(ctx)
		<-finish
		return ctx.Err()
	}}, Config{AMQPURLs: []string{b.URL}, Grace: -1})
	id := g.Submit(t, typeDelay)
	g.Await(t, id, task.PhaseStarted)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	require.ErrorIs(t, await(t, ended), errDraining)
	position := g.Cancel(t, w, "too late for a retry", id)
	g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool { return b.CancelPosition == int64(position) && b.Draining })
	close(finish)
	require.Equal(t, "too late for a retry", g.Await(t, id, task.PhaseCancelled).Reason)
	await(t, stopped)
	g.RequireSettled(t, typeDelay)
}

// A task whose connection was lost is lost; its next delivery is dropped.
func TestCancelledAndLost(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	proxy := brokertest.NewProxy(t, b.URL)
	ended, finish := make(chan error, 2), make(chan struct{})
	w, stop := run(t, &faults{delay: func(ctx context.Context) error {
		<-ctx.Done()
		ended <- context.Cause(ctx)
		<-finish
		return ctx.Err()
	}}, Config{AMQPURLs: []string{proxy.URL()}})
	id := g.Submit(t, typeDelay)
	g.Await(t, id, task.PhaseStarted)
	proxy.Cut(brokertest.AMQP10)
	require.ErrorIs(t, await(t, ended), broker.ErrDeliveryLost)
	position := g.Record("gone", id)
	proxy.Restore(brokertest.AMQP10)
	// The handler of the first delivery runs yet, the second one is dropped.
	g.Await(t, id, task.PhaseCancelled)
	g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool {
		return b.CancelPosition == int64(position) && slices.Equal(b.Cancelling, []string{id})
	})
	require.EqualValues(t, 2, g.Of(id, task.PhaseCancelled)[0].Key.Delivery)
	close(finish)
	require.EqualValues(t, 1, g.Await(t, id, task.PhaseLost).Key.Delivery)
	g.AwaitEffect(t, w, position, id)
	stop()
	require.Len(t, g.Of(id, task.PhaseStarted), 1)
	require.Len(t, g.Of(id, task.PhaseCancelled), 1)
	g.RequireSettled(t, typeDelay)
}

// A cancellation ends the wait for a permit, and for being alone.
func TestCancelledWhileItWaitsToStart(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay, typeFail)
	g.setOptions(typeDelay, atMostOnce)
	g.Change(func() { g.Mute, g.Suspect = true, true })
	other, finish := make(chan struct{}), make(chan struct{})
	w, stop := run(t, &faults{
		delay: func(context.Context) error { return errors.New("it was started") },
		fail: func(context.Context) error {
			close(other)
			<-finish
			return nil
		},
	}, Config{AMQPURLs: []string{b.URL}})
	beside := g.Submit(t, typeFail)
	await(t, other)

	unpermitted := g.Submit(t, typeDelay)
	g.AwaitAsked(t)
	position := g.Cancel(t, w, "no permit", unpermitted)
	g.requireDropped(t, unpermitted, "no permit")
	g.AwaitEffect(t, w, position, unpermitted)

	g.Change(func() { g.Mute = false })
	suspect := g.Submit(t, typeDelay)
	wants := func() bool {
		s, _ := w.gate.now()
		return s.alone
	}
	brokertest.Eventually(t, patience, wants)
	position = g.Cancel(t, w, "never alone", suspect)
	g.requireDropped(t, suspect, "never alone")
	g.AwaitEffect(t, w, position, suspect)
	brokertest.Eventually(t, patience, func() bool { return !wants() })
	close(finish)
	g.Await(t, beside, task.PhaseSucceeded)
	stop()
	g.RequireSettled(t, typeDelay)
}
