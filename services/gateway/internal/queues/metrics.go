package queues

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/warrenmq/warren/pkg/broker/management"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// samplePeriod is the time between two samples of all queues, while somebody reads
// them.
const samplePeriod = 5 * time.Second

// MetricsStore knows the tasks of all types, as store.Store says.
type MetricsStore interface {
	CountScheduled(ctx context.Context, taskType string) (int64, error)
	CountRetrying(ctx context.Context) (map[string]int64, error)
	NextQueued(ctx context.Context, taskType, from string) (store.NextQueued, error)
}

// MetricsConfig is what metrics of queues need.
type MetricsConfig struct {
	// MeterProvider is where they go; nil is otel's global one.
	MeterProvider metric.MeterProvider
	Store         MetricsStore
	// Types names the task types of the catalogue: no other has a series.
	Types func() []string
}

// Metrics tell how the queues of all task types stand, as of a few seconds ago.
type Metrics struct {
	cfg     MetricsConfig
	reader  *Reader
	ages    *ages
	sampler *telemetry.Sampler[[]sample]
	// scheduled is a sample of its own: it needs no broker.
	scheduled *telemetry.Sampler[int64]
	labels    *telemetry.Labels[string]

	ready, unacked, retrying, consumers, waiting metric.Int64ObservableGauge
	age                                          metric.Float64ObservableGauge
	observe                                      func(metric.Callback) (stop func())
}

// sample is how the queue of one task type stood. What is nil was not known.
type sample struct {
	taskType                            string
	ready, unacked, retrying, consumers *int64
	// oldest is since when its oldest task has waited, zero for no task; aged says
	// that it is known.
	oldest time.Time
	aged   bool
}

// Metrics makes metrics of what the reader reads.
func (r *Reader) Metrics(cfg MetricsConfig) *Metrics {
	meter := telemetry.NewMeter(cfg.MeterProvider, "github.com/warrenmq/warren/services/gateway/internal/queues")
	m := &Metrics{
		cfg: cfg, reader: r, ages: newAges(cfg.Store),
		ready:     meter.ObservedGauge("warren.queue.ready", "{task}", "Tasks in the queue, ready to be delivered."),
		unacked:   meter.ObservedGauge("warren.queue.unacked", "{task}", "Tasks that workers hold; known with --management-url."),
		retrying:  meter.ObservedGauge("warren.queue.retrying", "{task}", "Tasks that wait for their next attempt."),
		consumers: meter.ObservedGauge("warren.queue.consumers", "{consumer}", "Consumers of the queue."),
		waiting:   meter.ObservedGauge("warren.task.scheduled", "{task}", "Tasks that wait for their time, of all types."),
		age: meter.ObservedSeconds("warren.queue.oldest.age",
			"How long the oldest task in the queue has waited in it, at least; 0 when the queue is empty."),
		labels: telemetry.NewLabels(func(taskType string) []attribute.KeyValue {
			return []attribute.KeyValue{telemetry.TaskTypeKey.String(taskType)}
		}),
	}
	m.sampler = telemetry.NewSampler(samplePeriod, m.sample)
	m.scheduled = telemetry.NewSampler(samplePeriod, func(ctx context.Context) (int64, error) { return cfg.Store.CountScheduled(ctx, "") })
	m.observe = func(f metric.Callback) (stop func()) {
		return meter.Observe(f, m.ready, m.unacked, m.retrying, m.consumers, m.waiting, m.age)
	}
	return m
}

// Run tells of the queues until ctx ends.
func (m *Metrics) Run(ctx context.Context) {
	defer m.observe(func(_ context.Context, o metric.Observer) error {
		m.observed(o, time.Now())
		return nil
	})()
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.scheduled.Run(ctx)
	}()
	m.sampler.Run(ctx)
	<-done
}

func (m *Metrics) observed(o metric.Observer, now time.Time) {
	if n, ok := m.scheduled.Last(); ok {
		o.ObserveInt64(m.waiting, n)
	}
	samples, _ := m.sampler.Last()
	for i := range samples {
		s := &samples[i]
		labels := m.labels.Of(s.taskType).Observe
		observe := func(gauge metric.Int64Observable, value *int64) {
			if value != nil {
				o.ObserveInt64(gauge, *value, labels...)
			}
		}
		observe(m.ready, s.ready)
		observe(m.unacked, s.unacked)
		observe(m.retrying, s.retrying)
		observe(m.consumers, s.consumers)
		switch {
		case !s.aged:
		case s.oldest.IsZero():
			o.ObserveFloat64(m.age, 0, labels...)
		default:
			o.ObserveFloat64(m.age, max(now.Sub(s.oldest), 0).Seconds(), labels...)
		}
	}
}

// sample reads all queues. It fails if the broker does not answer, with all else it
// goes on.
func (m *Metrics) sample(ctx context.Context) ([]sample, error) {
	types := m.cfg.Types()
	states, err := m.reader.States(ctx, types)
	if err != nil {
		return nil, err
	}
	loads := m.reader.loads(ctx, management.Beginning(m.reader.cfg.Names.Work("")))
	retrying, err := m.cfg.Store.CountRetrying(ctx)
	samples := make([]sample, len(types))
	for i, name := range types {
		s := &samples[i]
		s.taskType, s.unacked = name, loads.loads[m.reader.cfg.Names.Work(name)].Unacknowledged
		if n := retrying[name]; err == nil {
			s.retrying = &n
		}
		if !states[i].Missing {
			ready, consumers := int64(states[i].Ready), int64(states[i].Consumers)
			s.ready, s.consumers = &ready, &consumers
		}
	}
	m.ages.enter(ctx, samples)
	return samples, nil
}
