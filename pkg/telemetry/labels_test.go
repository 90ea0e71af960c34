package telemetry

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

func TestRecordingAllocatesNothing(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	m := NewMeter(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), "test")
	counter, durations, gauge := m.Counter("a", "{thing}", "Things."), m.Durations("b", "Times."), m.Gauge("c", "{thing}", "Things.")
	type key struct{ taskType, state string }
	labels := NewLabels(func(k key) []attribute.KeyValue {
		return []attribute.KeyValue{TaskTypeKey.String(k.taskType), StateKey.String(k.state)}
	})
	ctx, k := context.Background(), key{"acme.v1.Images.Resize", "SUCCEEDED"}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		set := labels.Of(k)
		counter.Add(ctx, 1, set.Add...)
		durations.Record(ctx, .5, set.Record...)
		gauge.Record(ctx, 1, set.Record...)
	}))
	var data metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(ctx, &data))
	sum := data.ScopeMetrics[0].Metrics[0].Data.(metricdata.Sum[int64])
	require.Equal(t, int64(1001), sum.DataPoints[0].Value)
	require.Equal(t, attribute.NewSet(TaskTypeKey.String(k.taskType), StateKey.String(k.state)), sum.DataPoints[0].Attributes)
}
