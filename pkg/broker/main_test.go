//go:build unix

package broker_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

const (
	// within is how long anything may take that has to happen.
	within = 30 * time.Second
	// taskType is that of most tests.
	taskType = "acme.v1.ImageService.Resize"
	// otherType has no queue unless a test declares it.
	otherType = "acme.v1.ImageService.Crop"
)

var (
	names = broker.Names{Namespace: broker.DefaultNamespace}
	work  = names.Work(taskType)
)

// bounded is a context that a test can't outlive.
func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	return ctx
}

// configOf is a valid configuration that logs into the test's output.
func configOf(t testing.TB, urls ...string) broker.Config {
	t.Helper()
	cfg := broker.Config{
		URLs: urls, Name: t.Name(),
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	require.NoError(t, cfg.Validate())
	return cfg
}

// run runs f until it is stopped, after the test at the latest, and waits for
// its end. Stopping twice does nothing.
func run(t testing.TB, f func(context.Context)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	stop = func() {
		cancel()
		select {
		case <-done:
		case <-time.After(within):
			t.Errorf("it did not stop within %s", within)
		}
	}
	t.Cleanup(stop)
	return stop
}

// declare is what a gateway does on each connection.
func declare(taskTypes ...string) func(*broker.Topology) error {
	return func(topology *broker.Topology) error {
		if err := topology.DeclareShared(); err != nil {
			return err
		}
		for _, tt := range taskTypes {
			if err := topology.DeclareWork(tt); err != nil {
				return err
			}
		}
		return nil
	}
}

// connect runs a connection to the URLs that is ready to publish, as a gateway
// with the queue of taskType.
func connect(t testing.TB, urls ...string) (*broker.Connection, *broker.Publisher) {
	t.Helper()
	conn := broker.NewConnection(configOf(t, urls...), "publish", declare(taskType))
	p := broker.NewPublisher(conn)
	run(t, conn.Run)
	require.NoError(t, p.AwaitReady(bounded(t)))
	return conn, p
}

// newTask is a task of the type, fit for publishing.
func newTask(taskType string) *broker.TaskMessage {
	now := time.Now().UTC()
	return &broker.TaskMessage{
		ID: task.NewID(), Type: taskType, Payload: []byte("payload"), Run: 1, Copy: task.NewCopy(),
		CreateTime: now, RunTime: now, Priority: task.PriorityNormal,
	}
}

// publishTask publishes a task of taskType.
func publishTask(t testing.TB, p *broker.Publisher) *broker.TaskMessage {
	t.Helper()
	m := newTask(taskType)
	require.NoError(t, p.PublishTask(bounded(t), m))
	return m
}

// requireCounts waits until the queue has so many messages ready and unacknowledged.
func requireCounts(t testing.TB, b brokertest.Broker, queue string, ready, unacknowledged int) {
	t.Helper()
	brokertest.Eventually(t, within, func() error {
		if q := b.Queue(t, queue); q.MessagesReady != ready || q.MessagesUnacknowledged != unacknowledged {
			return fmt.Errorf("%s has %d messages ready and %d unacknowledged, not %d and %d",
				queue, q.MessagesReady, q.MessagesUnacknowledged, ready, unacknowledged)
		}
		return nil
	})
}

// requireEnd waits until the channel is closed.
func requireEnd(t testing.TB, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(within):
		t.Fatalf("not within %s: %s", within, what)
	}
}

// requireNext waits for a value.
func requireNext[T any](t testing.TB, values <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-values:
		return v
	case <-time.After(within):
		t.Fatalf("not within %s: %s", within, what)
		panic("unreachable")
	}
}
