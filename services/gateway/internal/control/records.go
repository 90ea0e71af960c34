package control

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// savePeriod is how often a worker of which nothing has changed is stored.
	savePeriod = 10 * time.Second
	// goneFor is how long a worker that is gone is shown.
	goneFor = time.Hour
)

// record is the worker as it is stored: without the tasks that run, which would be
// the most of it.
func (w *worker) record() store.WorkerRecord {
	kept := proto.CloneOf(w.beat)
	kept.Running = nil
	addTypes(kept, w.types)
	kept.Control, kept.CancelPosition = w.control, w.position
	// A heartbeat always can be encoded: its texts were decoded.
	encoded, _ := proto.Marshal(kept)
	return store.WorkerRecord{ID: w.id, Heartbeat: encoded, Seen: w.seen, Gone: w.gone}
}

// saveWorkers stores the workers of which there is something new.
func (c *Control) saveWorkers(ctx context.Context) error {
	now := time.Now()
	c.mu.Lock()
	var records []store.WorkerRecord
	for _, w := range c.workers {
		if w.unsaved || w.gone.IsZero() && w.seen.After(w.saved) && now.Sub(w.saved) >= savePeriod {
			records = append(records, w.record())
		}
	}
	c.mu.Unlock()
	if len(records) == 0 {
		return nil
	}
	if err := c.cfg.Store.PutWorkers(ctx, records); err != nil {
		return fmt.Errorf("store workers: %w", err)
	}
	c.noteSaved(records, now)
	return nil
}

// noteSaved notes what was stored, unless it has changed since.
func (c *Control) noteSaved(records []store.WorkerRecord, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range records {
		w := c.workers[records[i].ID]
		if w == nil {
			continue
		}
		w.saved = now
		if w.seen.Equal(records[i].Seen) && w.gone.Equal(records[i].Gone) {
			w.unsaved = false
		}
	}
}

// refreshWorkers takes in the workers that the store has and this gateway does not,
// or not as they are by now. They count as live until they are known not to be.
func (c *Control) refreshWorkers(ctx context.Context) error {
	records, err := c.cfg.Store.Workers(ctx)
	if err != nil {
		return fmt.Errorf("read the workers: %w", err)
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range records {
		r := &records[i]
		beat := &brokerv1.Heartbeat{}
		if err := proto.Unmarshal(r.Heartbeat, beat); err != nil || beat.Worker == nil {
			const text = "a stored worker can't be decoded, it is passed over"
			c.troubles.of(text).Do(func() { c.cfg.Logger.ErrorContext(ctx, text, "worker_id", r.ID, "error", err) })
			continue
		}
		switch w := c.workers[r.ID]; {
		case w == nil || heardLater(w, r, beat):
			c.restore(r, beat, now)
		case differs(w, r, beat):
			// Another replica has stored what it knew before.
			w.unsaved = true
		}
	}
	return nil
}

// heardLater says whether another replica has heard of a worker since this one, by
// more than what the store cuts off, or has told a later control queue of it.
func heardLater(w *worker, r *store.WorkerRecord, beat *brokerv1.Heartbeat) bool {
	return r.Seen.After(w.seen) || beat.Control > w.control
}

// differs says whether the store lacks what counts of a worker.
func differs(w *worker, r *store.WorkerRecord, beat *brokerv1.Heartbeat) bool {
	stored := typesOf(beat)
	for name := range w.types {
		if !stored[name] {
			return true
		}
	}
	return beat.Control != w.control || r.Gone.IsZero() != w.gone.IsZero()
}

func (c *Control) restore(r *store.WorkerRecord, beat *brokerv1.Heartbeat, now time.Time) {
	w := c.workers[r.ID]
	if w == nil {
		if !r.Gone.IsZero() && now.Sub(r.Seen) > goneFor {
			return
		}
		w = &worker{id: r.ID}
		c.workers[r.ID] = w
	}
	unsaved, seen := w.unsaved, r.Seen
	if w.seen.After(seen) {
		seen = w.seen
	}
	if !w.gone.IsZero() && r.Gone.IsZero() {
		w.read()
	}
	w.take(beat, seen)
	w.gone, w.saved, w.unsaved = r.Gone, r.Seen, unsaved
}

// forgetWorkers forgets those that have been gone for long.
func (c *Control) forgetWorkers(ctx context.Context, now time.Time) error {
	before := now.Add(-goneFor)
	c.mu.Lock()
	for id, w := range c.workers {
		if !w.gone.IsZero() && w.seen.Before(before) {
			delete(c.workers, id)
		}
	}
	c.mu.Unlock()
	if err := c.cfg.Store.ForgetWorkers(ctx, before); err != nil {
		return fmt.Errorf("forget workers: %w", err)
	}
	return nil
}
