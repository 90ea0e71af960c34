package worker

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

func TestEachPauseIsLoggedOnce(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	w := newWorker(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	w.Resume()
	require.Empty(t, log.String())
	w.Pause("the target is away")
	w.Pause("the target is away")
	w.Pause("its services are not known")
	w.Resume()
	w.Resume()
	w.Pause("the target is away")
	require.Equal(t, 2, strings.Count(log.String(), `reason="the target is away"`), log.String())
	require.Equal(t, 1, strings.Count(log.String(), `reason="its services are not known"`))
	require.Equal(t, 1, strings.Count(log.String(), "resumed"))
}

func TestPauseGivesBackWhatIsNotStarted(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	started, finish := make(chan string, 4), make(chan struct{}, 4)
	w, stop := run(t, &faults{delay: func(ctx context.Context) error {
		info, _ := task.FromContext(ctx)
		started <- info.ID
		<-finish
		return nil
	}}, Config{AMQPURLs: []string{b.URL}, Concurrency: 1, Prefetch: 2})
	for range 4 {
		g.Submit(t, typeDelay)
	}
	first := await(t, started)
	g.AwaitReady(t, g.Names.Work(typeDelay), 1)
	w.Pause("for a while")
	g.AwaitReady(t, g.Names.Work(typeDelay), 3)

	// What runs goes on, and its free slot is not used.
	finish <- struct{}{}
	g.Await(t, first, task.PhaseSucceeded)
	brokertest.Eventually(t, patience, func() bool {
		s, _ := w.gate.now()
		return s.executing == 0
	})
	g.AwaitReady(t, g.Names.Work(typeDelay), 3)
	require.Empty(t, started)

	w.Resume()
	for range 3 {
		finish <- struct{}{}
		g.Await(t, await(t, started), task.PhaseSucceeded)
	}
	stop()
	g.RequireSettled(t, typeDelay)
}

func TestPausedWorkerIsRegisteredAndBeats(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	w, err := New(Config{AMQPURLs: []string{b.URL}, Logger: quiet()})
	require.NoError(t, err)
	handled := make(chan struct{}, 1)
	demov1.RegisterFaultServiceServer(w, &faults{delay: func(context.Context) error {
		handled <- struct{}{}
		return nil
	}})
	w.Pause("from the start")
	id := g.Submit(t, typeDelay)
	stop := serve(t, w)
	beaten := func() bool {
		_, beats := g.Snapshot()
		return len(beats) > 0 && len(beats[len(beats)-1].Types) == 1
	}
	brokertest.Eventually(t, patience, beaten)
	_, consumers := g.Count(t, g.Names.Work(typeDelay))
	require.Equal(t, 1, consumers, "it waits at its queue")
	require.Empty(t, handled)
	require.Empty(t, g.Of(id))

	// It hears what gateways say.
	g.Change(func() { g.Again = true })
	brokertest.Eventually(t, patience, func() bool {
		requests, _ := g.Snapshot()
		return len(requests) >= 2
	})
	require.Empty(t, handled)
	w.Resume()
	await(t, handled)
	g.Await(t, id, task.PhaseSucceeded)

	// It ends while it is paused.
	w.Pause("until the end")
	g.Submit(t, typeDelay)
	stop()
	g.AwaitReady(t, g.Names.Work(typeDelay), 1)
	require.Empty(t, handled)
}

// A paused worker that loses its connection comes back paused.
func TestPauseOutlivesTheConnection(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	proxy := brokertest.NewProxy(t, b.URL)
	handled := make(chan struct{}, 1)
	w, _ := run(t, &faults{delay: func(context.Context) error {
		handled <- struct{}{}
		return nil
	}}, Config{AMQPURLs: []string{proxy.URL()}})
	consumed := func(by int) func() bool {
		return func() bool {
			_, consumers := g.Count(t, g.Names.Work(typeDelay))
			return consumers == by
		}
	}
	brokertest.Eventually(t, patience, consumed(1))
	w.Pause("for a while")
	proxy.Cut(brokertest.AMQP10)
	brokertest.Eventually(t, patience, consumed(0))
	proxy.Restore(brokertest.AMQP10)
	brokertest.Eventually(t, patience, consumed(1))
	g.Submit(t, typeDelay)
	g.AwaitReady(t, g.Names.Work(typeDelay), 1)
	require.Empty(t, handled)
	w.Resume()
	await(t, handled)
}

// counted are handlers of both types that count the starts of each task.
type counted struct {
	mu           sync.Mutex
	starts       map[string]int
	begun, ended atomic.Int64
}

func (c *counted) handle(ctx context.Context) error {
	info, _ := task.FromContext(ctx)
	c.mu.Lock()
	c.starts[info.ID]++
	c.mu.Unlock()
	c.begun.Add(1)
	defer c.ended.Add(1)
	return nil
}

func TestPauseUnderLoad(t *testing.T) {
	t.Parallel()
	const tasks = 400
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay, typeFail)
	c := &counted{starts: map[string]int{}}
	w, stop := run(t, &faults{delay: c.handle, fail: c.handle}, Config{AMQPURLs: []string{b.URL}, Concurrency: 4})
	types := []string{typeDelay, typeFail}
	var ids []string
	for n := range tasks {
		ids = append(ids, g.Submit(t, types[n%2]))
		if n%(tasks/4) != tasks/8 {
			continue
		}
		// Pauses and their ends may come from anywhere.
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() {
				w.Pause("now and then")
				w.Resume()
			})
		}
		callers.Wait()
		w.Pause("for a look")
		brokertest.Eventually(t, patience, func() error {
			waiting, _ := g.Count(t, g.Names.Work(typeDelay))
			more, _ := g.Count(t, g.Names.Work(typeFail))
			if held := int64(len(ids)) - c.ended.Load() - int64(waiting+more); held != 0 {
				return fmt.Errorf("%d tasks are neither done nor in their queue", held)
			}
			return nil
		})
		before := c.begun.Load()
		ids = append(ids, g.Submit(t, types[n%2]))
		require.Equal(t, before, c.begun.Load(), "nothing is started while it is paused")
		w.Resume()
	}
	brokertest.Eventually(t, patience, func() bool { return c.ended.Load() >= int64(len(ids)) })
	stop()
	for _, taskType := range types {
		g.RequireSettled(t, taskType)
	}
	require.EqualValues(t, len(ids), c.ended.Load(), "each is started once")
	for _, id := range ids {
		require.Equal(t, 1, c.starts[id])
		require.NotEmpty(t, g.Of(id, task.PhaseSucceeded))
	}
}

func TestSuspectDoesNotWaitInAPausedWorker(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay, typeFail)
	g.Change(func() { g.Suspect = true })
	other, finish := make(chan struct{}), make(chan struct{})
	w, stop := run(t, &faults{
		delay: func(context.Context) error { return nil },
		fail: func(context.Context) error {
			close(other)
			<-finish
			return nil
		},
	}, Config{AMQPURLs: []string{b.URL}})
	beside := g.Submit(t, typeFail)
	await(t, other)
	suspect := g.Submit(t, typeDelay, func(m *broker.TaskMessage) { m.Resend = true })
	wants := func() bool {
		s, _ := w.gate.now()
		return s.alone
	}
	brokertest.Eventually(t, patience, wants)
	w.Pause("for a while")
	brokertest.Eventually(t, patience, func() bool { return !wants() })
	g.AwaitReady(t, g.Names.Work(typeDelay), 1)
	require.Empty(t, g.Of(suspect))

	close(finish)
	g.Await(t, beside, task.PhaseSucceeded)
	w.Resume()
	g.Await(t, suspect, task.PhaseSucceeded)
	require.True(t, g.Of(suspect, task.PhaseStarted)[0].Execution.Alone)
	stop()
	g.RequireSettled(t, typeDelay)
}

// A permit that comes once the worker is paused is not used, and not spent.
func TestPermitIsNotSpentByAPause(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.setOptions(typeDelay, atMostOnce)
	g.Change(func() { g.Mute = true })
	var starts atomic.Int32
	w, stop := run(t, &faults{delay: func(context.Context) error {
		starts.Add(1)
		return nil
	}}, Config{AMQPURLs: []string{b.URL}})
	id := g.Submit(t, typeDelay)
	g.AwaitAsked(t)
	w.Pause("for a while")
	g.Change(func() { g.Mute = false })
	require.NoError(t, g.AnswerStarts(t.Context()))
	released := g.Await(t, id, task.PhaseReleased)
	require.True(t, released.NotBegun())
	require.Contains(t, released.Decision, "paused")
	require.Zero(t, starts.Load())
	w.Resume()
	g.Await(t, id, task.PhaseSucceeded)
	require.EqualValues(t, 1, starts.Load())
	stop()
	g.RequireSettled(t, typeDelay)
}
