package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// Bounds of a rescue. A connection that has others to serve waits for it.
const (
	// rescueTimeout is for all of it.
	rescueTimeout = 30 * time.Second
	// rescueWait is for the first message: the broker has yet to see that the
	// consumer which had it is gone.
	rescueWait = 5 * time.Second
	// rescueQuiet is for each that follows.
	rescueQuiet = 200 * time.Millisecond
)

// oversized says whether a connection ended because the broker sent a frame
// that is too large: properties and headers travel in one frame over AMQP
// 0-9-1, and to those of a publisher the broker adds its own.
func oversized(err error) bool {
	var e *amqp091.Error
	return errors.As(err, &e) && e.Code == amqp091.FrameError && strings.Contains(e.Reason, amqp091.ErrFrameTooLarge.Reason)
}

// rescue has the subscriptions that ask for it get past messages which can't be
// had over AMQP 0-9-1, where they would end every connection.
func (c *Connection) rescue(ctx context.Context, a address) {
	for _, s := range c.rescued {
		log := c.cfg.Logger.With("connection", c.role, "queue", s.Queue)
		n, err := s.rescue(ctx, a, c.cfg)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.Error("can't take messages with headers too large for AMQP 0-9-1, trying again", "error", err, "taken", n)
		default:
			log.Warn("the broker sent headers too large for AMQP 0-9-1, took what came first over AMQP 1.0", "taken", n)
		}
	}
}

// rescue takes as many messages as may have been on their way over AMQP 1.0,
// which splits large headers over frames, and says how many.
func (s *Subscription) rescue(ctx context.Context, a address, cfg Config) (n int, err error) {
	ctx, cancelTimeout := context.WithTimeoutCause(ctx, rescueTimeout, errors.New("the rescue took too long"))
	defer cancelTimeout()
	l, err := dialLink(ctx, a, cfg)
	if err != nil {
		return 0, err
	}
	defer l.conn.Close() //nolint:errcheck // what was not settled comes again
	ctx, cancel := context.WithCancelCause(ctx)
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-l.conn.Done():
			cancel(ErrDeliveryLost)
		case <-stop:
		}
	}()
	defer func() { close(stop); <-ended; cancel(nil) }()
	r, err := l.receive(ctx, s.Queue)
	if err != nil {
		return 0, err
	}
	for patience := rescueWait; n < max(s.Prefetch, 1); patience = rescueQuiet {
		d, err := receiveWithin(ctx, r, patience)
		if d == nil {
			return n, err
		}
		if err := s.handleRescued(ctx, d); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// receiveWithin is nil without an error if no message came.
func receiveWithin(ctx context.Context, r *Receiver, d time.Duration) (*WorkDelivery, error) {
	if err := r.Credit(1); err != nil {
		return nil, fmt.Errorf("ask for a message: %w", err)
	}
	within, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	m, err := r.Receive(within)
	switch {
	case err == nil:
		return m, nil
	case within.Err() != nil && ctx.Err() == nil:
		return nil, nil
	default:
		return nil, fmt.Errorf("receive a message: %w", err)
	}
}

func (s *Subscription) handleRescued(ctx context.Context, d *WorkDelivery) error {
	if err := s.Handle(ctx, []Delivery{rescuedDelivery(d)}); err != nil {
		err = fmt.Errorf("handle a message: %w", err)
		settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), rescueWait)
		defer cancel()
		return errors.Join(err, d.Release(settle))
	}
	if err := d.Accept(ctx); err != nil {
		return fmt.Errorf("accept a message: %w", err)
	}
	return nil
}
