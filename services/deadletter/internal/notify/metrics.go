package notify

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// samplePeriod is the time between two looks at what waits, while somebody reads it.
const samplePeriod = 15 * time.Second

// metrics count attempts to send notifications, and tell what waits to be sent. Both are
// of the channels that are configured.
type metrics struct {
	notifications metric.Int64Counter
	oldest        metric.Float64ObservableGauge
	observe       func(metric.Callback) (stop func())
	sampler       *telemetry.Sampler[[]store.ChannelState]
	attempts      *telemetry.Labels[attempt]
	channels      *telemetry.Labels[*Channel]
	configured    []*Channel
}

type attempt struct {
	channel *Channel
	sent    bool
}

func newMetrics(provider metric.MeterProvider, s Store, channels []*Channel) *metrics {
	meter := telemetry.NewMeter(provider, "github.com/warrenmq/warren/services/deadletter/internal/notify")
	m := &metrics{
		notifications: meter.Counter("warren.dead_letter.notifications", "{notification}", "Attempts to send notifications, by how they have ended."),
		oldest:        meter.ObservedSeconds("warren.dead_letter.notification.oldest.age", "For how long the oldest notification has waited to be sent."),
		attempts: telemetry.NewLabels(func(a attempt) []attribute.KeyValue {
			outcome := "failed"
			if a.sent {
				outcome = "delivered"
			}
			return append(channelLabels(a.channel), telemetry.OutcomeKey.String(outcome))
		}),
		channels:   telemetry.NewLabels(channelLabels),
		configured: channels,
	}
	m.sampler = telemetry.NewSampler(samplePeriod, s.ChannelStates)
	m.observe = func(f metric.Callback) (stop func()) { return meter.Observe(f, m.oldest) }
	return m
}

func channelLabels(c *Channel) []attribute.KeyValue {
	return []attribute.KeyValue{telemetry.ChannelKey.String(c.name), telemetry.ChannelKindKey.String(c.kind)}
}

// run samples what waits until ctx ends.
func (m *metrics) run(ctx context.Context) {
	defer m.observe(func(_ context.Context, o metric.Observer) error {
		m.observed(o, time.Now())
		return nil
	})()
	m.sampler.Run(ctx)
}

func (m *metrics) observed(o metric.Observer, now time.Time) {
	states, known := m.sampler.Last()
	if !known {
		return
	}
	oldest := map[string]time.Time{}
	for i := range states {
		oldest[states[i].Channel] = states[i].Oldest
	}
	for _, c := range m.configured {
		age := 0.0
		if since := oldest[c.name]; !since.IsZero() {
			age = max(now.Sub(since), 0).Seconds()
		}
		o.ObserveFloat64(m.oldest, age, m.channels.Of(c).Observe...)
	}
}

func (m *metrics) attempted(ctx context.Context, c *Channel, sent bool) {
	m.notifications.Add(ctx, 1, m.attempts.Of(attempt{c, sent}).Add...)
}
