package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// takerChannels is on how many channels a taker asks at the same time: each has to
// wait for the answer to one message before it asks for the next.
const takerChannels = 4

// Taker takes messages out of the queue of a task type, as many as it is asked for
// and none besides, over a connection of its own: a message that AMQP 0-9-1 can't
// carry ends that and nothing else. It is for one goroutine.
//
// What is neither accepted nor released when the taker is closed, or when its
// connection is lost, returns to the queue as a failed delivery, so that a worker
// asks for a permit before it starts it.
type Taker struct {
	queue, taskType string
	conn            *amqp091.Connection
	channels        []*takerChannel
	// unbind ends the watch over the connection's socket.
	unbind func() bool
}

// takerChannel is a channel with the tags of what it has delivered and is not settled.
type takerChannel struct {
	*amqp091.Channel
	open map[uint64]struct{}
}

// ReadyTask is a message that was taken out of a work queue. Whoever may publish
// can forge everything in it.
type ReadyTask struct {
	// Task is the task without its payload, unless there is a Problem.
	Task TaskMessage
	// Problem says why the message is no task.
	Problem error
	// Attempt is the number of the attempt that the message is at, from 1.
	Attempt int
	// Acquired counts the deliveries of the message, this one included, and Failed
	// those before it that ended in a lost connection, since the last settlement.
	Acquired, Failed int64

	channel *takerChannel
	tag     uint64
}

// OpenTaker connects to a node that is there. The connection ends with ctx. The
// configuration must be valid.
func OpenTaker(ctx context.Context, cfg Config, taskType string) (*Taker, error) {
	var errs []error
	for _, u := range cfg.URLs {
		a, err := parseAddress(u)
		if err != nil {
			return nil, err
		}
		t, err := openTaker(ctx, cfg, a, taskType)
		if err == nil {
			return t, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", a, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("open a connection to take tasks of %s: %w", taskType, errors.Join(errs...))
}

func openTaker(ctx context.Context, cfg Config, a address, taskType string) (*Taker, error) {
	conn, socket, err := dial091(a, cfg.Name+" take")
	if err != nil {
		return nil, err
	}
	names := cfg.Names()
	t := &Taker{queue: names.Work(taskType), taskType: taskType, conn: conn}
	// amqp091-go waits without a deadline.
	t.unbind = context.AfterFunc(ctx, func() { _ = socket.Close() })
	for range takerChannels {
		ch, err := conn.Channel()
		if err != nil {
			t.Close()
			return nil, fmt.Errorf("open a channel: %w", err)
		}
		t.channels = append(t.channels, &takerChannel{ch, map[uint64]struct{}{}})
	}
	return t, nil
}

// Close closes the connection, after what was settled has reached the broker.
func (t *Taker) Close() {
	_ = t.conn.CloseDeadline(time.Now().Add(dialTimeout))
	t.unbind()
}

// Take takes at most limit messages that are ready; fewer if there are no more. It
// fails with [ErrMissing] if there is no such queue. After an error the taker is
// only good to be closed.
func (t *Taker) Take(limit int) ([]ReadyTask, error) {
	var left atomic.Int64
	left.Store(int64(limit))
	taken, errs := make([][]ReadyTask, len(t.channels)), make([]error, len(t.channels))
	var wg sync.WaitGroup
	for i, ch := range t.channels {
		wg.Go(func() {
			for left.Add(-1) >= 0 && errs[i] == nil {
				d, ok, err := ch.Get(t.queue, byHand)
				if err == nil && !ok {
					return
				}
				if errs[i] = err; err == nil {
					taken[i] = append(taken[i], t.decode(ch, &d))
				}
			}
		})
	}
	wg.Wait()
	var all []ReadyTask
	for _, some := range taken {
		all = append(all, some...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, findError("queue", t.queue, fmt.Errorf("take messages: %w", err))
	}
	return all, nil
}

func (t *Taker) decode(ch *takerChannel, raw *amqp091.Delivery) ReadyTask {
	ch.open[raw.DeliveryTag] = struct{}{}
	d := deliveryOf(raw)
	failed := integer(d.Headers["x-delivery-count"]) - integer(d.Headers[annotationCount])
	r := ReadyTask{
		Attempt:  int(min(max(integer(d.Headers[annotationTry]), 1), math.MaxInt32)),
		Acquired: min(max(integer(d.Headers["x-acquired-count"]), 0), math.MaxInt64-1) + 1,
		Failed:   max(failed, 0),
		channel:  ch, tag: raw.DeliveryTag,
	}
	r.Task, r.Problem = taskOf(d, t.taskType)
	r.Task.Payload = nil // a batch of large ones would fill the memory
	return r
}

// Accept settles messages: they are gone. The broker does not confirm it; where that
// fails, they return as failed deliveries.
func (t *Taker) Accept(tasks []ReadyTask) error {
	byChannel := map[*takerChannel][]uint64{}
	for i := range tasks {
		byChannel[tasks[i].channel] = append(byChannel[tasks[i].channel], tasks[i].tag)
	}
	for ch, tags := range byChannel {
		if err := ch.ack(tags); err != nil {
			return fmt.Errorf("acknowledge messages: %w", err)
		}
	}
	return nil
}

// ack acknowledges as many as it can at once, which costs the broker less than many
// single settlements.
func (c *takerChannel) ack(tags []uint64) error {
	slices.Sort(tags)
	for _, tag := range tags {
		delete(c.open, tag)
	}
	kept := uint64(math.MaxUint64) // the first that stays
	for tag := range c.open {
		kept = min(kept, tag)
	}
	together, _ := slices.BinarySearch(tags, kept)
	if together > 0 {
		if err := c.Ack(tags[together-1], multiple); err != nil {
			return err
		}
	}
	for _, tag := range tags[together:] {
		if err := c.Ack(tag, single); err != nil {
			return err
		}
	}
	return nil
}

// Release gives messages back, ahead of all others, at no cost but an acquisition:
// taking more gets them again.
func (t *Taker) Release(tasks []ReadyTask) error {
	for i := range tasks {
		r := &tasks[i]
		delete(r.channel.open, r.tag)
		if err := r.channel.Nack(r.tag, single, requeue); err != nil {
			return fmt.Errorf("release a message: %w", err)
		}
	}
	return nil
}
