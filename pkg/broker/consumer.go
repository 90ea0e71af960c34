package broker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/warrenmq/warren/pkg/retry"
)

// Subscription consumes one queue over AMQP 0-9-1, in batches.
type Subscription struct {
	// Queue is its name.
	Queue string
	// Declare, if not nil, runs on each connection before consuming.
	Declare func(*Topology) error
	// DeclareOwn, in place of Declare, declares another queue each time, which it
	// names; Queue then is for the log alone. An exclusive queue of a connection that
	// was lost with its node is nobody's, and locked, until the node is back.
	DeclareOwn func(*Topology) (queue string, err error)
	// Prefetch is how many unacknowledged messages the broker hands over.
	Prefetch int
	// MaxBatch and MaxBatchBytes bound what one call of Handle gets: no message
	// is added to a batch that has reached either. Defaults 1 and 4 MiB.
	MaxBatch, MaxBatchBytes int
	// Linger is how long a batch waits for more once it has LingerFrom, as Count has
	// it of its messages' bodies, which shows that the queue is busy: larger batches
	// cost less. Default none.
	Linger     time.Duration
	LingerFrom int
	Count      func(body []byte) int
	// Handle takes a batch, in the order of the queue. nil acknowledges it. An
	// error returns it to the queue and consumes anew after a pause. ctx ends
	// when the connection is lost: then the batch will come again.
	Handle func(ctx context.Context, batch []Delivery) error
	// Rescue has messages whose headers do not fit into a frame of AMQP 0-9-1
	// handled all the same, one by one, with as many of their headers as would.
	// Without it one of them ends each connection that gets it.
	Rescue bool
	// Held, if not nil, is how much was handed over and is not acknowledged yet: as
	// Count has it, which must be set then.
	Held *atomic.Int64
}

// Delivery is a message that was consumed over AMQP 0-9-1, or rescued. Its
// properties are as they were sent, zero for unset.
type Delivery struct {
	Body        []byte
	MessageID   string
	Headers     map[string]any
	Redelivered bool
	// Exchange and RoutingKey are what brought it into the queue.
	Exchange, RoutingKey string

	ContentType, ContentEncoding string
	CorrelationID, ReplyTo       string
	Type, UserID, AppID          string
	// Expiration is in milliseconds.
	Expiration string
	Timestamp  time.Time
	// DeliveryMode is 2 for persistent.
	DeliveryMode, Priority uint8
}

func deliveryOf(d *amqp091.Delivery) Delivery {
	return Delivery{
		Body: d.Body, MessageID: d.MessageId, Headers: d.Headers, Redelivered: d.Redelivered,
		Exchange: d.Exchange, RoutingKey: d.RoutingKey,
		ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, CorrelationID: d.CorrelationId, ReplyTo: d.ReplyTo,
		Type: d.Type, UserID: d.UserId, AppID: d.AppId, Expiration: d.Expiration, Timestamp: d.Timestamp,
		DeliveryMode: d.DeliveryMode, Priority: d.Priority,
	}
}

// Subscribe attaches a subscription to the connection.
func (c *Connection) Subscribe(s Subscription) {
	s.MaxBatch = max(s.MaxBatch, 1)
	if s.MaxBatchBytes == 0 {
		s.MaxBatchBytes = 4 << 20
	}
	if s.Rescue {
		c.rescued = append(c.rescued, s)
	}
	log := c.cfg.Logger.With("queue", s.Queue)
	c.users = append(c.users, func(ctx context.Context, conn *amqp091.Connection) error {
		for backoff := minBackoff; ctx.Err() == nil; backoff = min(2*backoff, maxBackoff) {
			worked, err := s.consume(ctx, conn, c.cfg.Names())
			if err != nil && ctx.Err() == nil {
				log.Warn("stopped consuming, trying again", "error", err)
			}
			if worked {
				backoff = minBackoff
			}
			retry.Pause(ctx, backoff)
		}
		return nil
	})
}

// consume runs until the channel or ctx ends, and says whether a batch was
// handled. Nothing is acknowledged on another channel than the one that
// delivered it.
func (s *Subscription) consume(ctx context.Context, conn *amqp091.Connection, names Names) (worked bool, err error) {
	queue, err := s.declare(conn, names)
	if err != nil {
		return false, err
	}
	ch, err := conn.Channel()
	if err != nil {
		return false, fmt.Errorf("open a channel: %w", err)
	}
	if err := ch.Qos(s.Prefetch, 0, false); err != nil {
		return false, errors.Join(fmt.Errorf("set the prefetch: %w", err), ch.Close())
	}
	deliveries, err := ch.Consume(queue, "", byHand, shared, false, wait, nil)
	if err != nil {
		return false, errors.Join(fmt.Errorf("consume %s: %w", queue, err), ch.Close())
	}
	ready := s.buffered(deliveries)
	defer s.forgetHeld()
	defer closeConsumer(ch, ready)
	for {
		select {
		case d, ok := <-ready:
			if !ok {
				return worked, errors.New("the broker ended the consumer")
			}
			if err := s.handle(ctx, ch, s.gather(ctx, d, ready)); err != nil {
				return worked, err
			}
			worked = true
		case <-ctx.Done():
			return worked, nil
		}
	}
}

// declare gives the queue to consume.
func (s *Subscription) declare(conn *amqp091.Connection, names Names) (queue string, err error) {
	queue = s.Queue
	switch {
	case s.DeclareOwn != nil:
		err = withTopology(conn, names, func(t *Topology) (err error) {
			queue, err = s.DeclareOwn(t)
			return err
		})
	case s.Declare != nil:
		err = withTopology(conn, names, s.Declare)
	}
	return queue, err
}

// buffered makes a batch of what has arrived visible: amqp091-go hands
// deliveries over one by one. It ends with the deliveries, which are read to
// their end by whoever reads the answer.
func (s *Subscription) buffered(deliveries <-chan amqp091.Delivery) <-chan amqp091.Delivery {
	ready := make(chan amqp091.Delivery, s.Prefetch)
	go func() {
		defer close(ready)
		for d := range deliveries {
			if s.Held != nil {
				s.Held.Add(int64(s.Count(d.Body)))
			}
			ready <- d
		}
	}()
	return ready
}

// closeConsumer closes a channel whose deliveries nobody reads any more. They
// return to the queue; amqp091-go waits until what it has buffered is read.
func closeConsumer(ch *amqp091.Channel, deliveries <-chan amqp091.Delivery) {
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for range deliveries {
		}
	}()
	_ = ch.Close()
	<-drained
}

// gather adds to the first delivery what is there already, and what comes while
// the batch lingers.
func (s *Subscription) gather(ctx context.Context, first amqp091.Delivery, more <-chan amqp091.Delivery) []amqp091.Delivery {
	batch, size := []amqp091.Delivery{first}, len(first.Body)
	var lingered <-chan time.Time
	for len(batch) < s.MaxBatch && size < s.MaxBatchBytes {
		d, ok := next(more)
		if !ok {
			if s.Linger == 0 || s.count(batch) < s.LingerFrom {
				return batch
			}
			if lingered == nil {
				timer := time.NewTimer(s.Linger)
				defer timer.Stop()
				lingered = timer.C
			}
			select {
			case d, ok = <-more:
			case <-lingered:
			case <-ctx.Done():
			}
			if !ok {
				return batch
			}
		}
		batch, size = append(batch, d), size+len(d.Body)
	}
	return batch
}

func (s *Subscription) count(batch []amqp091.Delivery) (n int) {
	for i := range batch {
		n += s.Count(batch[i].Body)
	}
	return n
}

// next is what is there already; false for nothing.
func next(deliveries <-chan amqp091.Delivery) (d amqp091.Delivery, ok bool) {
	select {
	case d, ok = <-deliveries:
	default:
	}
	return d, ok
}

func (s *Subscription) handle(ctx context.Context, ch *amqp091.Channel, raw []amqp091.Delivery) error {
	batch := make([]Delivery, len(raw))
	for i := range raw {
		batch[i] = deliveryOf(&raw[i])
	}
	if err := s.Handle(ctx, batch); err != nil {
		return fmt.Errorf("handle %d messages: %w", len(batch), err)
	}
	if err := ch.Ack(raw[len(raw)-1].DeliveryTag, multiple); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	if s.Held != nil {
		s.Held.Add(-int64(s.count(raw)))
	}
	return nil
}

// forgetHeld says that nothing is held any more: it is in the queue again.
func (s *Subscription) forgetHeld() {
	if s.Held != nil {
		s.Held.Store(0)
	}
}
