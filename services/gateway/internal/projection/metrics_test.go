//go:build unix

package projection_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry/metrictest"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// catalogued is the type that the tests' catalogue has.
const catalogued = "a.v1.A.B"

// noQueue is a broker that is out of reach.
type noQueue struct{}

func (noQueue) Do(ctx context.Context, _ func(*broker.Topology) error) error {
	<-ctx.Done()
	return ctx.Err()
}

// measured is a projection with metrics, whose catalogue has what known says.
func measured(s store.Store, known func(string) bool) (*projection.Projection, *metrictest.Metrics) {
	m := metrictest.New()
	p := projection.New(s, watch.NewHub(), &lot{}, nil, quiet())
	nameOf := func(name string) (string, bool) { return name, known(name) }
	p.Measure(projection.MetricsConfig{MeterProvider: m.Provider(), NameOf: nameOf, Queue: noQueue{}})
	return p, m
}

// life is what happens to a task: it is submitted, and its attempts end in phases, each
// after a second.
func life(taskType string, causes task.Cause, ends ...task.Phase) (events []task.Event) {
	id := task.NewID()
	add := func(phase task.Phase, attempt int, edit func(*task.Event)) {
		e := event(id, phase)
		e.Type, e.Key.Attempt = taskType, max(attempt, 1)
		if attempt > 0 {
			e.Key.Delivery = int64(attempt)
		}
		e.Time = e.Time.Add(time.Duration(len(events)) * time.Second)
		edit(&e)
		events = append(events, e)
	}
	add(task.PhaseQueued, 0, func(e *task.Event) { e.Head = &task.Head{CreateTime: e.Time} })
	for i, phase := range ends {
		add(task.PhaseStarted, i+1, func(*task.Event) {})
		add(phase, i+1, func(e *task.Event) {
			switch phase {
			case task.PhaseRetrying:
				e.NextAttempt, e.NextAttemptTime = i+2, e.Time.Add(time.Second)
				e.Failure = &task.Failure{Code: 13, Message: "failed on " + id}
			case task.PhaseDeadLettered:
				e.Cause, e.Failure = causes, &task.Failure{Code: 3, Message: "failed on " + id}
			default:
			}
		})
	}
	return events
}

func TestMetricsOfTasks(t *testing.T) {
	t.Parallel()
	p, m := measured(newStore(t), func(name string) bool { return name == catalogued })
	fine := life(catalogued, 0, task.PhaseSucceeded)
	retried := life(catalogued, 0, task.PhaseRetrying, task.PhaseRetrying, task.PhaseSucceeded)
	dead := life(catalogued, task.CausePermanentFailure, task.PhaseDeadLettered)
	stranger := life("no.Such.Type", 0, task.PhaseSucceeded)
	for _, events := range [][]task.Event{fine, retried[:3], dead, retried, stranger, fine, dead} {
		var encoded [][]byte
		for _, e := range events {
			encoded = append(encoded, encode(t, e), encode(t, e))
		}
		require.NoError(t, p.Handle(t.Context(), []broker.Delivery{message(t, encoded), message(t, encoded)}))
	}
	const known, unknown = ",warren.task.type=" + catalogued, ",warren.task.type=unknown"
	require.Equal(t, map[string]float64{
		"warren.state=SUCCEEDED" + known: 2, "warren.state=DEAD_LETTERED" + known: 1, "warren.state=SUCCEEDED" + unknown: 1,
	}, m.Series(t, "warren.task.ended"))
	require.Equal(t, map[string]float64{
		"warren.outcome=succeeded" + known: 2, "warren.outcome=failed" + known: 3, "warren.outcome=succeeded" + unknown: 1,
	}, m.Series(t, "warren.task.attempts"))
	require.Equal(t, map[string]float64{"warren.task.type=" + catalogued: 2}, m.Series(t, "warren.task.retries"))
	require.Equal(t, map[string]float64{"warren.task.type=" + catalogued: 3, "warren.task.type=unknown": 1}, m.Series(t, "warren.task.queue.time"))
	require.Equal(t, map[string]float64{"warren.task.type=" + catalogued: 3, "warren.task.type=unknown": 1}, m.Sums(t, "warren.task.queue.time"))
	require.Equal(t, map[string]float64{
		"warren.state=SUCCEEDED" + known: 2 + 6, "warren.state=DEAD_LETTERED" + known: 2, "warren.state=SUCCEEDED" + unknown: 2,
	}, m.Sums(t, "warren.task.duration"))
	p.Cancelled(t.Context(), &task.Task{ID: task.NewID(), Type: catalogued})
	require.EqualValues(t, 1, m.Series(t, "warren.task.ended")["warren.state=CANCELLED"+known])
}

// Whatever ids, messages of failures and unknown types there are: none becomes a series.
func TestMetricsAreBounded(t *testing.T) {
	t.Parallel()
	p, m := measured(newStore(t), func(name string) bool { return strings.HasPrefix(name, "acme.") })
	for page := range 20 {
		var events []task.Event
		for i := range 500 {
			n := page*500 + i
			taskType := fmt.Sprintf("acme.v1.Service.Method%d", n%1000)
			if n%10 == 9 {
				taskType = fmt.Sprintf("stray.v1.Service.Method%d", n)
			}
			events = append(events, life(taskType, task.CauseAttemptsExhausted, task.PhaseRetrying, task.PhaseDeadLettered)...)
		}
		require.NoError(t, p.Apply(t.Context(), events))
	}
	all := m.All(t)
	require.ElementsMatch(t, []string{
		"warren.task.ended", "warren.task.attempts", "warren.task.retries", "warren.task.duration", "warren.task.queue.time",
	}, collect(all))
	for name, series := range all {
		require.Len(t, series, 901, name)
		total := 0.0
		for _, n := range series {
			total += n
		}
		require.EqualValues(t, map[bool]int{false: 10_000, true: 20_000}[name == "warren.task.attempts"], total, name)
	}
}

// A thousand task types are a thousand series.
func TestMetricsOfAThousandTypes(t *testing.T) {
	t.Parallel()
	p, m := measured(newStore(t), func(string) bool { return true })
	var events []task.Event
	for i := range 1000 {
		events = append(events, life(fmt.Sprintf("acme.v1.Service.Method%d", i), 0, task.PhaseSucceeded)...)
	}
	require.NoError(t, p.Apply(t.Context(), events))
	for name, series := range m.All(t) {
		require.Len(t, series, 1000, name)
	}
}

func collect(all map[string]map[string]float64) (names []string) {
	for name := range maps.Keys(all) {
		names = append(names, name)
	}
	return names
}

// What is not in the store yet is told as it is: with a store that does not answer, by
// the number and the age of what waits for it.
func TestMetricsOfTheLag(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	cfg := broker.Config{URLs: []string{b.URL}, Name: "a test", Logger: quiet()}
	require.NoError(t, cfg.Validate())
	s := &locked{moody: newStore(t), open: make(chan struct{})}
	m := metrictest.New()
	conn := broker.NewConnection(cfg, "consume", (*broker.Topology).DeclareShared)
	p := projection.New(s, watch.NewHub(), &lot{}, nil, quiet())
	lag := p.Measure(projection.MetricsConfig{MeterProvider: m.Provider(), NameOf: func(name string) (string, bool) { return name, true }, Queue: conn})
	conn.Subscribe(p.Subscription(cfg.Names()))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { conn.Run(ctx) })
	running.Go(func() { lag(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	eventually := func(name string, is func(float64) bool) {
		t.Helper()
		brokertest.Eventually(t, time.Minute, func() error {
			if n, ok := m.Series(t, name)[""]; !ok || !is(n) {
				return fmt.Errorf("%s is %v", name, m.Series(t, name))
			}
			return nil
		})
	}
	zero := func(n float64) bool { return n == 0 }
	eventually("warren.projection.lag", zero)
	eventually("warren.projection.lag.time", zero)

	const messages = 40
	id := task.NewID()
	publisher := broker.NewConnection(cfg, "publish", (*broker.Topology).CheckShared)
	status := broker.NewStatusWriter(broker.NewPublisher(publisher))
	running.Go(func() { publisher.Run(ctx) })
	running.Go(func() { status.Run(ctx) })
	began := time.Now()
	for i := range messages {
		e := event(id, task.PhaseMessage)
		e.Key.Sequence, e.Time, e.Message = int64(i+1), began.Add(-time.Hour), []byte{1}
		receipt, err := status.Write(t.Context(), &e)
		require.NoError(t, err)
		require.NoError(t, receipt.Wait(t.Context()))
	}
	eventually("warren.projection.lag", func(n float64) bool { return n == messages })
	eventually("warren.projection.lag.time", func(n float64) bool { return n >= time.Hour.Seconds() && n < time.Since(began).Seconds()+3601 })
	close(s.open)
	eventually("warren.projection.lag", zero)
	eventually("warren.projection.lag.time", zero)
}

// locked is a store that does not answer until it is open.
type locked struct {
	*moody
	open chan struct{}
}

func (l *locked) Apply(ctx context.Context, events []task.Event) ([]store.Change, error) {
	select {
	case <-l.open:
		return l.moody.Apply(ctx, events)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
