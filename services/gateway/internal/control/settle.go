package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// settlePeriod is the time between two looks whether cancellations can take
	// effect, when nothing wakes it.
	settlePeriod = 500 * time.Millisecond
	// settleBatch is how many take effect at once.
	settleBatch = 500
	// maxBehind is how long the projection is waited for, as long as for a permit to
	// start, and settleTimeout bounds all that a batch takes.
	maxBehind     = 8 * time.Second
	settleTimeout = 20 * time.Second
)

// settle has cancellations take effect, as many as can.
func (c *Control) settle(ctx context.Context) {
	for ctx.Err() == nil {
		more, err := c.settleSome(ctx)
		if err != nil {
			c.warn(ctx, "cancellations can't take effect now", err)
		}
		if err != nil || !more {
			return
		}
	}
}

// settleSome has a batch of cancellations take effect, and says whether there may
// be more.
//
// What workers have said is looked at first, then the projection is waited for,
// then the tasks are read: an outcome that a worker reported before it was rid of a
// task is in the store then, and wins.
func (c *Control) settleSome(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if len(c.hold(c.ready(time.Now()))) == 0 {
		return false, nil
	}
	// Workers that another replica has told what is cancelled may be new.
	if err := c.refreshWorkers(ctx); err != nil {
		return false, err
	}
	batch := c.ready(time.Now())
	if len(batch) == 0 {
		return false, nil
	}
	if err := c.end(ctx, batch); err != nil {
		c.hold(batch)
		return false, err
	}
	if gone := c.settled(batch); len(gone) > 0 {
		c.tellForgotten(ctx, gone)
	}
	return true, nil
}

// settled notes what has taken effect, and returns what of it need not be known any
// more.
func (c *Control) settled(batch []*entry) []*entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	forgotten := map[*entry]bool{}
	for _, e := range batch {
		e.settled = true
		if e.forgotten {
			forgotten[e] = true
		}
	}
	close(c.ended)
	c.ended = make(chan struct{})
	return c.book.remove(forgotten)
}

// end cancels the tasks of those that have not ended otherwise.
func (c *Control) end(ctx context.Context, batch []*entry) error {
	open := slices.DeleteFunc(slices.Clone(batch), func(e *entry) bool { return e.seen })
	if len(open) == 0 {
		return nil
	}
	err := c.cfg.Projection.CatchUpWithin(ctx, maxBehind)
	c.noteBehind(err)
	if err != nil {
		return fmt.Errorf("let the store catch up: %w", err)
	}
	var events []task.Event
	for _, e := range open {
		t, err := c.cfg.Store.Task(ctx, e.task.String())
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read a task that is cancelled: %w", err)
		}
		if !hasEnded(&t, int(e.run)) {
			events = append(events, cancelled(&t, e, time.Now()))
		}
	}
	if len(events) == 0 {
		return nil
	}
	if err := c.cfg.Projection.Apply(ctx, events); err != nil {
		return fmt.Errorf("end tasks that are cancelled: %w", err)
	}
	return nil
}

// noteBehind notes, for people, since when the projection does not catch up.
func (c *Control) noteBehind(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.behindSince = time.Time{}
	case c.behindSince.IsZero():
		c.behindSince = time.Now()
	}
}

// hasEnded says whether a run has. A task whose next run is known by its progress
// only still has the last one's state.
func hasEnded(t *task.Task, run int) bool {
	return t.Run > run || t.State.Terminal() && t.Decided.Run >= run
}

func cancelled(t *task.Task, e *entry, now time.Time) task.Event {
	return task.Event{
		TaskID: t.ID, Type: t.Type, Time: now.UTC(), Reason: e.reason,
		Key: task.Key{Run: int(e.run), Attempt: max(t.Attempt, 1), Phase: task.PhaseCancelled},
	}
}

// ready takes cancellations that no worker stands against any more.
func (c *Control) ready(now time.Time) []*entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if from, ok := c.quietUntil(); !ok || now.Before(from) {
		return nil
	}
	var out []*entry
	busy := c.busy()
	for _, s := range c.book.types {
		if s.waits() {
			out = s.ready(out, c.frontier(s.taskType), busy)
		}
	}
	return out
}

// hold puts cancellations back that were taken.
func (c *Control) hold(batch []*entry) []*entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range batch {
		e.shelf.held = append(e.shelf.held, e)
	}
	return batch
}

// frontier is the position up to which each worker of a type that can start tasks
// knows what is cancelled. It is not beyond the book, which workers that come are
// told.
func (c *Control) frontier(taskType string) int64 {
	lowest := c.known
	for _, w := range c.workers {
		if w.counts() && w.types[taskType] {
			lowest = min(lowest, c.knows(w))
		}
	}
	return lowest
}

// busy are the tasks that run on workers though they are cancelled. One that was
// cut off does not know that, but says what it runs as long as it is heard.
func (c *Control) busy() map[uuid.UUID]bool {
	out := map[uuid.UUID]bool{}
	for _, w := range c.workers {
		if !w.gone.IsZero() {
			continue
		}
		for id := range w.busy {
			out[id] = true
		}
		if !w.cut {
			continue
		}
		for id := range w.running {
			out[id] = true
		}
	}
	return out
}

// ready takes entries up to the frontier that are not busy, and adds them to out
// until that is a full batch.
func (s *shelf) ready(out []*entry, frontier int64, busy map[uuid.UUID]bool) []*entry {
	free := func(e *entry) bool { return e.position <= frontier && !busy[e.task] }
	held := s.held[:0]
	for _, e := range s.held {
		if len(out) < settleBatch && free(e) {
			out = append(out, e)
		} else {
			held = append(held, e)
		}
	}
	clear(s.held[len(held):])
	s.held = held
	for _, list := range []*[]*entry{&s.fresh, &s.old} {
		for len(*list) > 0 && len(out) < settleBatch && (*list)[0].position <= frontier {
			e := (*list)[0]
			*list = (*list)[1:]
			if free(e) {
				out = append(out, e)
			} else {
				s.held = append(s.held, e)
			}
		}
	}
	return out
}
