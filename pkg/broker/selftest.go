package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// Bounds of a self-test.
const (
	selfTestTimeout = 10 * time.Second
	// selfTestDelay is for how long a message is put off.
	selfTestDelay = time.Second
	// selfTestSkew is how far the broker's clock may be from this machine's.
	selfTestSkew = selfTestDelay / 2
	// selfTestPatience is how late a message may be.
	selfTestPatience = 3 * time.Second
	// selfTestExpires removes the queues of a process that died in between.
	selfTestExpires = time.Minute
)

// SettlementError says that a settlement does not do what retries are built on.
type SettlementError struct {
	// Settlement is the AMQP 1.0 outcome, such as `modified`.
	Settlement string
	// Wanted and Found are what should have happened to the message, and what did.
	Wanted, Found string
	// Timing: only when it happened is wrong, nothing can be lost.
	Timing bool
}

// Error says all of it.
func (e *SettlementError) Error() string {
	return fmt.Sprintf("the settlement %s: wanted: %s; found: %s", e.Settlement, e.Wanted, e.Found)
}

// SelfTest tries out in the broker what retries are built on: that a message
// modified with a delivery time is invisible until then, and comes back with its
// annotations and no failed delivery counted; that a released one comes back at
// once; that an undeliverable one is dead-lettered, untouched but for its
// annotations; and that an accepted one is gone. It uses queues of its own, named
// after the id, which is to be unique, and takes about a second, at most 10.
//
// It fails with a [*SettlementError] if a settlement misbehaves, and with any
// other error if it could not be carried out. The configuration must be valid.
func SelfTest(ctx context.Context, cfg Config, id string) error {
	ctx, cancel := context.WithTimeout(ctx, selfTestTimeout)
	defer cancel()
	var errs []error
	for _, u := range cfg.URLs {
		a, err := parseAddress(u)
		if err != nil {
			return err
		}
		t, err := openTrial(ctx, cfg, a, id)
		if err == nil {
			err = t.run(ctx)
			t.close()
			if err == nil {
				return nil
			}
		}
		var misbehaves *SettlementError
		if errors.As(err, &misbehaves) {
			return misbehaves
		}
		if ctx.Err() != nil {
			return fmt.Errorf("try out settlements: %w", context.Cause(ctx))
		}
		errs = append(errs, fmt.Errorf("%s: %w", a, err))
	}
	return fmt.Errorf("try out settlements: %w", errors.Join(errs...))
}

// trial is one self-test under way.
type trial struct {
	id           string
	source, dead string
	exchange     string
	// trying is the settlement that is being tried out.
	trying string

	conn *amqp091.Connection
	ch   *amqp091.Channel
	link *Link
	// release ends the watch over the connection's socket.
	release func() bool
}

// openTrial connects over both protocols to one node, and declares.
func openTrial(ctx context.Context, cfg Config, a address, id string) (*trial, error) {
	name := cfg.Names().selfTest(id)
	t := &trial{id: id, source: name, dead: name + ".dead", exchange: name}
	conn, socket, err := dial091(a, cfg.Name+" self-test")
	if err != nil {
		return nil, err
	}
	// amqp091-go waits without a deadline.
	t.conn, t.release = conn, context.AfterFunc(ctx, func() { _ = socket.Close() })
	if t.link, err = dialLink(ctx, a, cfg); err != nil {
		t.close()
		return nil, err
	}
	if err := t.declare(); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// The routing keys on a trial's exchange.
const (
	selfTestWork = "work"
	selfTestDead = "dead"
)

func (t *trial) declare() (err error) {
	if t.ch, err = t.conn.Channel(); err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	if err := t.ch.Confirm(wait); err != nil {
		return fmt.Errorf("switch confirms on: %w", err)
	}
	// It goes with its last queue.
	if err := t.ch.ExchangeDeclare(t.exchange, "direct", durable, autoDelete, false, wait, nil); err != nil {
		return declareError("exchange", t.exchange, err)
	}
	topology := &Topology{ch: t.ch}
	if err := topology.queue(QueueSpec{t.dead, map[string]any{
		argType: typeQuorum, argDeliveryLimit: -1, argExpires: selfTestExpires.Milliseconds(),
	}, t.exchange, selfTestDead}); err != nil {
		return err
	}
	return topology.queue(QueueSpec{t.source, map[string]any{
		argType: typeQuorum, argExpires: selfTestExpires.Milliseconds(), argDeliveryLimit: deliveryLimit,
		argDeadLetter: t.exchange, argDeadKey: selfTestDead,
		argDeadStrategy: "at-least-once", argOverflow: "reject-publish",
	}, t.exchange, selfTestWork})
}

// close removes what was declared, as far as the broker is there. What is left
// expires.
func (t *trial) close() {
	if t.link != nil {
		_ = t.link.conn.Close()
	}
	// An error may have closed the channel.
	if ch, err := t.conn.Channel(); err == nil && t.ch != nil {
		_, _ = ch.QueueDelete(t.source, false, false, wait)
		_, _ = ch.QueueDelete(t.dead, false, false, wait)
	}
	_ = t.conn.CloseDeadline(time.Now().Add(dialTimeout))
	t.release()
}

// selfTest is the queue and the exchange of a self-test.
func (n Names) selfTest(id string) string { return n.Namespace + ".selftest." + id }
