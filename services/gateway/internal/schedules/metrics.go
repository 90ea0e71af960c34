package schedules

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/telemetry"
)

// metrics count firings, once they are recorded.
type metrics struct {
	firings metric.Int64Counter
	labels  *telemetry.Labels[adminv1.FiringOutcome]
}

func newMetrics(provider metric.MeterProvider) *metrics {
	m := telemetry.NewMeter(provider, "github.com/warrenmq/warren/services/gateway/internal/schedules")
	return &metrics{
		firings: m.Counter("warren.schedule.firings", "{firing}", "Times of schedules that have come, and triggers, by what became of them."),
		labels: telemetry.NewLabels(func(o adminv1.FiringOutcome) []attribute.KeyValue {
			return []attribute.KeyValue{telemetry.OutcomeKey.String(strings.ToLower(strings.TrimPrefix(o.String(), "FIRING_OUTCOME_")))}
		}),
	}
}

func (m *metrics) fired(ctx context.Context, outcome adminv1.FiringOutcome) {
	m.firings.Add(ctx, 1, m.labels.Of(outcome).Add...)
}
