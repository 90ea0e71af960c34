package control

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
)

const (
	// maxEntries bounds the entries of one message.
	maxEntries = 2000
	// tellAgain is how long what a worker was told may be on its way.
	tellAgain = time.Second
)

// wire is a position of the store as workers know it.
func wire(position int64) int64 { return position + 1 }

// knows is the position of the store up to which a worker knows what is cancelled;
// below 0 is not at all. One beyond what there is is of another store.
func (c *Control) knows(w *worker) int64 {
	if w.position > wire(c.known) {
		return -1
	}
	return w.position - 1
}

// batch is what follows a position that workers know, for a worker of these types.
func (c *Control) batch(types map[string]bool, after int64) *brokerv1.CancellationBatch {
	entries, more := c.book.since(types, after-1, c.known, maxEntries)
	b := &brokerv1.CancellationBatch{After: after, Position: wire(c.known), Complete: !more}
	for _, e := range entries {
		b.Entries = append(b.Entries, e.proto())
	}
	if more {
		b.Position = wire(entries[len(entries)-1].position)
	}
	return b
}

// News is what a worker is to be told of which a heartbeat shows that it does not
// know it; nil for nothing, or if it has just been told.
func (c *Control) News(h *brokerv1.Heartbeat) *brokerv1.CancellationBatch {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.workers[h.GetWorker().GetWorkerId()]
	position := h.GetCancelPosition()
	if w == nil || c.loaded.IsZero() || position == 0 || position >= wire(c.known) || w.before(h) {
		return nil
	}
	now := time.Now()
	if w.told > position && now.Sub(w.toldAt) < tellAgain {
		return nil
	}
	b := c.batch(w.types, position)
	w.told, w.toldAt = b.Position, now
	return b
}

// tellBehind tells workers what they don't know yet.
func (c *Control) tellBehind(ctx context.Context) {
	var telling errgroup.Group
	telling.SetLimit(maxTelling)
	for _, id := range c.behind(time.Now()) {
		telling.Go(func() error {
			c.tellNews(ctx, id)
			return nil
		})
	}
	_ = telling.Wait()
}

// behind lists the workers that have not been told everything. Those that ask for
// it themselves are left alone.
func (c *Control) behind(now time.Time) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loaded.IsZero() {
		return nil
	}
	var out []string
	for id, w := range c.workers {
		if !w.gone.IsZero() || w.position == 0 {
			continue
		}
		if c.mustBeginAnew(w, now) || w.position <= wire(c.known) && max(w.position, w.told) < wire(c.known) {
			out = append(out, id)
		}
	}
	return out
}

// mustBeginAnew says that a worker knows a list that is not the store's: it is ahead
// of all that there was after it had said so.
func (c *Control) mustBeginAnew(w *worker, now time.Time) bool {
	return w.position > wire(c.known) && c.knownAt.After(w.seen) && now.Sub(w.toldAt) >= tellAgain
}

// tellNews tells a worker what it has not been told.
func (c *Control) tellNews(ctx context.Context, id string) {
	for {
		b := c.nextNews(id)
		if b == nil {
			return
		}
		if err := c.sendCancellations(ctx, id, b); err != nil {
			c.untell(id)
			c.warn(ctx, "a worker can't be told now what is cancelled", err)
			return
		}
		if b.Complete {
			return
		}
	}
}

func (c *Control) nextNews(id string) *brokerv1.CancellationBatch {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.workers[id]
	if w == nil {
		return nil
	}
	after := max(w.position, w.told)
	if w.position > wire(c.known) {
		// What follows its first batch is told from there on.
		if after = w.told; after >= wire(c.known) {
			after = 0
		}
	}
	b := c.batch(w.types, after)
	w.told, w.toldAt = b.Position, time.Now()
	return b
}

// untell notes that what a worker was told last may not have reached it.
func (c *Control) untell(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.workers[id]; w != nil {
		w.told = 0
	}
}

// tellForgotten tells workers which entries they need not keep. One that has gone
// on meanwhile keeps them until it syncs again.
func (c *Control) tellForgotten(ctx context.Context, gone []*entry) {
	var telling errgroup.Group
	telling.SetLimit(maxTelling)
	for id, b := range c.forgotten(gone) {
		telling.Go(func() error {
			if err := c.sendCancellations(ctx, id, b); err != nil {
				c.warn(ctx, "a worker can't be told now what it need not know any more", err)
			}
			return nil
		})
	}
	_ = telling.Wait()
}

func (c *Control) forgotten(gone []*entry) map[string]*brokerv1.CancellationBatch {
	byType := map[string][]*brokerv1.Cancellation{}
	for _, e := range gone {
		byType[e.shelf.taskType] = append(byType[e.shelf.taskType], e.proto())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]*brokerv1.CancellationBatch{}
	for id, w := range c.workers {
		if !w.gone.IsZero() || w.position == 0 || w.position > wire(c.known) {
			continue
		}
		at := max(w.position, w.told)
		b := &brokerv1.CancellationBatch{After: at, Position: at, Complete: at == wire(c.known)}
		for name := range w.types {
			b.Forget = append(b.Forget, byType[name]...)
		}
		if len(b.Forget) > 0 {
			out[id] = b
		}
	}
	return out
}

func (c *Control) sendCancellations(ctx context.Context, workerID string, b *brokerv1.CancellationBatch) error {
	return c.send(ctx, workerID, &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Cancellations{Cancellations: b}})
}

// send tells a worker something.
func (c *Control) send(ctx context.Context, workerID string, m *brokerv1.ControlMessage) error {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	m.GatewayId, m.Time = c.cfg.GatewayID, timestamppb.Now()
	err := c.cfg.Controller.PublishControl(ctx, workerID, m)
	if errors.Is(err, broker.ErrUnknown) {
		// It was sent. One of the worker's queues may be on a node that is down, so that
		// the broker refuses for that one; what the worker missed it shows, or asks for.
		return nil
	}
	return err
}
