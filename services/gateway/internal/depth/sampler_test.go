package depth

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

const patience = 15 * time.Second

var names = broker.Names{Namespace: broker.DefaultNamespace}

// limits are those of task types.
type limits struct {
	mu sync.Mutex
	of map[string]int64
}

func (l *limits) QueueLimits() map[string]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of
}

func (l *limits) set(of map[string]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of = of
}

// run runs what a gauge needs, and gives the end of it.
func run(t testing.TB, runs ...func(context.Context)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, r := range runs {
		running.Go(func() { r(ctx) })
	}
	stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(stop)
	return stop
}

func TestQueuesAreSampled(t *testing.T) {
	t.Parallel()
	const missing, other = "acme.v1.ImageService.Crop", "acme.v1.ImageService.Tile"
	b := brokertest.VHost(t)
	cfg := broker.Config{URLs: []string{b.URL}, Name: "a test", Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	require.NoError(t, cfg.Validate())
	conn := broker.NewConnection(cfg, "both", func(topology *broker.Topology) error {
		if err := topology.DeclareShared(); err != nil {
			return err
		}
		if err := topology.DeclareWork(resize); err != nil {
			return err
		}
		return topology.DeclareWork(other)
	})
	publisher := broker.NewPublisher(conn)
	l := &limits{of: map[string]int64{missing: 3, resize: 3, other: 3}}
	g := New(l, conn)
	disconnect := run(t, conn.Run)
	run(t, g.Run)
	ready, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, publisher.AwaitReady(ready))
	publish := func(taskType string) {
		t.Helper()
		require.NoError(t, publisher.PublishTask(ready, &broker.TaskMessage{
			ID: task.NewID(), Type: taskType, Run: 1, Copy: task.NewCopy(), CreateTime: time.Now(), Priority: task.PriorityNormal,
		}))
	}
	// Others publish: what is known is known from the broker.
	for range 3 {
		publish(resize)
		publish(other)
	}
	// A queue that is missing hides no other.
	brokertest.Eventually(t, patience, func() bool { return g.AtLimit(resize, 3) && g.AtLimit(other, 3) })
	_, ok := g.Enter(resize, 3)
	require.False(t, ok)
	leave, ok := g.Enter(missing, 3)
	require.True(t, ok)
	leave(false)

	// There is room again.
	require.Len(t, b.Drain(t, names.Work(resize)), 3)
	brokertest.Eventually(t, patience, func() bool {
		leave, ok := g.Enter(resize, 3)
		if ok {
			leave(false)
		}
		return ok
	})
	_, ok = g.Enter(other, 3)
	require.False(t, ok)

	// Without a connection nothing is known any more.
	disconnect()
	brokertest.Eventually(t, patience, func() bool { return !g.AtLimit(other, 3) })
	leave, ok = g.Enter(other, 3)
	require.True(t, ok)
	leave(true)

	l.set(nil)
	brokertest.Eventually(t, patience, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.queues) == 0
	})
}
