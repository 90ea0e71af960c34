package rawbroker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"
)

const (
	// Publishers is how many there are in a deep pipeline, each with a connection of
	// its own.
	Publishers = 2
	// Window is how many confirms each of them has outstanding at most.
	Window = 512
	// Callers is how many share one channel otherwise.
	Callers = 64
)

// Deep is how long n messages take with a deep pipeline: two publishers that do
// not wait for a confirm before the next message. It is the most that a client
// can get out of one queue.
func (l *Limits) Deep(ctx context.Context, n int) (time.Duration, error) {
	return l.measure(ctx, n, func(ctx context.Context, t *target) (publish, error) {
		channels := make([]*amqp091.Channel, Publishers)
		for i := range channels {
			var err error
			if channels[i], err = openConfirming(ctx, t.url); err != nil {
				return nil, err
			}
		}
		return func(ctx context.Context, n int) error {
			all, ctx := errgroup.WithContext(ctx)
			for i, ch := range channels {
				share := n / len(channels)
				if i < n%len(channels) {
					share++
				}
				all.Go(func() error { return t.stream(ctx, ch, share) })
			}
			return all.Wait()
		}, nil
	})
}

// stream publishes n messages, with up to [Window] confirms outstanding.
func (t *target) stream(ctx context.Context, ch *amqp091.Channel, n int) error {
	outstanding := make(chan *amqp091.DeferredConfirmation, Window)
	for range n {
		if len(outstanding) == Window {
			if err := confirmed(ctx, <-outstanding); err != nil {
				return err
			}
		}
		confirm, err := t.send(ch)
		if err != nil {
			return err
		}
		outstanding <- confirm
	}
	close(outstanding)
	for confirm := range outstanding {
		if err := confirmed(ctx, confirm); err != nil {
			return err
		}
	}
	return nil
}

// Callers64 is how long n messages take with 64 callers on one channel, each of
// which waits for its own confirm before its next message, as the callers of an
// RPC do.
func (l *Limits) Callers64(ctx context.Context, n int) (time.Duration, error) {
	return l.measure(ctx, n, func(ctx context.Context, t *target) (publish, error) {
		ch, err := openConfirming(ctx, t.url)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, n int) error {
			var next atomic.Int64
			all, ctx := errgroup.WithContext(ctx)
			for range Callers {
				all.Go(func() error {
					for next.Add(1) <= int64(n) {
						confirm, err := t.send(ch)
						if err != nil {
							return err
						}
						if err := confirmed(ctx, confirm); err != nil {
							return err
						}
					}
					return nil
				})
			}
			return all.Wait()
		}, nil
	})
}

func (t *target) send(ch *amqp091.Channel) (*amqp091.DeferredConfirmation, error) {
	confirm, err := ch.PublishWithDeferredConfirm("", t.queue, false, false, t.message())
	if err != nil {
		return nil, fmt.Errorf("publish a message: %w", err)
	}
	return confirm, nil
}

var errNack = errors.New("the broker did not confirm a message")

func confirmed(ctx context.Context, confirm *amqp091.DeferredConfirmation) error {
	ok, err := confirm.WaitContext(ctx)
	if err != nil {
		return fmt.Errorf("wait for a confirm: %w", err)
	}
	if !ok {
		return errNack
	}
	return nil
}
