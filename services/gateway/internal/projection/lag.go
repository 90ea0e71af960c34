package projection

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/telemetry"
)

// lagPeriod is how often the broker is asked for the status queue, while somebody reads
// what that gives.
const lagPeriod = 5 * time.Second

// Queue asks the broker on an open connection.
type Queue interface {
	Do(ctx context.Context, f func(*broker.Topology) error) error
}

// lag is how far the store is behind the status queue.
//
// Its age is that of the oldest event which this gateway holds, by the time that the
// event has: with a store that is locked, the oldest of all. What lies in the queue is
// not looked into. If nobody consumes the queue, its age is the time since that was
// first seen; if another gateway does, that one tells the age.
type lag struct {
	held    *held
	metrics *metrics
	queue   Queue
	sampler *telemetry.Sampler[backlog]
	// alone is since when there are messages that nobody consumes; zero for not.
	alone time.Time
}

// backlog is what the status queue had at some time.
type backlog struct {
	// ready are messages, held events.
	ready, held int64
	alone       time.Time
}

func newLag(h *held, m *metrics, q Queue) *lag {
	l := &lag{held: h, metrics: m, queue: q}
	l.sampler = telemetry.NewSampler(lagPeriod, l.sample)
	return l
}

func (l *lag) run(ctx context.Context) {
	defer l.metrics.observe(func(_ context.Context, o metric.Observer) error {
		l.metrics.observed(o, l, time.Now())
		return nil
	})()
	l.sampler.Run(ctx)
}

func (l *lag) sample(ctx context.Context) (backlog, error) {
	// Buffered, because Do may return while f still waits for the broker.
	asked := make(chan broker.WorkState, 1)
	err := l.queue.Do(ctx, func(t *broker.Topology) error {
		s, err := t.StatusState()
		if err == nil {
			asked <- s
		}
		return err
	})
	if err != nil {
		return backlog{}, err
	}
	s := <-asked
	switch {
	case s.Ready == 0 || s.Consumers > 0:
		l.alone = time.Time{}
	case l.alone.IsZero():
		l.alone = time.Now()
	}
	return backlog{ready: int64(s.Ready), held: l.held.unacked.Load(), alone: l.alone}, nil
}

// age is that of the oldest event that is not in the store; 0 for none.
func (l *lag) age(b backlog, now time.Time) time.Duration {
	age := l.held.age(now, b.ready > 0 || l.held.unacked.Load() > 0)
	if !b.alone.IsZero() {
		age = max(age, now.Sub(b.alone))
	}
	return age
}
