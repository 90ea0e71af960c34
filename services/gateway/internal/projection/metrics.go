package projection

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// metrics count what happens to tasks, once it is in the store: an event that comes
// again counts for nothing.
type metrics struct {
	nameOf func(taskType string) (name string, known bool)

	ended, attempts, retries metric.Int64Counter
	duration, queueTime      metric.Float64Histogram
	lag                      metric.Int64ObservableGauge
	lagTime                  metric.Float64ObservableGauge

	types    *telemetry.Labels[string]
	ends     *telemetry.Labels[endKey]
	outcomes *telemetry.Labels[outcomeKey]

	observe func(metric.Callback) (stop func())
}

type endKey struct {
	taskType string
	state    task.State
}

type outcomeKey struct{ taskType, outcome string }

// MetricsConfig says what a projection measures.
type MetricsConfig struct {
	// MeterProvider is where; nil is otel's global one.
	MeterProvider metric.MeterProvider
	// NameOf is a task type's name in the catalogue; false if it has none there. The
	// tasks of such types are counted together.
	NameOf func(taskType string) (name string, known bool)
	// Queue asks how the status queue stands.
	Queue Queue
}

// Measure has the projection measured; call it before anything else. The answer tells
// of what is not projected yet, until its context ends.
func (p *Projection) Measure(cfg MetricsConfig) (run func(context.Context)) {
	p.metrics = newMetrics(cfg)
	return newLag(p.held, p.metrics, cfg.Queue).run
}

func newMetrics(cfg MetricsConfig) *metrics {
	m := telemetry.NewMeter(cfg.MeterProvider, "github.com/warrenmq/warren/services/gateway/internal/projection")
	lag := m.ObservedGauge("warren.projection.lag", "{event}",
		"Status events that are not in the store yet: those that the gateway holds, and one for each message in the status queue, which may have more.")
	lagTime := m.ObservedSeconds("warren.projection.lag.time", "How old the oldest status event is that is not in the store yet; 0 if there is none.")
	return &metrics{
		nameOf:   cfg.NameOf,
		ended:    m.Counter("warren.task.ended", "{task}", "Runs of tasks that have ended, by the state that they first ended in."),
		attempts: m.Counter("warren.task.attempts", "{attempt}", "Executions of tasks that have ended."),
		retries:  m.Counter("warren.task.retries", "{attempt}", "Attempts after which another one was planned."),
		duration: m.Durations("warren.task.duration",
			"Time from the submission of a task, or from when it was due if that was later, to the end of its first run."),
		queueTime: m.Durations("warren.task.queue.time",
			"Time from the submission of a task, or from when it was due if that was later, to its first start."),
		lag: lag, lagTime: lagTime,
		types: telemetry.NewLabels(func(taskType string) []attribute.KeyValue {
			return []attribute.KeyValue{telemetry.TaskTypeKey.String(taskType)}
		}),
		ends: telemetry.NewLabels(func(k endKey) []attribute.KeyValue {
			return []attribute.KeyValue{telemetry.TaskTypeKey.String(k.taskType), telemetry.StateKey.String(k.state.String())}
		}),
		outcomes: telemetry.NewLabels(func(k outcomeKey) []attribute.KeyValue {
			return []attribute.KeyValue{telemetry.TaskTypeKey.String(k.taskType), telemetry.OutcomeKey.String(k.outcome)}
		}),
		observe: func(f metric.Callback) (stop func()) { return m.Observe(f, lag, lagTime) },
	}
}

func (m *metrics) label(taskType string) string {
	if name, known := m.nameOf(taskType); known {
		return name
	}
	return telemetry.UnknownType
}

// changed counts what has happened to a task.
func (m *metrics) changed(ctx context.Context, c *store.Change) {
	if m == nil || c.News == (store.News{}) {
		return
	}
	taskType, n := m.label(c.Type), &c.News
	m.end(ctx, endKey{taskType, task.StateSucceeded}, n.Succeeded)
	m.end(ctx, endKey{taskType, task.StateCancelled}, n.Cancelled)
	m.end(ctx, endKey{taskType, task.StateDeadLettered}, n.DeadLettered)
	if n.Ended {
		m.duration.Record(ctx, n.Took.Seconds(), m.ends.Of(endKey{taskType, n.EndState}).Record...)
	}
	if n.Started {
		m.queueTime.Record(ctx, n.Waited.Seconds(), m.types.Of(taskType).Record...)
	}
	if n.Retries > 0 {
		m.retries.Add(ctx, int64(n.Retries), m.types.Of(taskType).Add...)
	}
	m.attempt(ctx, outcomeKey{taskType, "succeeded"}, n.Attempts.Succeeded)
	m.attempt(ctx, outcomeKey{taskType, "failed"}, n.Attempts.Failed)
	m.attempt(ctx, outcomeKey{taskType, "cancelled"}, n.Attempts.Cancelled)
	m.attempt(ctx, outcomeKey{taskType, "released"}, n.Attempts.Released)
	m.attempt(ctx, outcomeKey{taskType, "lost"}, n.Attempts.Lost)
}

func (m *metrics) end(ctx context.Context, k endKey, n int) {
	if n > 0 {
		m.ended.Add(ctx, int64(n), m.ends.Of(k).Add...)
	}
}

func (m *metrics) attempt(ctx context.Context, k outcomeKey, n int) {
	if n > 0 {
		m.attempts.Add(ctx, int64(n), m.outcomes.Of(k).Add...)
	}
}

// cancelled counts a task that was cancelled before it was due, which says nothing of
// how long tasks take.
func (m *metrics) cancelled(ctx context.Context, taskType string) {
	if m != nil {
		m.end(ctx, endKey{m.label(taskType), task.StateCancelled}, 1)
	}
}

// observed tells of the lag, as it is at a time.
func (m *metrics) observed(o metric.Observer, l *lag, now time.Time) {
	b, ok := l.sampler.Last()
	if !ok {
		return
	}
	o.ObserveInt64(m.lag, b.ready+b.held)
	o.ObserveFloat64(m.lagTime, l.age(b, now).Seconds())
}
