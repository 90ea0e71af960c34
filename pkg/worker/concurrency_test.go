package worker

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

// slotsOf is what a worker says of a type's slots.
func slotsOf(b *brokerv1.Heartbeat, taskType string) *brokerv1.TypeLoad {
	for _, l := range b.Types {
		if l.Type == taskType {
			return l
		}
	}
	return &brokerv1.TypeLoad{}
}

func TestConcurrencyFollowsTheGateway(t *testing.T) {
	t.Parallel()
	const tasks = 40
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay, typeFail)
	var running, ended atomic.Int32
	finish, failed := make(chan struct{}), make(chan struct{}, 1)
	w, stop := run(t, &faults{
		delay: func(ctx context.Context) error {
			running.Add(1)
			defer running.Add(-1)
			select {
			case <-finish:
				ended.Add(1)
			case <-ctx.Done():
			}
			return nil
		},
		fail: func(context.Context) error {
			failed <- struct{}{}
			return nil
		},
	}, Config{AMQPURLs: []string{b.URL}, Concurrency: 4, Prefetch: 2})
	for range tasks {
		g.Submit(t, typeDelay)
	}
	runs := func(n int32, held int) {
		t.Helper()
		brokertest.Eventually(t, patience, func() bool { return running.Load() == n })
		g.AwaitReady(t, g.Names.Work(typeDelay), tasks-held)
	}
	runs(4, 4+2)
	set := func(n int32) {
		t.Helper()
		g.Control(t, w, typeDelay, func(p *brokerv1.TypePolicy) { p.Concurrency = n })
		want := n
		if n == 0 {
			want = 4
		}
		load := slotsOf(g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool { return slotsOf(b, typeDelay).Concurrency == want }), typeDelay)
		require.EqualValues(t, 4, load.Configured)
	}
	// More: they are taken at once, and what is fetched besides grows with them.
	set(16)
	runs(16, 16+8)
	// Fewer: those that run go on, and what was fetched is given back.
	set(2)
	runs(16, 16+0)
	// A full type does not hold up another.
	g.Submit(t, typeFail)
	await(t, failed)
	// Who knows nothing of operators changes nothing.
	g.Control(t, w, typeDelay, func(p *brokerv1.TypePolicy) { p.Provisional, p.Concurrency, p.Pause = true, 0, nil })
	g.Control(t, w, typeFail, func(p *brokerv1.TypePolicy) { p.Concurrency = 1 })
	g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool {
		return slotsOf(b, typeFail).Concurrency == 1 && slotsOf(b, typeDelay).Concurrency == 2
	})
	for range 14 {
		finish <- struct{}{}
	}
	brokertest.Eventually(t, patience, func() bool { return running.Load() == 2 })
	g.AwaitReady(t, g.Names.Work(typeDelay), tasks-16-1)
	require.EqualValues(t, 2, running.Load())
	set(0)
	brokertest.Eventually(t, patience, func() bool { return running.Load() == 4 })
	close(finish)
	// None waits in the queue, but a worker that stops gives back what it has fetched.
	brokertest.Eventually(t, patience, func() bool { return ended.Load() == tasks })
	stop()
	g.RequireSettled(t, typeDelay)
	last := slotsOf(g.LastBeat(w), typeDelay)
	require.EqualValues(t, tasks, last.Started)
	require.EqualValues(t, tasks, last.Succeeded)
	require.Zero(t, last.Failed)
}

// However the concurrency changes under load: each task is carried out once.
func TestConcurrencyChangesUnderLoad(t *testing.T) {
	t.Parallel()
	const tasks, top = 1500, 32
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	var running, most atomic.Int32
	crowd := make(chan struct{})
	c := &counted{starts: map[string]int{}}
	w, stop := run(t, &faults{delay: func(ctx context.Context) error {
		n := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		<-crowd
		return c.handle(ctx)
	}}, Config{AMQPURLs: []string{b.URL}, Concurrency: 2})
	steps := []int32{top, 1, top, top - 1, 2, top / 2, 1, top, 3}
	var ids []string
	for n := range tasks {
		ids = append(ids, g.Submit(t, typeDelay))
		if n == tasks/len(steps)+top {
			// The first step is in effect: as many run as may, before any has ended.
			brokertest.Eventually(t, patience, func() bool { return running.Load() == top })
			close(crowd)
		}
		if every := tasks / len(steps); n%every == every-1 && n/every < len(steps) {
			g.Control(t, w, typeDelay, func(p *brokerv1.TypePolicy) { p.Concurrency = steps[n/every] })
		}
	}
	brokertest.Eventually(t, 4*patience, func() bool { return c.ended.Load() >= tasks })
	last := steps[len(steps)-1]
	g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool { return slotsOf(b, typeDelay).Concurrency == last })
	stop()
	g.RequireSettled(t, typeDelay)
	require.EqualValues(t, tasks, c.begun.Load())
	require.EqualValues(t, top, most.Load())
	for _, id := range ids {
		require.Equal(t, 1, c.starts[id])
		brokertest.Eventually(t, patience, func() bool { return len(g.Of(id, task.PhaseSucceeded)) == 1 })
	}
}

func TestPausedTypeStartsNothing(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay, typeFail)
	started, finish := make(chan string, 9), make(chan struct{}, 9)
	w, stop := run(t, &faults{
		delay: func(ctx context.Context) error {
			info, _ := task.FromContext(ctx)
			started <- info.ID
			<-finish
			return nil
		},
		fail: func(context.Context) error { return nil },
	}, Config{AMQPURLs: []string{b.URL}, Concurrency: 1, Prefetch: 2})
	first := g.Submit(t, typeDelay)
	require.Equal(t, first, await(t, started))
	second := g.Submit(t, typeDelay)
	g.AwaitReady(t, g.Names.Work(typeDelay), 0)

	g.Control(t, w, typeDelay, func(p *brokerv1.TypePolicy) { p.Pause = &brokerv1.Pause{Reason: "maintenance"} })
	g.AwaitReady(t, g.Names.Work(typeDelay), 1)
	g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool { return slotsOf(b, typeDelay).Paused && !slotsOf(b, typeFail).Paused })
	g.Control(t, w, typeDelay, func(p *brokerv1.TypePolicy) { p.Provisional, p.Pause = true, nil })
	finish <- struct{}{}
	g.Await(t, first, task.PhaseSucceeded)
	g.Await(t, g.Submit(t, typeFail), task.PhaseSucceeded)
	g.AwaitReady(t, g.Names.Work(typeDelay), 1)
	require.Empty(t, started)

	// It ends by itself, by the gateways' clock.
	until := time.Now().Add(500 * time.Millisecond)
	g.Control(t, w, typeDelay, func(p *brokerv1.TypePolicy) {
		p.Pause = &brokerv1.Pause{Reason: "maintenance", Until: timestamppb.New(until)}
	})
	require.Equal(t, second, await(t, started))
	require.False(t, time.Now().Before(until))
	finish <- struct{}{}
	g.Await(t, second, task.PhaseSucceeded)
	require.Len(t, g.Of(second), 2, "the pause has cost it nothing")
	stop()
	g.RequireSettled(t, typeDelay)
}

// A worker that comes to a paused type takes nothing from the beginning.
func TestTypeIsPausedFromTheStart(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.Change(func() {
		g.Policies[typeDelay].Pause, g.Policies[typeDelay].Concurrency = &brokerv1.Pause{Reason: "not yet"}, 3
	})
	id := g.Submit(t, typeDelay)
	w, _ := run(t, &faults{delay: func(context.Context) error { return nil }}, Config{AMQPURLs: []string{b.URL}})
	g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool {
		return slotsOf(b, typeDelay).Paused && slotsOf(b, typeDelay).Concurrency == 3 && b.Control == 1
	})
	require.Empty(t, g.Of(id))
	g.Control(t, w, typeDelay, func(p *brokerv1.TypePolicy) { p.Pause = nil })
	require.EqualValues(t, 1, g.Await(t, id, task.PhaseSucceeded).Key.Delivery, "it was never fetched before")
}

func TestGatewayDrainsTheWorker(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	log := make(said, 1000)
	started, finish := make(chan struct{}), make(chan struct{})
	w := newWorker(t, Config{AMQPURLs: []string{b.URL}, Logger: slogTo(log)})
	demov1.RegisterFaultServiceServer(w, &faults{delay: func(context.Context) error {
		close(started)
		<-finish
		return nil
	}})
	ended := make(chan error, 1)
	go func() { ended <- w.Run(t.Context()) }()
	id := g.Submit(t, typeDelay)
	await(t, started)
	for range 2 {
		g.Say(t, w, &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Drain{Drain: &brokerv1.DrainRequest{Reason: "the host goes away"}}})
	}
	log.await(t, "the host goes away")
	g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool { return b.Draining && !b.Goodbye })
	close(finish)
	g.Await(t, id, task.PhaseSucceeded)
	require.NoError(t, await(t, ended))
	g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool { return b.Goodbye })
}
