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
	warned bool
}

// learn takes in a gateway's time as it arrived. The way here makes it late,
// by milliseconds.
func (c *clock) learn(log *slog.Logger, theirs, ours time.Time) {
	if theirs.Unix() == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset = theirs.Sub(ours)
	skewed := c.offset.Abs() > maxSkew
	if skewed && !c.warned {
		log.Warn("this host's clock differs from the gateway's; check its time synchronisation", "gateway_ahead_by", c.offset)
	}
	c.warned = skewed
}
