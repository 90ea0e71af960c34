package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/warrenmq/warren/pkg/broker"
)

const (
	// lookPeriod is the time between two looks at the workers.
	lookPeriod = time.Second
	// lookAfter is the silence after which a worker's control queue is looked at, and
	// lookAgain the time between two looks while nothing waits for it.
	lookAfter = 4 * time.Second
	lookAgain = 5 * time.Second
	// lookTimeout bounds the wait for a connection and for the broker's answers.
	lookTimeout = 3 * time.Second
)

// target is a control queue to look at.
type target struct {
	workerID string
	control  int32
}

// look finds out which workers start nothing any more.
func (c *Control) look(ctx context.Context) {
	targets := c.targets(time.Now())
	if len(targets) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	for len(targets) > 0 {
		done, err := c.lookAt(ctx, targets)
		if err != nil {
			// What was not seen for a while is not known any more.
			c.unseen(targets[done:])
			return
		}
		targets = targets[done:]
	}
}

// lookAtQueues looks at one queue after the other up to the first that is missing, which
// costs the channel, and returns how many it was.
func (c *Control) lookAtQueues(ctx context.Context, targets []target) (int, error) {
	// Buffered, because Do may return while f still waits for the broker.
	looked := make(chan int, 1)
	err := c.cfg.Topology.Do(ctx, func(t *broker.Topology) error {
		for i, at := range targets {
			consumers, err := t.ControlConsumers(at.workerID, int(at.control))
			missing := errors.Is(err, broker.ErrMissing)
			if err != nil && !missing {
				looked <- i
				return err
			}
			c.saw(at, consumers, time.Now())
			if missing {
				looked <- i + 1
				return nil
			}
		}
		looked <- len(targets)
		return nil
	})
	select {
	case n := <-looked:
		return n, err
	default:
		return 0, fmt.Errorf("look at control queues: %w", err)
	}
}

// targets logs workers that are silent and lists the control queues to look at.
func (c *Control) targets(now time.Time) []target {
	c.mu.Lock()
	defer c.mu.Unlock()
	waits := c.awaited()
	var out []target
	for _, w := range c.workers {
		if !w.gone.IsZero() {
			continue
		}
		silent := w.silentFor(now)
		if silent > maxSilence && !w.silent {
			w.silent = true
			c.cfg.Logger.Warn("a worker is silent", "worker_id", w.id, "host", w.host(), "last_seen", w.seen)
		}
		if waits[w.id] || silent > lookAfter && now.Sub(w.looked) >= lookAgain {
			out = append(out, target{w.id, w.control})
		}
	}
	return out
}

// awaited are the workers for which a cancellation waits.
func (c *Control) awaited() map[string]bool {
	out := map[string]bool{}
	for _, s := range c.book.types {
		highest, ok := s.highestWaiting()
		if !ok {
			continue
		}
		for id, w := range c.workers {
			if w.gone.IsZero() && w.types[s.taskType] && c.knows(w) < highest {
				out[id] = true
			}
		}
	}
	for _, s := range c.book.types {
		for _, e := range s.held {
			for id, w := range c.workers {
				if w.busy[e.task] && w.gone.IsZero() {
					out[id] = true
				}
			}
		}
	}
	return out
}

// highestWaiting is the highest position of what waits.
func (s *shelf) highestWaiting() (highest int64, ok bool) {
	for _, list := range [][]*entry{s.fresh, s.old} {
		if n := len(list); n > 0 {
			highest, ok = max(highest, list[n-1].position), true
		}
	}
	for _, e := range s.held {
		highest, ok = max(highest, e.position), true
	}
	return highest, ok
}

// saw notes how many consume a control queue.
func (c *Control) saw(at target, consumers int, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.workers[at.workerID]
	if w == nil || w.control != at.control {
		return
	}
	w.looked = now
	if consumers > 0 {
		w.read()
		return
	}
	if w.unread.IsZero() {
		w.unread = now
	}
	if now.Sub(w.unread) < cutOff {
		return
	}
	if !w.cut {
		w.cut = true
		c.cfg.Logger.Warn("a worker's control queue has had no consumer for a while, it counts as cut off and to start nothing",
			"worker_id", w.id, "host", w.host(), "since", w.unread)
	}
	if w.silentFor(now) > maxSilence && w.gone.IsZero() {
		w.gone, w.unsaved = now, true
		c.cfg.Logger.Warn("a worker is gone", "worker_id", w.id, "host", w.host(), "last_seen", w.seen)
		wake(c.keepNow)
	}
	wake(c.settleNow)
}

// unseen notes that queues could not be looked at.
func (c *Control) unseen(targets []target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.workers {
		if !w.cut && slices.ContainsFunc(targets, func(at target) bool { return at.workerID == w.id }) {
			w.unread = time.Time{}
		}
	}
}
