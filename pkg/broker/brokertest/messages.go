//go:build unix

package brokertest

import (
	"context"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	autoAck   = true
	mandatory = true
	immediate = true
	noWait    = true
)

// Channel opens a connection and a channel over AMQP 0-9-1 for an administrator, closed after the test.
func (b Broker) Channel(t testing.TB) *amqp.Channel {
	t.Helper()
	conn, err := amqp.DialConfig(b.URL, amqp.Config{Dial: amqp.DefaultDial(requestTimeout)})
	if err != nil {
		t.Fatalf("brokertest: connecting: %v", err)
	}
	// The test may have cut or closed the connection itself.
	t.Cleanup(func() { _ = conn.CloseDeadline(time.Now().Add(time.Second)) })
	channel, err := conn.Channel()
	if err != nil {
		t.Fatalf("brokertest: opening a channel: %v", err)
	}
	return channel
}

// DeclareQuorumQueue declares a durable quorum queue with the further arguments, which may be nil.
func (b Broker) DeclareQuorumQueue(t testing.TB, name string, arguments amqp.Table) {
	t.Helper()
	all := amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}
	for key, value := range arguments {
		all[key] = value
	}
	b.once(t, func(channel *amqp.Channel) error {
		_, err := channel.QueueDeclare(name, true, false, false, !noWait, all)
		return err
	})
}

// Publish publishes a message, mandatory, on a connection of its own, and waits for the broker's confirm. A message that
// is refused or reaches no queue fails the test.
func (b Broker) Publish(t testing.TB, exchange, routingKey string, message amqp.Publishing) {
	t.Helper()
	b.once(t, func(channel *amqp.Channel) error {
		if err := channel.Confirm(!noWait); err != nil {
			return err
		}
		returns := channel.NotifyReturn(make(chan amqp.Return, 1))
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		defer cancel()
		confirm, err := channel.PublishWithDeferredConfirmWithContext(ctx, exchange, routingKey, mandatory, !immediate, message)
		if err != nil {
			return err
		}
		acked, err := confirm.WaitContext(ctx)
		switch {
		case err != nil:
			return err
		case !acked:
			t.Fatalf("brokertest: publishing to %q with %q: refused", exchange, routingKey)
		}
		select {
		// The broker sends a return before the confirm.
		case returned, open := <-returns:
			if open {
				t.Fatalf("brokertest: publishing to %q with %q: returned: %s", exchange, routingKey, returned.ReplyText)
			}
		default:
		}
		return nil
	})
}

// Get takes the next message off the queue, if there is one. It is acknowledged already.
func (b Broker) Get(t testing.TB, queue string) (message amqp.Delivery, ok bool) {
	t.Helper()
	b.once(t, func(channel *amqp.Channel) (err error) {
		message, ok, err = channel.Get(queue, autoAck)
		return err
	})
	return message, ok
}

// Drain takes all ready messages off the queue, in order. They are acknowledged already.
func (b Broker) Drain(t testing.TB, queue string) []amqp.Delivery {
	t.Helper()
	var messages []amqp.Delivery
	b.once(t, func(channel *amqp.Channel) error {
		for {
			message, ok, err := channel.Get(queue, autoAck)
			if err != nil || !ok {
				return err
			}
			messages = append(messages, message)
		}
	})
	return messages
}

// once works on a channel of a connection that is closed right after.
func (b Broker) once(t testing.TB, work func(*amqp.Channel) error) {
	t.Helper()
	conn, err := amqp.DialConfig(b.URL, amqp.Config{Dial: amqp.DefaultDial(requestTimeout)})
	if err != nil {
		t.Fatalf("brokertest: connecting: %v", err)
	}
	defer func() { _ = conn.Close() }()
	channel, err := conn.Channel()
	if err != nil {
		t.Fatalf("brokertest: opening a channel: %v", err)
	}
	if err := work(channel); err != nil {
		t.Fatalf("brokertest: talking to the broker: %v", err)
	}
}
