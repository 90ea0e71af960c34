// Package projection applies the status events in the status queue to the
// store, in batches: one transaction each, acknowledged after its commit.
package projection

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/retry"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// Bounds of one transaction, and of what the broker hands over ahead of it.
// Messages are few: each is a group commit already, or a single event of up to
// 12 MiB, and all that were handed over are in memory.
const (
	prefetch      = 32
	maxBatch      = 32
	maxBatchBytes = 8 << 20
	// A batch of so many events waits for linger: under load the three events of a
	// task then mostly come together, and share a transaction with those of many
	// others.
	lingerFrom = 24
	linger     = 10 * time.Millisecond
)

// Parker sets aside what nobody can apply, in the dead-letter queue.
type Parker interface {
	PublishParked(ctx context.Context, body []byte, problem string) error
}

// Projection writes what the status queue has of tasks into the store.
type Projection struct {
	store   store.Store
	hub     *watch.Hub
	parker  Parker
	log     *slog.Logger
	tracer  trace.Tracer
	queue   string
	barrier barrier
	held    *held
	// metrics is nil while nothing is measured.
	metrics *metrics
}

// New makes a projection. Marks puts markers into the status queue. Its spans are of
// otel's global provider, unless [Projection.Traced] has named another one.
func New(s store.Store, hub *watch.Hub, parker Parker, marks Marks, log *slog.Logger) *Projection {
	p := &Projection{store: s, hub: hub, parker: parker, log: log, barrier: newBarrier(marks), held: &held{}}
	return p.Traced(otel.GetTracerProvider())
}

// Subscription consumes the status queue. Of several gateways the broker lets
// one consume at a time.
func (p *Projection) Subscription(names broker.Names) broker.Subscription {
	p.queue = names.Status()
	return broker.Subscription{
		Queue: p.queue, Prefetch: prefetch, MaxBatch: maxBatch, MaxBatchBytes: maxBatchBytes,
		Linger: linger, LingerFrom: lingerFrom, Count: broker.CountEvents, Handle: p.Handle, Held: &p.held.unacked,
	}
}

// Handle applies a batch of messages. It returns nil once everything in them
// is in the store or set aside, and waits for the store as long as that takes.
// Setting aside comes last: until all else is in the store the batch may come
// again.
func (p *Projection) Handle(ctx context.Context, batch []broker.Delivery) error {
	ctx, span := p.startSpan(ctx, batch)
	defer span.End()
	events, markers, useless := decode(batch)
	p.held.begin(events)
	defer func() { p.held.end(time.Now()) }()
	link(span, events)
	refused, err := p.apply(ctx, events)
	if err != nil {
		telemetry.Fail(span, "not_applied", err.Error())
		return err
	}
	for _, u := range append(useless, refused...) {
		if err := p.park(ctx, u); err != nil {
			return err
		}
	}
	p.barrier.pass(markers)
	return nil
}

// useless is a message or an event that nobody can apply, and why.
type useless struct {
	body    []byte
	problem error
}

func decode(batch []broker.Delivery) (events []task.Event, markers []string, bad []useless) {
	for _, d := range batch {
		b, err := broker.DecodeStatusBatch(d.Body)
		if err != nil {
			bad = append(bad, useless{d.Body, err})
			continue
		}
		markers = append(markers, b.Markers...)
		for _, encoded := range b.Events {
			e, err := broker.DecodeEvent(encoded)
			if err != nil {
				bad = append(bad, useless{encoded, err})
				continue
			}
			events = append(events, e)
		}
	}
	return events, markers, bad
}

// apply applies events, and returns those that the store does not take, which
// it finds by halving.
func (p *Projection) apply(ctx context.Context, events []task.Event) ([]useless, error) {
	if len(events) == 0 {
		return nil, nil
	}
	problem, err := p.applyOnce(ctx, events)
	switch {
	case err != nil:
		return nil, err
	case problem == nil:
		return nil, nil
	case len(events) == 1:
		encoded, err := broker.EncodeEvent(&events[0])
		if err != nil {
			return nil, fmt.Errorf("encode an event that can't be applied: %w", err)
		}
		return []useless{{encoded, problem}}, nil
	}
	half := len(events) / 2
	first, err := p.apply(ctx, events[:half])
	if err != nil {
		return nil, err
	}
	second, err := p.apply(ctx, events[half:])
	return append(first, second...), err
}

// applyOnce applies events in one transaction. It returns why the store does not
// take them, or an error when ctx ends.
//
// While the store is unavailable it tries again. A fault that the store's
// contract has no name for may lie with one event or the rows of its task,
// which is not to hold up all others: then an event that is alone is tried a
// few times, and given up only if the store otherwise works.
func (p *Projection) applyOnce(ctx context.Context, events []task.Event) (problem, err error) {
	faults := 0
	err = retry.Until(ctx, p.log, "the store", func() error {
		err := p.Apply(ctx, events)
		if err == nil || ctx.Err() != nil || passes(err) {
			return err
		}
		if faults++; !errors.Is(err, store.ErrBadEvent) && len(events) == 1 {
			if faults < maxFaults || p.store.Check(ctx) != nil {
				return err
			}
			// It may have begun to work only after the last try.
			if err = p.Apply(ctx, events); err == nil || passes(err) {
				return err
			}
		}
		problem = err
		return nil
	})
	return problem, err
}

// Apply applies events now, besides those of the status queue, and wakes those who
// wait for their tasks. Errors: as of store.Store's Apply, with nothing applied.
func (p *Projection) Apply(ctx context.Context, events []task.Event) error {
	changes, err := p.store.Apply(ctx, events)
	for i := range changes {
		p.metrics.changed(ctx, &changes[i])
	}
	p.tell(changes, events)
	return err
}

// Cancelled is told of a task that somebody else has made CANCELLED in the store: it is
// counted, and those who wait for it are woken.
func (p *Projection) Cancelled(ctx context.Context, t *task.Task) {
	p.metrics.cancelled(ctx, t.Type)
	p.hub.Wake(t.ID)
}

// passes says whether an error of the store is of a kind that passes by itself.
func passes(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// park sets something aside. If its confirm was lost it is there twice, which is
// better than not at all.
func (p *Projection) park(ctx context.Context, u useless) error {
	err := retry.Until(ctx, p.log, "setting aside status events", func() error {
		ctx, cancel := context.WithTimeout(ctx, parkTimeout)
		defer cancel()
		return p.parker.PublishParked(ctx, u.body, u.problem.Error())
	})
	if err == nil {
		p.log.Error("a status event can't be applied, it was set aside in the dead-letter queue", "bytes", len(u.body), "error", u.problem)
	}
	return err
}
