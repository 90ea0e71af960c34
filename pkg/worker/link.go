package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/retry"
)

const (
	// controlCredit is how many control messages may wait in the worker.
	controlCredit = 100
	// settleTimeout bounds each step of attaching, giving back and settling.
	settleTimeout = 10 * time.Second
	// reattachPeriod is the wait before a queue that was lost is attached anew.
	reattachPeriod = time.Second
)

func isLost(cause error) bool { return errors.Is(cause, broker.ErrDeliveryLost) }

// serveLink takes tasks on one link until it is lost, or until the worker
// stops and every delivery of this link is settled.
func (w *Worker) serveLink(ctx context.Context, l *broker.Link, up func()) error {
	if !w.whileTaking(func() { w.links.Add(1) }) {
		return nil
	}
	defer w.links.Add(-1)
	control, err := w.attachControl(ctx, l)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	reading, stopReading := context.WithCancel(ctx)
	g.Go(func() error { return w.serveControl(reading, l, control) })
	g.Go(func() error {
		defer stopReading()
		types, err := w.register(ctx)
		if errors.Is(err, ErrRefused) {
			w.turnAway(err)
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.synchronize(ctx, types, w.stopping); err != nil {
			return err
		}
		up()
		synchronizing := start(reading, func(ctx context.Context) { w.keepSynchronized(ctx, types) })
		defer synchronizing.stop()
		return w.consumeAll(ctx, l, types)
	})
	return g.Wait()
}

// attachControl attaches to a new control queue on the link. Nothing is started
// before it is known what was cancelled meanwhile.
func (w *Worker) attachControl(ctx context.Context, l *broker.Link) (*broker.Receiver, error) {
	w.goBlind()
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if err := w.publisher.AwaitReady(ctx); err != nil {
		return nil, fmt.Errorf("wait for the publishing connection: %w", err)
	}
	n := int(w.controls.Add(1))
	err := w.conn.Do(ctx, func(t *broker.Topology) error { return t.DeclareControl(w.ID(), n, w.taskTypes()) })
	if err != nil {
		return nil, err
	}
	control, err := l.Control(ctx, w.ID(), n)
	if err != nil {
		return nil, err
	}
	if err := control.Credit(controlCredit); err != nil {
		return nil, fmt.Errorf("ask for control: %w", err)
	}
	w.cancelled.begin(n)
	w.beatSoon()
	return control, nil
}

// serveControl reads control until ctx ends. A queue that is lost while the
// link lives, with the node that it was on, is replaced: the tasks that run on
// the link are not concerned, but none is started until then.
func (w *Worker) serveControl(ctx context.Context, l *broker.Link, control *broker.Receiver) error {
	for {
		var err error
		if control != nil {
			err = w.readControl(ctx, control)
		} else {
			control, err = w.attachControl(ctx, l)
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is how it ends
		}
		if err != nil {
			control = nil
			w.goBlind()
			w.cfg.Logger.Warn("the control queue is lost: starting nothing, attaching to another one", "error", err)
			retry.Pause(ctx, reattachPeriod)
		}
	}
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
		g.Go(func() error { return w.consume(ctx, l, taskType) })
	}
	return g.Wait()
}

// consume consumes one type's queue. When its queue is lost while the link
// lives, it is attached anew: other types are not concerned.
func (w *Worker) consume(ctx context.Context, l *broker.Link, taskType string) error {
	for {
		err := w.consumeOnce(ctx, l, taskType)
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-w.stopping:
			return nil
		default:
		}
		w.cfg.Logger.Warn("a queue is lost, attaching to it again", "task_type", taskType, "error", err)
		retry.Pause(ctx, reattachPeriod)
	}
}

func (w *Worker) consumeOnce(link context.Context, l *broker.Link, taskType string) error {
	attached, lose := context.WithCancelCause(link)
	defer lose(broker.ErrDeliveryLost)
	ctx, cancel := context.WithTimeout(attached, settleTimeout)
	defer cancel()
	r, err := l.Work(ctx, taskType)
	if err != nil {
		return err
	}
	c := &consumption{
		w: w, taskType: taskType, pool: w.pools[taskType], link: l, receiver: r, attached: attached, credit: &credit{receiver: r},
		lose: func(reason error) { lose(fmt.Errorf("%w: %w", broker.ErrDeliveryLost, reason)) },
	}
	return c.run()
}
