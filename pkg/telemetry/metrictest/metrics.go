// Package metrictest reads metrics in tests, as a scrape would.
package metrictest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// Metrics are all that one test measures.
type Metrics struct {
	reader   *sdkmetric.ManualReader
	provider *sdkmetric.MeterProvider
}

// New makes metrics without a bound of their series, so that a test sees how many
// there are.
func New() *Metrics {
	reader := sdkmetric.NewManualReader()
	return &Metrics{reader: reader, provider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithCardinalityLimit(0))}
}

// Provider is what makes the instruments that are read here.
func (m *Metrics) Provider() metric.MeterProvider { return m.provider }

// All has the series of every metric that was measured, by name: the value of each, or
// the count of a histogram, by its attributes as in "a=1,b=2".
func (m *Metrics) All(t testing.TB) map[string]map[string]float64 {
	t.Helper()
	all := map[string]map[string]float64{}
	m.each(t, func(d metricdata.Metrics) {
		series := map[string]float64{}
		points(t, d.Data, func(set attribute.Set, value, _ float64) { series[spell(set)] = value })
		all[d.Name] = series
	})
	return all
}

// Series has the series of one metric as All gives them, nil if there are none.
func (m *Metrics) Series(t testing.TB, name string) map[string]float64 {
	t.Helper()
	return m.All(t)[name]
}

// Sums has what the values in a histogram add up to, by its attributes.
func (m *Metrics) Sums(t testing.TB, name string) map[string]float64 {
	t.Helper()
	sums := map[string]float64{}
	m.each(t, func(d metricdata.Metrics) {
		if d.Name == name {
			points(t, d.Data, func(set attribute.Set, _, sum float64) { sums[spell(set)] = sum })
		}
	})
	return sums
}

func (m *Metrics) each(t testing.TB, f func(metricdata.Metrics)) {
	t.Helper()
	var data metricdata.ResourceMetrics
	require.NoError(t, m.reader.Collect(t.Context(), &data))
	for _, scope := range data.ScopeMetrics {
		for _, d := range scope.Metrics {
			f(d)
		}
	}
}

func points(t testing.TB, data metricdata.Aggregation, f func(set attribute.Set, value, sum float64)) {
	t.Helper()
	switch d := data.(type) {
	case metricdata.Sum[int64]:
		numbers(d.DataPoints, f)
	case metricdata.Sum[float64]:
		numbers(d.DataPoints, f)
	case metricdata.Gauge[int64]:
		numbers(d.DataPoints, f)
	case metricdata.Gauge[float64]:
		numbers(d.DataPoints, f)
	case metricdata.Histogram[float64]:
		for _, p := range d.DataPoints {
			f(p.Attributes, float64(p.Count), p.Sum)
		}
	default:
		require.Failf(t, "unknown kind of metric", "%T", data)
	}
}

func numbers[N int64 | float64](all []metricdata.DataPoint[N], f func(set attribute.Set, value, sum float64)) {
	for _, p := range all {
		f(p.Attributes, float64(p.Value), float64(p.Value))
	}
}

func spell(set attribute.Set) string { return set.Encoded(attribute.DefaultEncoder()) }
