package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"google.golang.org/genproto/googleapis/rpc/code"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
)

// ending is how an execution ended, for metrics and spans.
type ending int

// The outcomes. One of which the handler asked for later, or that was given back, is
// released.
const (
	succeeded ending = iota
	failed
	lost
	released
	cancelled
	endings
)

var endingNames = [endings]string{"succeeded", "failed", "lost", "released", "cancelled"}

// String is the outcome in one word.
func (o ending) String() string { return endingNames[o] }

// endingOf is the outcome that an execution's last event tells of.
func endingOf(e *task.Event) ending {
	switch e.Key.Phase {
	case task.PhaseSucceeded:
		return succeeded
	case task.PhaseCancelled:
		return cancelled
	case task.PhaseLost:
		return lost
	case task.PhaseReleased:
		return released
	case task.PhaseRetrying:
		if e.Failure == nil {
			return released
		}
	}
	return failed
}

// codeCount is how many codes gRPC has, from OK.
const codeCount = int(code.Code_UNAUTHENTICATED) + 1

// codeOf is the error that an execution's last event tells of, OK for none. What was
// taken from a handler counts as if it had been cancelled.
func codeOf(e *task.Event) code.Code {
	switch {
	case e.Failure != nil && e.Failure.Code > 0 && e.Failure.Code < codeCount:
		return code.Code(e.Failure.Code)
	case e.Failure != nil:
		return code.Code_UNKNOWN
	case e.Key.Phase == task.PhaseLost, e.Key.Phase == task.PhaseReleased:
		return code.Code_CANCELLED
	}
	return code.Code_OK
}

// metrics are a worker's instruments.
type metrics struct {
	meter                                 metric.Meter
	duration                              metric.Float64Histogram
	attempts                              metric.Int64Counter
	running, concurrency, stuck, admitted metric.Int64ObservableGauge
}

// newMetrics makes the instruments.
func newMetrics(provider metric.MeterProvider) (*metrics, error) {
	m := &metrics{meter: provider.Meter(scope)}
	errs := make([]error, 6)
	m.duration, errs[0] = m.meter.Float64Histogram("messaging.process.duration", metric.WithUnit("s"),
		metric.WithDescription("Time that handlers take, by attempt."), metric.WithExplicitBucketBoundaries(telemetry.SecondsBuckets...))
	m.attempts, errs[1] = m.meter.Int64Counter("warren.worker.attempts", metric.WithUnit("{attempt}"),
		metric.WithDescription("Attempts that were started and have ended."))
	m.running, errs[2] = m.meter.Int64ObservableGauge("warren.worker.running", metric.WithUnit("{attempt}"),
		metric.WithDescription("Handlers that run."))
	m.concurrency, errs[3] = m.meter.Int64ObservableGauge("warren.worker.concurrency", metric.WithUnit("{attempt}"),
		metric.WithDescription("Handlers that may run at once."))
	m.stuck, errs[4] = m.meter.Int64ObservableGauge("warren.worker.stuck", metric.WithUnit("{attempt}"),
		metric.WithDescription("Handlers that were written off: they go on long after their timeout."))
	m.admitted, errs[5] = m.meter.Int64ObservableGauge("warren.worker.admitted", metric.WithUnit("{worker}"),
		metric.WithDescription("1 while the worker takes tasks, else 0."))
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("make the worker's metrics: %w", err)
	}
	return m, nil
}

// measure has what the worker does measured from now on, until the answer is called.
func (w *Worker) measure() (stop func(), err error) {
	m, err := newMetrics(w.cfg.MeterProvider)
	if err != nil {
		return nil, err
	}
	for name, p := range w.pools {
		p.metrics = m.of(p.exchange, name)
	}
	return m.observe(w)
}

// observe has a worker's gauges read from now on, until the answer is called.
func (m *metrics) observe(w *Worker) (stop func(), err error) {
	types := map[string]metric.ObserveOption{}
	for name := range w.pools {
		types[name] = metric.WithAttributeSet(attribute.NewSet(telemetry.TaskTypeKey.String(name)))
	}
	registration, err := m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for name, p := range w.pools {
			o.ObserveInt64(m.running, int64(p.running.Load()), types[name])
			o.ObserveInt64(m.concurrency, int64(p.slots.size()), types[name])
			o.ObserveInt64(m.stuck, int64(p.stuck.Load()), types[name])
		}
		o.ObserveInt64(m.admitted, w.admits())
		return nil
	}, m.running, m.concurrency, m.stuck, m.admitted)
	if err != nil {
		return nil, fmt.Errorf("have the worker's metrics read: %w", err)
	}
	return func() { _ = registration.Unregister() }, nil
}

// admits is 1 if the worker takes tasks, else 0.
func (w *Worker) admits() int64 {
	if w.stopTaking.Err() != nil || w.links.Load() == 0 || w.gate.barred() != "" {
		return 0
	}
	return 1
}

// typeMetrics are those of one task type, with everything made ahead that a record
// needs: nothing is allocated for an attempt.
type typeMetrics struct {
	duration  metric.Float64Histogram
	attempts  metric.Int64Counter
	byCode    [codeCount][]metric.RecordOption
	byOutcome [endings][]metric.AddOption
}

// of makes the metrics of a task type whose tasks come by an exchange.
func (m *metrics) of(exchange, taskType string) *typeMetrics {
	t := &typeMetrics{duration: m.duration, attempts: m.attempts}
	for c := range t.byCode {
		attributes := []attribute.KeyValue{
			semconv.MessagingSystemRabbitMQ, semconv.MessagingOperationName("process"),
			semconv.MessagingDestinationName(exchange), telemetry.TaskTypeKey.String(taskType),
		}
		if c != int(code.Code_OK) {
			attributes = append(attributes, semconv.ErrorTypeKey.String(code.Code(c).String()))
		}
		t.byCode[c] = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attributes...))}
	}
	for o := range t.byOutcome {
		t.byOutcome[o] = []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(
			telemetry.TaskTypeKey.String(taskType), telemetry.OutcomeKey.String(ending(o).String())))}
	}
	return t
}

// handled measures a handler that took so long and has led to an event.
func (t *typeMetrics) handled(took time.Duration, e *task.Event) {
	if t != nil {
		t.duration.Record(context.Background(), took.Seconds(), t.byCode[codeOf(e)]...)
	}
}

// ended counts an attempt by the event that ends it.
func (t *typeMetrics) ended(e *task.Event) {
	if t != nil {
		t.attempts.Add(context.Background(), 1, t.byOutcome[endingOf(e)]...)
	}
}
