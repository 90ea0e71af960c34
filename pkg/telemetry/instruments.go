package telemetry

import (
	"errors"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// Meter makes the instruments of one package. An instrument that can't be made is
// reported to otel's error handler, and one that measures nothing stands for it: no
// process fails for its metrics.
type Meter struct{ meter metric.Meter }

// NewMeter makes the meter of a package, which its import path names. A nil provider is
// otel's global one.
func NewMeter(provider metric.MeterProvider, scope string) Meter {
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	return Meter{provider.Meter(scope)}
}

// Counter makes a counter of whole things.
func (m Meter) Counter(name, unit, description string) metric.Int64Counter {
	c, err := m.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
	if failed(err) {
		return noop.Int64Counter{}
	}
	return c
}

// UpDownCounter makes a count of things that come and go.
func (m Meter) UpDownCounter(name, unit, description string) metric.Int64UpDownCounter {
	c, err := m.meter.Int64UpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	if failed(err) {
		return noop.Int64UpDownCounter{}
	}
	return c
}

// Seconds makes a counter of time.
func (m Meter) Seconds(name, description string) metric.Float64Counter {
	c, err := m.meter.Float64Counter(name, metric.WithUnit("s"), metric.WithDescription(description))
	if failed(err) {
		return noop.Float64Counter{}
	}
	return c
}

// Durations makes a histogram of times in seconds, with [SecondsBuckets].
func (m Meter) Durations(name, description string) metric.Float64Histogram {
	h, err := m.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
		metric.WithExplicitBucketBoundaries(SecondsBuckets...))
	if failed(err) {
		return noop.Float64Histogram{}
	}
	return h
}

// Gauge makes a gauge that is set whenever its value changes.
func (m Meter) Gauge(name, unit, description string) metric.Int64Gauge {
	g, err := m.meter.Int64Gauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	if failed(err) {
		return noop.Int64Gauge{}
	}
	return g
}

// ObservedGauge makes a gauge that [Meter.Observe] reads.
func (m Meter) ObservedGauge(name, unit, description string) metric.Int64ObservableGauge {
	g, err := m.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	if failed(err) {
		return noop.Int64ObservableGauge{}
	}
	return g
}

// ObservedSeconds makes a gauge of a time in seconds that [Meter.Observe] reads.
func (m Meter) ObservedSeconds(name, description string) metric.Float64ObservableGauge {
	g, err := m.meter.Float64ObservableGauge(name, metric.WithUnit("s"), metric.WithDescription(description))
	if failed(err) {
		return noop.Float64ObservableGauge{}
	}
	return g
}

// Observe has observed instruments read by a callback, which must not wait, until stop
// is called. What the callback does not observe has no series any more.
func (m Meter) Observe(callback metric.Callback, instruments ...metric.Observable) (stop func()) {
	r, err := m.meter.RegisterCallback(callback, instruments...)
	if failed(err) {
		return func() {}
	}
	return func() { failed(r.Unregister()) }
}

func failed(err error) bool {
	if err == nil {
		return false
	}
	otel.Handle(errors.Join(errors.New("make an instrument"), err))
	return true
}
