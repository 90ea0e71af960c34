package control

import (
	"time"

	"github.com/warrenmq/warren/pkg/wake"
)

const (
	// cutOff is how long a worker's control queue has had no consumer when the worker
	// is known to start nothing: five seconds more than a link may be silent.
	cutOff = 15 * time.Second
	// outOfReach is how long a worker has been silent, and its control queue on a node
	// that can't be reached, when the worker is known to start nothing: one that lives
	// has noticed by then that its link is dead or hears nothing, and has attached to
	// another control queue or starts nothing until it has.
	outOfReach = time.Minute
)

// saw notes how many consume a control queue. Time in which it could not be looked at
// counts: whoever lost a control queue reads one with another number next.
func (c *Control) saw(at target, consumers int, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.workers[at.workerID]
	if w == nil || w.control != at.control {
		return
	}
	w.looked, w.away = now, time.Time{}
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
	if w.silentFor(now) > maxSilence {
		c.giveUp(w, now)
	}
	wake.Signal(c.settleNow)
}

// missed notes that a control queue is out of reach, which says nothing of who
// consumes it.
func (c *Control) missed(at target, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.workers[at.workerID]
	if w == nil || w.control != at.control {
		return
	}
	w.looked = now
	if w.away.IsZero() {
		w.away = now
	}
	if now.Sub(w.away) >= outOfReach && w.silentFor(now) >= outOfReach {
		c.giveUp(w, now)
		wake.Signal(c.settleNow)
	}
}

// giveUp takes a worker for gone.
func (c *Control) giveUp(w *worker, now time.Time) {
	if !w.gone.IsZero() {
		return
	}
	w.gone, w.unsaved = now, true
	c.cfg.Logger.Warn("a worker is gone", "worker_id", w.id, "host", w.host(), "last_seen", w.seen)
	wake.Signal(c.keepNow)
}
