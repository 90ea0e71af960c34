package worker

import (
	"context"
	"time"
)

// awaitOpen waits until tasks of the type may be started; false when ctx ends
// before.
func (c *consumption) awaitOpen(ctx context.Context) bool {
	for {
		state, gateChanged := c.w.gate.now()
		changed := c.pool.change()
		suspended := c.pool.suspended(&c.w.clock)
		if state.open() && suspended <= 0 {
			return true
		}
		again := relearn // what is known of the gateways' time may change
		if suspended > 0 {
			again = min(suspended, again)
		}
		timer := time.NewTimer(again)
		select {
		case <-gateChanged:
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
		timer.Stop()
	}
}

// untilShut gives a context that ends when no task of the type may be started any
// more, or there are fewer slots than there is credit for.
func (c *consumption) untilShut(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	watching := start(ctx, func(ctx context.Context) {
		defer cancel()
		c.awaitShut(ctx)
	})
	return ctx, func() {
		cancel()
		watching.stop()
	}
}

// awaitShut returns at the end that [consumption.untilShut] has, or of ctx. The
// credit follows when there are more slots.
func (c *consumption) awaitShut(ctx context.Context) {
	for {
		state, gateChanged := c.w.gate.now()
		changed := c.pool.change()
		if !state.open() || c.pool.suspended(&c.w.clock) > 0 {
			return
		}
		slots := c.pool.slots.size()
		// An error is one of the link, which taking meets too.
		if fits, err := c.credit.grow(slots, c.pool.prefetchFor(slots)); !fits || err != nil {
			return
		}
		select {
		case <-gateChanged:
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
