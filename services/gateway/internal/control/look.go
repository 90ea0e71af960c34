package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
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
	looking, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	for len(targets) > 0 {
		done, err := c.lookAt(looking, targets)
		if err != nil {
			// The next look begins with those that are left.
			c.warn(ctx, "control queues can't be looked at now: cancellations wait for workers of which nothing is heard", err)
			return
		}
		targets = targets[done:]
	}
}

// lookAtQueues looks at one queue after the other up to the first that is missing or out
// of reach, which costs the channel, and returns how many it was.
func (c *Control) lookAtQueues(ctx context.Context, targets []target) (int, error) {
	// Buffered, because Do may return while f still waits for the broker, which takes its
	// time, a minute and more, to say of a queue whose node has died that it is out of reach.
	looked := make(chan int, 1)
	var asking atomic.Pointer[target]
	err := c.cfg.Topology.Do(ctx, func(t *broker.Topology) error {
		for i, at := range targets {
			if ctx.Err() != nil { // it has waited for an answer for too long, others look by now
				looked <- i
				return ctx.Err()
			}
			asking.Store(&at)
			consumers, err := c.ask(t, at)
			asking.Store(nil)
			switch {
			case err == nil:
				c.saw(at, consumers, time.Now())
				continue
			case errors.Is(err, broker.ErrMissing):
				c.saw(at, 0, time.Now())
			case errors.Is(err, broker.ErrUnreachable):
				c.missed(at, time.Now())
			default:
				looked <- i
				return err
			}
			looked <- i + 1
			return nil
		}
		looked <- len(targets)
		return nil
	})
	select {
	case n := <-looked:
		return n, err
	default:
		if at := asking.Load(); at != nil {
			c.missed(*at, time.Now())
		}
		return 0, fmt.Errorf("look at control queues: %w", err)
	}
}

// ask asks the broker who consumes a control queue. It puts it behind all others,
// whatever comes of that, and has it not asked for again meanwhile.
func (c *Control) ask(t *broker.Topology, at target) (int, error) {
	note := func(asked int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if w := c.workers[at.workerID]; w != nil {
			w.looked, w.asked = time.Now(), asked
		}
	}
	note(int(at.control))
	defer note(0)
	return t.ControlConsumers(at.workerID, int(at.control))
}

// targets logs workers that are silent and lists the control queues to look at, that
// which was not looked at for the longest first: a look that can't get to the last goes
// on there the next time.
func (c *Control) targets(now time.Time) []target {
	c.mu.Lock()
	defer c.mu.Unlock()
	waits := c.awaited()
	var out []target
	for _, w := range c.workers {
		if !w.gone.IsZero() || w.asked == int(w.control) && w.asked > 0 {
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
	slices.SortFunc(out, func(a, b target) int {
		return cmp.Or(c.workers[a.workerID].looked.Compare(c.workers[b.workerID].looked), cmp.Compare(a.workerID, b.workerID))
	})
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
