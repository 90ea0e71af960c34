//go:build unix

package queues

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry/metrictest"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
)

// types are those of a catalogue.
type types struct {
	mu    sync.Mutex
	names []string
}

func (c *types) get() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.names
}

func (c *types) set(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names = names
}

func openStore(t *testing.T) store.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// put puts a task of a type into the store as of so long ago.
func put(t *testing.T, s store.Store, taskType string, ago time.Duration, phases ...task.Phase) string {
	t.Helper()
	e := task.Event{
		TaskID: task.NewID(), Type: taskType, Time: time.Now().Add(-ago), Key: task.Key{Run: 1, Attempt: 1, Phase: task.PhaseQueued},
		NextAttempt: 2, NextAttemptTime: time.Now().Add(time.Hour),
	}
	events := []task.Event{e}
	for _, phase := range phases {
		e.Key.Phase, e.Key.Delivery = phase, 1
		events = append(events, e)
	}
	_, err := s.Apply(t.Context(), events)
	require.NoError(t, err)
	return e.TaskID
}

func TestMetricsOfQueues(t *testing.T) {
	t.Parallel()
	r, b := newReader(t, func(*Config) {})
	s, m, catalogue := openStore(t), metrictest.New(), &types{names: []string{resize, crop, missing}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	metrics := r.Metrics(MetricsConfig{MeterProvider: m.Provider(), Store: s, Types: catalogue.get})
	go func() {
		defer close(done)
		metrics.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	for range 2 {
		b.Publish(t, names.Tasks(), resize, amqp091.Publishing{})
		put(t, s, resize, time.Hour)
	}
	put(t, s, crop, time.Hour, task.PhaseStarted, task.PhaseRetrying)
	requireQueues(t, m, "warren.queue.ready", map[string]float64{resize: 2, crop: 0})
	requireQueues(t, m, "warren.queue.consumers", map[string]float64{resize: 0, crop: 0})
	requireQueues(t, m, "warren.queue.retrying", map[string]float64{resize: 0, crop: 1, missing: 0})
	require.Empty(t, m.Series(t, "warren.queue.unacked"), "not known without the management API")
	require.Equal(t, map[string]float64{"": 0}, m.Series(t, "warren.task.scheduled"))
	ages := m.Series(t, "warren.queue.oldest.age")
	require.Len(t, ages, 2)
	require.Zero(t, ages["warren.task.type="+crop], "its queue is empty")
	require.GreaterOrEqual(t, ages["warren.task.type="+resize], time.Hour.Seconds())

	catalogue.set(crop)
	requireQueues(t, m, "warren.queue.ready", map[string]float64{crop: 0})
	for _, name := range []string{"warren.queue.retrying", "warren.queue.consumers", "warren.queue.oldest.age"} {
		require.Len(t, m.Series(t, name), 1, "a retired type has no %s", name)
	}
}

func requireQueues(t *testing.T, m *metrictest.Metrics, name string, want map[string]float64) {
	t.Helper()
	series := map[string]float64{}
	for taskType, n := range want {
		series["warren.task.type="+taskType] = n
	}
	brokertest.Eventually(t, time.Minute, func() error {
		if got := m.Series(t, name); fmt.Sprint(got) != fmt.Sprint(series) {
			return fmt.Errorf("%s is %v, not %v", name, got, series)
		}
		return nil
	})
}
