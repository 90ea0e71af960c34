package control

import (
	"context"
	"fmt"
	"time"
)

const (
	// readPage is how many cancellations are read at once.
	readPage = 2000
	// forgetPeriod is the time between two looks for cancellations and workers that
	// need not be known any more.
	forgetPeriod = 30 * time.Second
	// seenFor is how long after its message was seen a cancellation is kept.
	seenFor = 10 * time.Minute
)

// keep reads from the store what others have put there, and puts there what is
// known of workers.
func (c *Control) keep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := c.refresh(ctx); err != nil {
		c.warn(ctx, "the store does not say what is cancelled, or what operators have set; what is known stays in force", err)
		return
	}
	if err := c.saveWorkers(ctx); err != nil {
		c.warn(ctx, "what is known of workers can't be stored now", err)
		return
	}
	if err := c.forget(ctx); err != nil {
		c.warn(ctx, "what need not be known any more can't be forgotten now", err)
	}
}

// refresh reads all that is not known yet.
func (c *Control) refresh(ctx context.Context) error {
	if err := c.refreshCancellations(ctx); err != nil {
		return err
	}
	if err := c.refreshSettings(ctx); err != nil {
		return err
	}
	if err := c.refreshWorkers(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loaded.IsZero() {
		c.loaded = time.Now()
		close(c.loadedOnce)
		c.cfg.Logger.InfoContext(ctx, "control is loaded", "cancellations", len(c.book.runs), "workers", len(c.workers))
	}
	return nil
}

// refreshCancellations reads cancellations that are not known yet. Everything up to
// the position that was the highest at the call is in the book then.
func (c *Control) refreshCancellations(ctx context.Context) error {
	select {
	case c.refreshing <- struct{}{}:
		defer func() { <-c.refreshing }()
	case <-ctx.Done():
		return fmt.Errorf("wait for who reads cancellations: %w", context.Cause(ctx))
	}
	begin := time.Now()
	highest, err := c.cfg.Store.CancelPosition(ctx)
	if err != nil {
		return fmt.Errorf("read the position of cancellations: %w", err)
	}
	c.mu.Lock()
	after, loading := c.known, c.loaded.IsZero()
	c.mu.Unlock()
	for {
		page, err := c.cfg.Store.Cancellations(ctx, after, readPage)
		if err != nil {
			return fmt.Errorf("read cancellations: %w", err)
		}
		c.mu.Lock()
		for i := range page {
			c.book.add(&page[i], loading)
			after = page[i].Position
		}
		more := len(page) == readPage
		if !more {
			c.know(max(after, highest), begin)
		}
		c.mu.Unlock()
		if !more {
			return nil
		}
	}
}

// know notes up to which position the book is complete. Positions that go back are
// those of another store.
func (c *Control) know(position int64, begin time.Time) {
	if position > c.known {
		c.known = position
		wake(c.tellNow)
		wake(c.settleNow)
	}
	c.knownAt = begin
}

// forget forgets what need not be known any more.
func (c *Control) forget(ctx context.Context) error {
	now := time.Now()
	c.mu.Lock()
	due := now.Sub(c.forgot) >= forgetPeriod
	c.mu.Unlock()
	if !due {
		return nil
	}
	if err := c.forgetCancellations(ctx, now); err != nil {
		return err
	}
	if err := c.forgetWorkers(ctx, now); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgot = now
	return nil
}

func (c *Control) forgetCancellations(ctx context.Context, now time.Time) error {
	for {
		gone, err := c.cfg.Store.ForgetCancellations(ctx, now.Add(-seenFor), maxEntries)
		if err != nil {
			return fmt.Errorf("forget cancellations: %w", err)
		}
		if len(gone) == 0 {
			return nil
		}
		c.mu.Lock()
		c.book.remove(gone)
		c.mu.Unlock()
		c.tellForgotten(ctx, gone)
	}
}
