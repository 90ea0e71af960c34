package gateway

import (
	"context"

	"go.opentelemetry.io/otel/metric"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/queues"
)

// measure has the projection, the store, the queues and the workers measured, once run
// runs. It comes before the projection does anything.
func (g *gateway) measure(known *catalogue.Catalogue) {
	lag := g.projection.Measure(projection.MetricsConfig{
		MeterProvider: g.cfg.MeterProvider, Queue: g.consume,
		NameOf: func(taskType string) (string, bool) {
			t, ok := known.Type(taskType)
			return t.Name, ok
		},
	})
	queued := func(ctx context.Context) {
		g.queues.Metrics(queues.MetricsConfig{
			MeterProvider: g.cfg.MeterProvider, Store: g.store, Types: func() []string { return namesOf(known.Types()) },
		}).Run(ctx)
	}
	g.measures = []func(context.Context){g.storeMetrics.Run, lag, queued, g.measureWorkers}
}

func namesOf(types []catalogue.TaskType) []string {
	names := make([]string, len(types))
	for i := range types {
		names[i] = types[i].Name
	}
	return names
}

// measureWorkers tells how many workers are live until ctx ends.
func (g *gateway) measureWorkers(ctx context.Context) {
	m := telemetry.NewMeter(g.cfg.MeterProvider, "github.com/warrenmq/warren/services/gateway/internal/gateway")
	live := m.ObservedGauge("warren.workers", "{worker}", "Workers that are live, as far as this gateway has heard of them.")
	defer m.Observe(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(live, g.liveWorkers())
		return nil
	}, live)()
	<-ctx.Done()
}

func (g *gateway) liveWorkers() (n int64) {
	for _, w := range g.control.Workers() {
		if w.State != adminv1.WorkerState_WORKER_STATE_GONE {
			n++
		}
	}
	return n
}
