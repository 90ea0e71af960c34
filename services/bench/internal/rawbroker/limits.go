// Package rawbroker measures what RabbitMQ can do for a client that does nothing
// else: the limits that Warren's rates are compared with.
//
// Each measure has a fresh quorum queue like a work queue, persistent messages of
// the size of a payload, publisher confirms, and one consumer on a connection of
// its own that acknowledges message by message.
package rawbroker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/pkg/broker"
)

// Limits measures on a broker. Its measures must not run at the same time.
type Limits struct {
	// URL is the broker's.
	URL string
	// Names are those of an installation whose shared topology is there.
	Names broker.Names
	// PayloadBytes is the size of a message's body.
	PayloadBytes int

	queues atomic.Int64
}

// Prefetch is how many messages the consumer may hold unacknowledged.
const Prefetch = 256

// publish publishes n messages and returns once all are confirmed.
type publish func(ctx context.Context, n int) error

// measure is how long it takes from the first publish until all messages are
// confirmed, the last acknowledgement was sent, and the queue is empty.
func (l *Limits) measure(ctx context.Context, n int, open func(context.Context, *target) (publish, error)) (time.Duration, error) {
	took, err := l.measureOnce(ctx, n, open)
	// Whatever fails then fails for want of connections.
	if err != nil && ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return took, err
}

func (l *Limits) measureOnce(ctx context.Context, n int, open func(context.Context, *target) (publish, error)) (time.Duration, error) {
	// Connections end with it, so that nothing waits for a broker that hangs.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t, err := l.newTarget(ctx)
	if err != nil {
		return 0, err
	}
	publish, err := open(ctx, t)
	if err != nil {
		return 0, errors.Join(err, t.remove())
	}
	deliveries, err := t.consume()
	if err != nil {
		return 0, errors.Join(err, t.remove())
	}
	begin := time.Now()
	both, within := errgroup.WithContext(ctx)
	both.Go(func() error { return publish(within, n) })
	both.Go(func() error { return t.drain(within, deliveries, n) })
	err = both.Wait()
	took := time.Since(begin)
	return took, errors.Join(err, t.remove())
}

// target is a queue, and the connection that consumes from it.
type target struct {
	url   string
	queue string
	body  []byte
	ch    *amqp091.Channel
}

func (l *Limits) newTarget(ctx context.Context) (*target, error) {
	ch, err := open(ctx, l.URL)
	if err != nil {
		return nil, err
	}
	spec := l.Names.WorkQueue("bench.raw." + strconv.FormatInt(l.queues.Add(1), 10))
	if _, err := ch.QueueDeclare(spec.Name, true, false, false, false, spec.Arguments); err != nil {
		return nil, fmt.Errorf("declare queue %s: %w", spec.Name, err)
	}
	return &target{url: l.URL, queue: spec.Name, body: make([]byte, l.PayloadBytes), ch: ch}, nil
}

func (t *target) message() amqp091.Publishing {
	return amqp091.Publishing{DeliveryMode: amqp091.Persistent, Body: t.body}
}

const consumerTag = "bench"

func (t *target) consume() (<-chan amqp091.Delivery, error) {
	if err := t.ch.Qos(Prefetch, 0, false); err != nil {
		return nil, fmt.Errorf("set the prefetch: %w", err)
	}
	deliveries, err := t.ch.Consume(t.queue, consumerTag, false, false, false, false, nil)
	if err != nil {
		return nil, fmt.Errorf("consume from queue %s: %w", t.queue, err)
	}
	return deliveries, nil
}

// drain acknowledges n messages, each by itself, and sees the queue empty.
func (t *target) drain(ctx context.Context, deliveries <-chan amqp091.Delivery, n int) error {
	for range n {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return fmt.Errorf("consume from queue %s: the channel was closed", t.queue)
			}
			if err := d.Ack(false); err != nil {
				return fmt.Errorf("acknowledge a message: %w", err)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	// The broker answers on this channel when it has read the acknowledgements.
	q, err := t.ch.QueueDeclarePassive(t.queue, true, false, false, false, amqp091.Table{"x-queue-type": "quorum"})
	if err != nil {
		return fmt.Errorf("look at queue %s: %w", t.queue, err)
	}
	if q.Messages != 0 {
		return fmt.Errorf("queue %s has %d messages left of %d", t.queue, q.Messages, n)
	}
	return nil
}

// remove deletes the queue. The connection ends with the measure's context.
func (t *target) remove() error {
	if _, err := t.ch.QueueDelete(t.queue, false, false, false); err != nil {
		return fmt.Errorf("delete queue %s: %w", t.queue, err)
	}
	return nil
}
