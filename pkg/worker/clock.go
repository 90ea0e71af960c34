package worker

import (
	"log/slog"
	"sync"
	"time"
)

// maxSkew is by how much a worker's clock may differ from the gateways' before
// people should know: times in the history come from both.
const maxSkew = 5 * time.Second

// clock knows how far the gateways' clock is ahead of this process's.
type clock struct {
	mu     sync.Mutex
	offset time.Duration
	// learned is when offset was.
	learned time.Time
	warned  bool
}

// now is the gateways' time, as far as it is known.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

// relearn is how long the best estimate holds.
const relearn = time.Minute

// learn takes in a gateway's time as it arrived. The way here makes it late, so
// of the times of a minute the one that is furthest ahead is closest.
func (c *clock) learn(log *slog.Logger, theirs, ours time.Time) {
	if theirs.Unix() == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	offset := theirs.Sub(ours)
	if !c.learned.IsZero() && offset < c.offset && ours.Sub(c.learned) < relearn {
		return
	}
	c.offset, c.learned = offset, ours
	skewed := c.offset.Abs() > maxSkew
	if skewed && !c.warned {
		log.Warn("this host's clock differs from the gateway's; check its time synchronisation", "gateway_ahead_by", c.offset)
	}
	c.warned = skewed
}
