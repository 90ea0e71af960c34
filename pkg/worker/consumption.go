package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/warrenmq/warren/pkg/broker"
)

// maxHeld is how long a message may wait here for a free slot before others get
// it.
const maxHeld = time.Hour

// consumption takes the tasks of one type while it is attached to their queue.
type consumption struct {
	w        *Worker
	taskType string
	pool     *pool
	link     *broker.Link
	receiver *broker.Receiver
	credit   *credit
	// attached ends, with the cause ErrDeliveryLost, when deliveries can no
	// longer be settled. It outlives the taking of tasks.
	attached context.Context
	// lose detaches: what is not settled is delivered again.
	lose func(reason error)
}

// run takes tasks until the worker stops and all of its deliveries are
// settled, which is no error, or until the queue or the link is lost.
func (c *consumption) run() error {
	defer c.close()
	taking, cancel := context.WithCancel(c.attached)
	defer cancel()
	stop := context.AfterFunc(c.w.stopTaking, cancel)
	defer stop()
	err := c.take(taking)
	if c.attached.Err() != nil {
		c.survive()
		return context.Cause(c.attached)
	}
	if c.w.stopTaking.Err() == nil {
		c.lose(err)
		return err
	}
	c.giveBack()
	// Settling needs the link.
	select {
	case <-c.w.idle:
		return nil
	case <-c.attached.Done():
		return context.Cause(c.attached)
	}
}

// close detaches cleanly: to the broker that is no failed delivery.
func (c *consumption) close() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.attached), time.Second)
	defer cancel()
	if err := c.receiver.Close(ctx); err != nil {
		c.w.cfg.Logger.Debug("a queue was not detached from cleanly", "task_type", c.taskType, "error", err)
	}
}

// take starts tasks as slots become free, until ctx ends or the link does. While
// none may be started it takes none.
func (c *consumption) take(ctx context.Context) error {
	for c.awaitOpen(ctx) && ctx.Err() == nil {
		slots := c.pool.slots.size()
		c.credit.fit(slots, c.pool.prefetchFor(slots))
		if err := c.credit.extend(); err != nil {
			return err
		}
		if err := c.takeOpen(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		c.giveBack()
	}
	return nil
}

// takeOpen starts tasks until none may be started, there are fewer slots, or ctx
// ends: none is an error.
func (c *consumption) takeOpen(ctx context.Context) error {
	ctx, cancel := c.untilShut(ctx)
	defer cancel()
	for {
		d, err := c.receiver.Receive(ctx)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("receive tasks of %s: %w", c.taskType, err)
		}
		if d == nil {
			return nil
		}
		c.credit.received()
		if err := c.start(ctx, d); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// start executes a delivery as soon as a slot is free, or gives it back.
func (c *consumption) start(ctx context.Context, d *broker.WorkDelivery) error {
	switch err := c.pool.slots.take(ctx, maxHeld); {
	case errors.Is(err, errNoSlot):
		return c.yield(ctx, d)
	case err != nil:
		return c.release(d)
	}
	if ctx.Err() == nil && c.begin() {
		go c.execute(d)
		return nil
	}
	c.pool.slots.release()
	return c.release(d)
}

// begin counts an execution that begins; false when none may.
func (c *consumption) begin() (begun bool) {
	if c.pool.suspended(&c.w.clock) > 0 {
		return false
	}
	c.w.whileTaking(func() {
		if begun = c.w.gate.enter(); begun {
			c.w.running.Add(1)
		}
	})
	return begun
}

// yield gives back what has waited too long and takes more once a slot is free.
func (c *consumption) yield(ctx context.Context, d *broker.WorkDelivery) error {
	if err := c.release(d); err != nil {
		return err
	}
	c.giveBack()
	for {
		switch err := c.pool.slots.take(ctx, maxHeld); {
		case errors.Is(err, errNoSlot):
			continue
		case err != nil:
			return nil //nolint:nilerr // the end of ctx is how it ends
		}
		c.pool.slots.release()
		return c.credit.extend()
	}
}

// giveBack asks for no more messages and returns every one that was not started,
// at no cost. What it can't return goes back when the worker detaches.
func (c *consumption) giveBack() {
	ctx, cancel := context.WithTimeout(c.attached, settleTimeout)
	defer cancel()
	err := c.credit.withdraw(ctx)
	for d := c.receiver.Prefetched(); d != nil && c.attached.Err() == nil; d = c.receiver.Prefetched() {
		c.credit.received()
		if releaseErr := c.release(d); releaseErr != nil {
			err = releaseErr
			break
		}
	}
	if err != nil && c.attached.Err() == nil {
		c.w.cfg.Logger.Warn("fetched tasks are not given back yet", "task_type", c.taskType, "error", err)
	}
}

func (c *consumption) release(d *broker.WorkDelivery) error {
	ctx, cancel := context.WithTimeout(c.attached, settleTimeout)
	defer cancel()
	if err := d.Release(ctx); err != nil {
		if c.attached.Err() != nil {
			c.lost(d)
		}
		return fmt.Errorf("give a task back: %w", err)
	}
	return c.credit.settled()
}

// survive says of all messages that were fetched and not started that their
// connection was lost and this process was not: the broker counts them as failed
// deliveries.
func (c *consumption) survive() {
	for d := c.receiver.Prefetched(); d != nil; d = c.receiver.Prefetched() {
		c.lost(d)
	}
}

func (c *consumption) lost(d *broker.WorkDelivery) {
	x := c.execution(d)
	var err error
	if x.msg, err = d.Task(c.taskType); err != nil {
		return // it is nobody's task, and no suspect
	}
	x.sayLost()
}
