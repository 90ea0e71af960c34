package control

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// logPeriod is the time between two log lines about the same trouble.
const logPeriod = 10 * time.Second

// troubles bounds how often each of several troubles is logged, so that none hides
// another. The zero value is ready for use.
type troubles struct {
	mu sync.Mutex
	by map[string]*rate.Sometimes
}

// of is what bounds log lines with a text, of which there must be few.
func (t *troubles) of(text string) *rate.Sometimes {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by = map[string]*rate.Sometimes{}
	}
	if t.by[text] == nil {
		t.by[text] = &rate.Sometimes{Interval: logPeriod}
	}
	return t.by[text]
}

// warn logs, now and then, what does not work for now; nothing once ctx has ended.
func (c *Control) warn(ctx context.Context, text string, err error) {
	if ctx.Err() == nil {
		c.troubles.of(text).Do(func() { c.cfg.Logger.WarnContext(ctx, text, "error", err) })
	}
}
