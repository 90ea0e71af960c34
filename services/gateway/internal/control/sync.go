package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// syncWait is how long a worker's request waits for the store to be loaded; the
	// worker repeats it not much later.
	syncWait = 4 * time.Second
	// persistTimeout bounds the wait for the store of one that is loaded.
	persistTimeout = time.Second
)

var (
	errNotLoaded = errors.New("what operators have set is not loaded yet")
	// errUnknownType: whether the type is paused would be missing in the answer.
	errUnknownType = errors.New("this gateway does not know all of its task types yet")
)

// Sync answers a SyncRequest: it tells a worker the policies of its types, pauses
// included, and then all that is cancelled. An error means that the worker is to
// repeat it.
//
// The worker counts, here and in the store, before it is looked up what there is to
// tell it: a cancellation that is missing in that finds the worker, and waits for it.
func (c *Control) Sync(ctx context.Context, r *brokerv1.WorkerRequest) error {
	if err := c.awaitLoaded(ctx); err != nil {
		return err
	}
	w := c.join(r, time.Now())
	if err := c.persist(ctx, w); err != nil {
		return err
	}
	types := r.GetSync().GetTypes()
	policies := c.cfg.Policies(w.id, types)
	if len(policies) < len(types) {
		return errUnknownType
	}
	for _, p := range policies {
		if p.Provisional {
			return errNotLoaded
		}
	}
	answer := &brokerv1.HeartbeatAnswer{Types: policies}
	if err := c.send(ctx, w.id, &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Heartbeat{Heartbeat: answer}}); err != nil {
		return fmt.Errorf("tell a worker the policies in force: %w", err)
	}
	entries, err := c.tellAll(ctx, w, r.RequestId)
	if err != nil {
		return fmt.Errorf("tell a worker what is cancelled: %w", err)
	}
	c.cfg.Logger.InfoContext(ctx, "a worker was told what is cancelled", "worker_id", w.id, "host", r.Worker.Host, "cancellations", entries)
	return nil
}

func (c *Control) awaitLoaded(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, syncWait, errNotLoaded)
	defer cancel()
	select {
	case <-c.loadedOnce:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// persist has the store know of a worker, and this gateway what other replicas have
// cancelled before that. A store that is down holds up no worker, as nothing can be
// cancelled then either, but one that has been told more than is known here.
func (c *Control) persist(ctx context.Context, w *worker) error {
	bounded, cancel := context.WithTimeout(ctx, persistTimeout)
	defer cancel()
	c.mu.Lock()
	records := []store.WorkerRecord{w.record()}
	c.mu.Unlock()
	err := c.cfg.Store.PutWorkers(bounded, records)
	if err == nil {
		c.noteSaved(records, time.Now())
		err = c.refreshCancellations(bounded)
	}
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	c.warn(ctx, "the store does not take in a worker now, or does not say what is cancelled", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.highest > wire(c.known) {
		return fmt.Errorf("look up what was cancelled since: %w", err)
	}
	return nil
}

// tellAll tells a worker everything from the beginning.
func (c *Control) tellAll(ctx context.Context, w *worker, requestID string) (entries int, err error) {
	for after := int64(0); ; {
		c.mu.Lock()
		b := c.batch(w.types, after)
		c.mu.Unlock()
		b.RequestId = requestID
		if err := c.sendCancellations(ctx, w.id, b); err != nil {
			return entries, err
		}
		entries, after = entries+len(b.Entries), b.Position
		if !b.Complete {
			continue
		}
		c.mu.Lock()
		w.told, w.toldAt = b.Position, time.Now()
		c.mu.Unlock()
		return entries, nil
	}
}
