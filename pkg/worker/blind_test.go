package worker

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

// said is a log whose texts a test waits for.
type said chan string

// Enabled implements [slog.Handler].
func (said) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle implements [slog.Handler].
func (s said) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	s <- text
	return nil
}

// WithAttrs implements [slog.Handler].
func (s said) WithAttrs([]slog.Attr) slog.Handler { return s }

// WithGroup implements [slog.Handler].
func (s said) WithGroup(string) slog.Handler { return s }

func slogTo(s said) *slog.Logger { return slog.New(s) }

// await waits for a text with what is wanted in it.
func (s said) await(t testing.TB, want string) {
	t.Helper()
	for text := await(t, s); ; text = await(t, s) {
		if strings.Contains(text, want) {
			return
		}
	}
}

func TestNoTaskIsTakenBeforeItIsKnownWhatIsCancelled(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.Change(func() { g.Deaf, g.Page = true, 2 })
	log := make(said, 1000)
	w, err := New(Config{AMQPURLs: []string{b.URL}, Logger: slogTo(log)})
	require.NoError(t, err)
	demov1.RegisterFaultServiceServer(w, &faults{delay: func(context.Context) error { return nil }})
	var dropped []string
	for range 5 {
		dropped = append(dropped, g.Submit(t, typeDelay))
	}
	wanted := g.Submit(t, typeDelay)
	stop := serve(t, w)
	log.await(t, "waiting for a gateway to tell what is cancelled")
	beat := g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool { return len(b.Types) == 1 })
	require.Zero(t, beat.CancelPosition)
	_, consumers := g.Count(t, g.Names.Work(typeDelay))
	require.Zero(t, consumers)

	g.Record("before it came", dropped...)
	g.Change(func() { g.Deaf = false })
	// It asks again by itself.
	for _, id := range dropped {
		g.requireDropped(t, id, "before it came")
	}
	g.Await(t, wanted, task.PhaseSucceeded)
	g.AwaitEffect(t, w, len(dropped))
	g.Lock()
	first, last := g.Syncs[0], g.Syncs[len(g.Syncs)-1]
	g.Unlock()
	require.Equal(t, []string{typeDelay}, first.GetSync().Types)
	require.EqualValues(t, 1, first.GetSync().Control)
	require.Equal(t, first.RequestId, last.RequestId)
	stop()
	g.RequireSettled(t, typeDelay)
}

func TestWorkerThatWaitsForAGatewayCanStop(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	g.Change(func() { g.Deaf = true })
	_, stop := run(t, &faults{}, Config{AMQPURLs: []string{b.URL}})
	brokertest.Eventually(t, patience, func() bool {
		g.Lock()
		defer g.Unlock()
		return len(g.Syncs) > 0
	})
	stop()
}

// Without its control queue a worker starts nothing, and takes nothing that it can't
// start; what runs goes on.
func TestBlindWorkerStartsNothing(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	started, finish := make(chan string, 9), make(chan struct{}, 9)
	w, stop := run(t, &faults{delay: func(ctx context.Context) error {
		info, _ := task.FromContext(ctx)
		started <- info.ID
		select {
		case <-finish:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}, Config{AMQPURLs: []string{b.URL}, Concurrency: 1, Prefetch: 2})
	g.Record("long ago", task.NewID())
	runs := g.Submit(t, typeDelay)
	require.Equal(t, runs, await(t, started))
	fetched, cancelled := g.Submit(t, typeDelay), g.Submit(t, typeDelay)
	g.AwaitReady(t, g.Names.Work(typeDelay), 0)

	g.Change(func() { g.Deaf = true })
	_, err := b.Channel(t).QueueDelete(g.Names.ControlQueue(w.ID(), 1), false, false, false)
	require.NoError(t, err)
	g.AwaitReady(t, g.Names.Work(typeDelay), 2)
	// A heartbeat asks for what it misses; only the answer to its question will do.
	beat := g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool { return b.CancelPosition == 0 && b.Control == 2 })
	require.Len(t, beat.Running, 1)
	g.Cancel(t, w, "while it is blind", cancelled)
	finish <- struct{}{}
	g.Await(t, runs, task.PhaseSucceeded)
	g.AwaitReady(t, g.Names.Work(typeDelay), 2)
	require.Empty(t, started)

	g.Change(func() { g.Deaf = false })
	require.Equal(t, fetched, await(t, started))
	finish <- struct{}{}
	g.requireDropped(t, cancelled, "while it is blind")
	g.Await(t, fetched, task.PhaseSucceeded)
	require.Len(t, g.Of(fetched), 2, "to be given back costs nothing")
	require.Equal(t, 1, g.Of(fetched, task.PhaseStarted)[0].Key.Attempt)
	stop()
	g.RequireSettled(t, typeDelay)
}

// Each new connection is in step with the gateways before it takes tasks.
func TestEachConnectionLearnsAnew(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	proxy := brokertest.NewProxy(t, b.URL)
	w, stop := run(t, &faults{delay: func(context.Context) error { return errors.New("it was started") }}, Config{AMQPURLs: []string{proxy.URL()}})
	g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool { return b.Control == 1 })
	proxy.Cut(brokertest.AMQP10)
	brokertest.Eventually(t, patience, func() bool {
		_, consumers := g.Count(t, g.Names.Work(typeDelay))
		return consumers == 0
	})
	id := g.Submit(t, typeDelay)
	position := g.Record("while it was away", id)
	proxy.Restore(brokertest.AMQP10)
	g.requireDropped(t, id, "while it was away")
	g.AwaitEffect(t, w, position, id)
	stop()
	g.RequireSettled(t, typeDelay)
}

// A worker that has missed news says so at once, and learns them.
func TestMissedNewsAreAskedFor(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeDelay)
	w, _ := run(t, &faults{}, Config{AMQPURLs: []string{b.URL}})
	g.Cancel(t, w, "", task.NewID())
	g.AwaitEffect(t, w, 1)
	g.Record("not told", task.NewID())
	// Sooner than its next heartbeat is due anyway, one of which there may be at once.
	const gaps = 10
	began := time.Now()
	for range gaps {
		since := time.Now()
		g.Cancel(t, w, "", task.NewID())
		g.AwaitBeat(t, w, func(b *brokerv1.Heartbeat) bool { return b.CancelPosition == 1 && b.Time.AsTime().After(since) })
	}
	require.Less(t, time.Since(began), gaps/2*beatPeriod)
	g.Lock()
	missed := g.After(1, "")
	g.Unlock()
	require.NoError(t, g.Tell(t.Context(), w.ID(), missed...))
	const all = 1 + 1 + gaps
	g.AwaitEffect(t, w, all)
	require.EqualValues(t, all, w.cancelled.size.Load())
	require.NoError(t, g.Tell(t.Context(), w.ID(), &brokerv1.CancellationBatch{After: all, Position: all, Forget: g.List}))
	brokertest.Eventually(t, patience, func() bool { return w.cancelled.size.Load() == 0 })
}

// On a connection that was silent for long nothing is started.
func TestNothingIsStartedOnASilentConnection(t *testing.T) {
	t.Parallel()
	x := &execution{consumption: &consumption{w: newWorker(t, Config{}), pool: newPool(1, 1), link: &broker.Link{}}}
	x.w.gate.blind()
	require.Contains(t, x.barred(), "what is cancelled")
	x.w.gate.see()
	require.Contains(t, x.barred(), "silent", "a connection that was never heard of")
}
