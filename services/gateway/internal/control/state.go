package control

import (
	"context"
	"fmt"
	"time"

	"github.com/warrenmq/warren/pkg/wake"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// pageSize is how many cancellations are read at once.
	pageSize = 2000
	// forgetPeriod is the time between two looks for cancellations and workers that
	// need not be known any more.
	forgetPeriod = 30 * time.Second
	// seenFor is how long after its message was seen a cancellation is kept: another
	// message of its run may be held by a worker, for an hour at most.
	seenFor = 2 * time.Hour
)

// keep reads from the store what others have put there, and puts there what is
// known of workers.
func (c *Control) keep(ctx context.Context) {
	if err := c.refresh(ctx); err != nil {
		c.warn(ctx, "the store does not say what is cancelled, or what operators have set; what is known stays in force", err)
		return
	}
	if err := bounded(ctx, c.saveWorkers); err != nil {
		c.warn(ctx, "what is known of workers can't be stored now", err)
		return
	}
	if err := c.forget(ctx); err != nil {
		c.warn(ctx, "what need not be known any more can't be forgotten now", err)
	}
}

// bounded gives a use of the store its time.
func bounded(ctx context.Context, use func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return use(ctx)
}

// refresh reads all that is not known yet.
func (c *Control) refresh(ctx context.Context) error {
	if err := c.refreshCancellations(ctx); err != nil {
		return err
	}
	if err := bounded(ctx, c.Reread); err != nil {
		return err
	}
	if err := bounded(ctx, c.refreshWorkers); err != nil {
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
// the position that was the highest at the call is in the book then. Each page counts
// as soon as it is read: where one can't be read, the next call goes on there.
func (c *Control) refreshCancellations(ctx context.Context) error {
	select {
	case c.refreshing <- struct{}{}:
		defer func() { <-c.refreshing }()
	case <-ctx.Done():
		return fmt.Errorf("wait for who reads cancellations: %w", context.Cause(ctx))
	}
	begin := time.Now()
	highest, err := c.cancelPosition(ctx)
	if err != nil {
		return fmt.Errorf("read the position of cancellations: %w", err)
	}
	for {
		more, err := c.readPage(ctx)
		if err != nil {
			return fmt.Errorf("read cancellations: %w", err)
		}
		if !more {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.know(highest)
			// Positions that have gone back by now are those of another store.
			c.knownAt = begin
			return nil
		}
	}
}

func (c *Control) cancelPosition(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return c.cfg.Store.CancelPosition(ctx)
}

// readPage reads the cancellations that follow those in the book.
func (c *Control) readPage(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	c.mu.Lock()
	after, loading := c.known, c.loaded.IsZero()
	c.mu.Unlock()
	page, err := c.cfg.Store.Cancellations(ctx, after, pageSize)
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range page {
		c.book.add(&page[i], loading)
		after = page[i].Position
	}
	c.know(after)
	return len(page) == pageSize, nil
}

// know notes up to which position the book is complete.
func (c *Control) know(position int64) {
	if position > c.known {
		c.known = position
		wake.Signal(c.tellNow)
		wake.Signal(c.settleNow)
	}
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
	if err := bounded(ctx, func(ctx context.Context) error { return c.forgetWorkers(ctx, now) }); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgot = now
	return nil
}

func (c *Control) forgetCancellations(ctx context.Context, now time.Time) error {
	for {
		page, err := c.forgetPage(ctx, now)
		if err != nil {
			return fmt.Errorf("forget cancellations: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		c.mu.Lock()
		gone := c.book.forget(page)
		c.mu.Unlock()
		c.tellForgotten(ctx, gone)
	}
}

func (c *Control) forgetPage(ctx context.Context, now time.Time) ([]store.Cancellation, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return c.cfg.Store.ForgetCancellations(ctx, now.Add(-seenFor), maxEntries)
}
