package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/pkg/broker"
)

const (
	// controlCredit is how many control messages may wait in the worker.
	controlCredit = 100
	// settleTimeout bounds giving back what was not started.
	settleTimeout = 10 * time.Second
	// maxHeld is how long a message may wait here for a free slot before others
	// get it.
	maxHeld = time.Hour
)

func isLost(cause error) bool { return errors.Is(cause, broker.ErrDeliveryLost) }

// serveLink takes tasks on one link until it is lost, or until the worker
// stops and every delivery of this link is settled.
func (w *Worker) serveLink(ctx context.Context, l *broker.Link, up func()) error {
	if !w.whileTaking(func() { w.links.Add(1) }) {
		return nil
	}
	defer w.links.Add(-1)
	ready, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if err := w.publisher.AwaitReady(ready); err != nil {
		return fmt.Errorf("wait for the publishing connection: %w", err)
	}
	err := w.conn.Do(ready, func(t *broker.Topology) error { return t.DeclareControl(w.ID(), w.taskTypes()) })
	if err != nil {
		return err
	}
	control, err := l.Control(ready, w.ID())
	if err != nil {
		return err
	}
	if err := control.Credit(controlCredit); err != nil {
		return fmt.Errorf("ask for control: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	stop, cancelControl := context.WithCancel(ctx)
	g.Go(func() error {
		if err := w.readControl(stop, control); stop.Err() == nil {
			return err
		}
		return nil
	})
	g.Go(func() error {
		defer cancelControl()
		types, err := w.register(ctx)
		if err != nil {
			return err
		}
		up()
		return w.consumeAll(ctx, l, types)
	})
	return g.Wait()
}

func (w *Worker) taskTypes() []string {
	var types []string
	for name := range w.methods {
		types = append(types, name)
	}
	return types
}

// consumeAll consumes the queues of all types. It returns without error only
// when the worker stops and all deliveries of the link are settled.
func (w *Worker) consumeAll(ctx context.Context, l *broker.Link, types []string) error {
	if len(types) > 0 {
		w.cfg.Logger.Info("taking tasks", "types", types)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, taskType := range types {
		r, err := l.Work(ctx, taskType)
		if err != nil {
			return err
		}
		c := &consumption{
			w: w, taskType: taskType, pool: w.pools[taskType], receiver: r, link: ctx,
		}
		g.Go(c.run)
	}
	return g.Wait()
}

// consumption takes the tasks of one type on one link.
type consumption struct {
	w        *Worker
	taskType string
	pool     *pool
	receiver *broker.Receiver
	// link ends when the link does. It outlives the taking of tasks.
	link context.Context
}

func (c *consumption) run() error {
	if err := c.receiver.Credit(cap(c.pool.slots) + c.w.cfg.Prefetch); err != nil {
		return fmt.Errorf("ask for tasks: %w", err)
	}
	taking, cancel := context.WithCancel(c.link)
	defer cancel()
	go func() {
		select {
		case <-c.w.stopping:
			cancel()
		case <-taking.Done():
		}
	}()
	err := c.take(taking)
	if c.link.Err() != nil {
		return context.Cause(c.link)
	}
	select {
	case <-c.w.stopping:
	default:
		return err
	}
	if err := c.giveBack(); err != nil {
		return err
	}
	// Settling needs the link.
	c.w.running.Wait()
	ctx, cancelClose := context.WithTimeout(c.link, settleTimeout)
	defer cancelClose()
	return c.receiver.Close(ctx)
}

// take starts tasks as slots become free, until ctx ends or the link does.
func (c *consumption) take(ctx context.Context) error {
	for {
		d, err := c.receiver.Receive(ctx)
		if err != nil {
			return fmt.Errorf("receive tasks of %s: %w", c.taskType, err)
		}
		if err := c.start(ctx, d); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// start executes a delivery as soon as a slot is free, or gives it back.
func (c *consumption) start(ctx context.Context, d *broker.WorkDelivery) error {
	held := time.NewTimer(maxHeld)
	defer held.Stop()
	select {
	case c.pool.slots <- struct{}{}:
		if c.w.whileTaking(func() { c.w.running.Add(1) }) {
			go c.execute(d)
			return nil
		}
		c.pool.release()
		return c.release(d)
	case <-held.C:
		return c.yield(ctx, d)
	case <-ctx.Done():
		return c.release(d)
	}
}

// yield gives back what has waited too long and asks for more once a slot is free.
func (c *consumption) yield(ctx context.Context, d *broker.WorkDelivery) error {
	n := 0
	for ; d != nil; d = c.receiver.Prefetched() {
		if err := c.release(d); err != nil {
			return err
		}
		n++
	}
	select {
	case c.pool.slots <- struct{}{}:
		c.pool.release()
		return c.receiver.Credit(n)
	case <-ctx.Done():
		return nil
	}
}

// giveBack returns every message that was not started, at no cost.
func (c *consumption) giveBack() error {
	ctx, cancel := context.WithTimeout(c.link, settleTimeout)
	defer cancel()
	if err := c.receiver.Drain(ctx); err != nil {
		return fmt.Errorf("take back the credit: %w", err)
	}
	for d := c.receiver.Prefetched(); d != nil; d = c.receiver.Prefetched() {
		if err := c.release(d); err != nil {
			return err
		}
	}
	return nil
}

func (c *consumption) release(d *broker.WorkDelivery) error {
	ctx, cancel := context.WithTimeout(c.link, settleTimeout)
	defer cancel()
	if err := d.Release(ctx); err != nil {
		return fmt.Errorf("give a task back: %w", err)
	}
	return nil
}
