package notify

import (
	"context"

	"go.opentelemetry.io/otel/metric"

	"github.com/warrenmq/warren/pkg/telemetry"
)

// metrics count attempts to send notifications.
type metrics struct {
	notifications     metric.Int64Counter
	delivered, failed *telemetry.LabelSet
}

func newMetrics(provider metric.MeterProvider) *metrics {
	m := telemetry.NewMeter(provider, "github.com/warrenmq/warren/services/deadletter/internal/notify")
	return &metrics{
		notifications: m.Counter("warren.dead_letter.notifications", "{notification}", "Attempts to tell of dead letters, by how they have ended."),
		delivered:     telemetry.NewLabelSet(telemetry.OutcomeKey.String("delivered")),
		failed:        telemetry.NewLabelSet(telemetry.OutcomeKey.String("failed")),
	}
}

func (m *metrics) sent(ctx context.Context)   { m.notifications.Add(ctx, 1, m.delivered.Add...) }
func (m *metrics) unsent(ctx context.Context) { m.notifications.Add(ctx, 1, m.failed.Add...) }
