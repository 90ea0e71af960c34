package service

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// labelTimeout bounds looking up the task types of what has expired at once.
const labelTimeout = 2 * time.Second

// governance measures what policies say: what has expired, and what has waited for
// longer than it should.
type governance struct {
	ended     metric.Int64Counter
	residence metric.Int64ObservableGauge
	sampler   *telemetry.Sampler[map[waiting]int64]
	store     residenceCounter
	label     func(ctx context.Context, taskType string) string
	states    *telemetry.Labels[ended]
	waits     *telemetry.Labels[waiting]
}

// residenceCounter counts what waits, as store.Store says.
type residenceCounter interface {
	CountResidence(ctx context.Context) ([]store.ResidenceCount, error)
}

// ended is what an expired dead letter is counted under.
type ended struct {
	taskType string
	state    store.State
}

// waiting is what one that waits for long is counted under.
type waiting struct {
	taskType  string
	residence store.Residence
}

func newGovernance(meter telemetry.Meter, s residenceCounter, label func(context.Context, string) string) *governance {
	g := &governance{
		ended:     meter.Counter("warren.dead_letter.expired", "{dead_letter}", "Dead letters whose retention has ended, by the state that they were in."),
		residence: meter.ObservedGauge("warren.dead_letter.residence", "{dead_letter}", "Dead letters that have waited for longer than their type's policy warns of, or allows."),
		store:     s, label: label,
		states: telemetry.NewLabels(func(e ended) []attribute.KeyValue {
			return []attribute.KeyValue{telemetry.TaskTypeKey.String(e.taskType), telemetry.StateKey.String(e.state.String())}
		}),
		waits: telemetry.NewLabels(func(w waiting) []attribute.KeyValue {
			return []attribute.KeyValue{telemetry.TaskTypeKey.String(w.taskType), telemetry.ResidenceKey.String(residenceName(w.residence))}
		}),
	}
	g.sampler = telemetry.NewSampler(openPeriod, g.count)
	return g
}

func residenceName(r store.Residence) string {
	if r == store.ResidenceBreach {
		return "breach"
	}
	return "warn"
}

// expired counts by the types of the catalogue, and all others together.
func (g *governance) expired(ctx context.Context, expired []store.Expired) {
	ctx, cancel := context.WithTimeout(ctx, labelTimeout)
	defer cancel()
	counts := map[ended]int64{}
	for i := range expired {
		counts[ended{expired[i].Type, expired[i].State}]++
	}
	for e, n := range counts {
		e.taskType = g.label(ctx, e.taskType)
		g.ended.Add(context.WithoutCancel(ctx), n, g.states.Of(e).Add...)
	}
}

func (g *governance) count(ctx context.Context) (map[waiting]int64, error) {
	counts, err := g.store.CountResidence(ctx)
	if err != nil {
		return nil, err
	}
	merged := map[waiting]int64{}
	for _, c := range counts {
		merged[waiting{g.label(ctx, c.Type), c.Residence}] += c.Count
	}
	return merged, nil
}

func (g *governance) observed(o metric.Observer) {
	counts, _ := g.sampler.Last()
	for w, n := range counts {
		o.ObserveInt64(g.residence, n, g.waits.Of(w).Observe...)
	}
}
