package service

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// replayLister lists replays, as store.Store says.
type replayLister interface {
	Replays(ctx context.Context, q store.ReplayQuery) ([]store.Replay, error)
}

// replayMetrics tell how the items of replays stand that have not ended.
type replayMetrics struct {
	store   replayLister
	items   metric.Int64ObservableGauge
	sampler *telemetry.Sampler[store.ReplayCounts]
	states  *telemetry.Labels[string]
	observe func(metric.Callback) (stop func())
}

func newReplayMetrics(provider metric.MeterProvider, s replayLister) *replayMetrics {
	meter := telemetry.NewMeter(provider, "github.com/warrenmq/warren/services/deadletter/internal/service")
	m := &replayMetrics{
		store: s,
		items: meter.ObservedGauge("warren.dead_letter.replay.items", "{item}", "Items of replays that have not ended, by how they stand."),
		states: telemetry.NewLabels(func(state string) []attribute.KeyValue {
			return []attribute.KeyValue{telemetry.StateKey.String(state)}
		}),
	}
	m.sampler = telemetry.NewSampler(openPeriod, m.count)
	m.observe = func(f metric.Callback) (stop func()) { return meter.Observe(f, m.items) }
	return m
}

// Run tells until ctx ends.
func (m *replayMetrics) Run(ctx context.Context) {
	defer m.observe(func(_ context.Context, o metric.Observer) error {
		if c, known := m.sampler.Last(); known {
			m.observed(o, &c)
		}
		return nil
	})()
	var sampling sync.WaitGroup
	defer sampling.Wait()
	sampling.Go(func() { m.sampler.Run(ctx) })
	<-ctx.Done()
}

func (m *replayMetrics) observed(o metric.Observer, c *store.ReplayCounts) {
	for state, n := range map[string]int64{
		"pending": c.Pending, "in_flight": c.InFlight, "succeeded": c.Succeeded, "failed_again": c.FailedAgain, "cancelled": c.Cancelled,
		"skipped": c.Skipped, "unknown": c.Unknown,
	} {
		o.ObserveInt64(m.items, n, m.states.Of(state).Observe...)
	}
}

// count sums up the replays that have not ended.
func (m *replayMetrics) count(ctx context.Context) (sum store.ReplayCounts, err error) {
	q := store.ReplayQuery{Active: true, Limit: store.MaxPage}
	for {
		page, err := m.store.Replays(ctx, q)
		if err != nil {
			return sum, err
		}
		for i := range page {
			c := &page[i].Counts
			sum.Pending += c.Pending
			sum.InFlight += c.InFlight
			sum.Succeeded += c.Succeeded
			sum.FailedAgain += c.FailedAgain
			sum.Cancelled += c.Cancelled
			sum.Skipped += c.Skipped
			sum.Unknown += c.Unknown
			q.Before = page[i].Sequence
		}
		if len(page) < store.MaxPage {
			return sum, nil
		}
	}
}
