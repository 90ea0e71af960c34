// Package projection applies the status events in the status queue to the
// store, in batches: one transaction each, acknowledged after its commit.
package projection

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// Bounds of one transaction, and of what the broker hands over ahead of it.
const (
	prefetch      = 200
	maxBatch      = 100
	maxBatchBytes = 8 << 20
)

// Bounds of the wait while the store can't be written.
const (
	minBackoff = 20 * time.Millisecond
	maxBackoff = time.Second
)

// Parker sets aside what nobody can apply.
type Parker interface {
	PublishParked(ctx context.Context, body []byte, problem string) error
}

// Projection is the one writer of tasks into the store.
type Projection struct {
	store   store.Store
	hub     *watch.Hub
	parker  Parker
	log     *slog.Logger
	barrier barrier
}

// New makes a projection. Marks puts markers into the status queue.
func New(s store.Store, hub *watch.Hub, parker Parker, marks Marks, log *slog.Logger) *Projection {
	return &Projection{store: s, hub: hub, parker: parker, log: log, barrier: newBarrier(marks)}
}

// Subscription consumes the status queue. Of several gateways the broker lets
// one consume at a time.
func (p *Projection) Subscription(names broker.Names) broker.Subscription {
	return broker.Subscription{
		Queue: names.Status(), Prefetch: prefetch, MaxBatch: maxBatch, MaxBatchBytes: maxBatchBytes, Handle: p.Handle,
	}
}

// Handle applies a batch of messages. It returns nil once everything in them
// is in the store or parked, and waits for the store as long as that takes.
func (p *Projection) Handle(ctx context.Context, batch []broker.Delivery) error {
	events, markers, err := p.decode(ctx, batch)
	if err != nil {
		return err
	}
	if err := p.apply(ctx, events); err != nil {
		return err
	}
	p.barrier.pass(markers)
	return nil
}

func (p *Projection) decode(ctx context.Context, batch []broker.Delivery) ([]task.Event, []string, error) {
	var events []task.Event
	var markers []string
	for _, d := range batch {
		b, err := broker.DecodeStatusBatch(d.Body)
		if err != nil {
			if err := p.park(ctx, d.Body, err); err != nil {
				return nil, nil, err
			}
			continue
		}
		markers = append(markers, b.Markers...)
		for _, encoded := range b.Events {
			e, err := broker.DecodeEvent(encoded)
			if err != nil {
				if err := p.park(ctx, encoded, err); err != nil {
					return nil, nil, err
				}
				continue
			}
			events = append(events, e)
		}
	}
	return events, markers, nil
}

// apply applies events, bisecting on one that the store can't take, until all
// are applied or parked.
func (p *Projection) apply(ctx context.Context, events []task.Event) error {
	if len(events) == 0 {
		return nil
	}
	changes, err := p.applyOnce(ctx, events)
	switch {
	case err == nil:
		for _, c := range changes {
			p.hub.Wake(c.TaskID)
		}
		return nil
	case !errors.Is(err, store.ErrBadEvent):
		return err
	case len(events) == 1:
		encoded, encodeErr := broker.EncodeEvent(&events[0])
		if encodeErr != nil {
			return fmt.Errorf("encode an event that can't be applied: %w", encodeErr)
		}
		return p.park(ctx, encoded, err)
	}
	half := len(events) / 2
	if err := p.apply(ctx, events[:half]); err != nil {
		return err
	}
	return p.apply(ctx, events[half:])
}

// applyOnce tries until the store has answered something else than that it is
// unavailable.
func (p *Projection) applyOnce(ctx context.Context, events []task.Event) ([]store.Change, error) {
	for backoff, failed := minBackoff, false; ; backoff = min(2*backoff, maxBackoff) {
		changes, err := p.store.Apply(ctx, events)
		if err == nil || errors.Is(err, store.ErrBadEvent) {
			if failed {
				p.log.Info("the store works again")
			}
			return changes, err
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("apply status events: %w", context.Cause(ctx))
		}
		if !failed {
			p.log.Error("status events can't be stored, trying again until they are", "events", len(events), "error", err)
			failed = true
		}
		if err := sleep(ctx, backoff/2+rand.N(backoff/2)); err != nil {
			return nil, err
		}
	}
}

func (p *Projection) park(ctx context.Context, body []byte, problem error) error {
	p.log.Error("a status event can't be applied, it is set aside in the dead-letter queue", "error", problem)
	if err := p.parker.PublishParked(ctx, body, problem.Error()); err != nil {
		return fmt.Errorf("set aside a status event: %w", err)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the store: %w", context.Cause(ctx))
	}
}
