package broker

import (
	"errors"
	"fmt"
	"strings"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// ExchangeSpec is an exchange as Warren declares it: durable, without arguments.
type ExchangeSpec struct {
	Name string
	// Kind is direct or topic.
	Kind string
}

// QueueSpec is a quorum queue as Warren declares it, and its one binding.
type QueueSpec struct {
	Name string
	// Arguments are the queue's own. Policies come on top.
	Arguments map[string]any
	// Exchange and Key are what it is bound to, and by which routing key.
	Exchange, Key string
}

// SharedExchanges are the exchanges of an installation. That of dead letters
// comes first: a work queue whose dead-letter exchange is missing loses what
// dies in it.
func (n Names) SharedExchanges() []ExchangeSpec {
	return []ExchangeSpec{
		{n.Dead(), "topic"}, {n.Status(), "direct"}, {n.Tasks(), "direct"}, {n.Announce(), "direct"}, {n.Control(), "topic"},
	}
}

// SharedQueues are the queues that are of no one task type, worker or gateway.
func (n Names) SharedQueues() []QueueSpec {
	return []QueueSpec{
		{n.Dead(), map[string]any{
			argType: typeQuorum,
			// A dead letter brings the delivery count of its work queue along: any
			// limit here would drop it at its first return.
			argDeliveryLimit: -1,
		}, n.Dead(), "#"},
		{n.Status(), map[string]any{
			argType: typeQuorum, argDeliveryLimit: -1, argSingleActive: true,
			// A store that is down for long holds deliveries for as long.
			argConsumerTimeout: workConsumerTimeout.Milliseconds(),
		}, n.Status(), n.Status()},
		{n.Requests(), map[string]any{argType: typeQuorum, argDeliveryLimit: -1}, n.Announce(), keyRequest},
	}
}

// WorkQueue is the queue of a task type.
func (n Names) WorkQueue(taskType string) QueueSpec {
	return QueueSpec{n.Work(taskType), map[string]any{
		argType:       typeQuorum,
		argDeadLetter: n.Dead(),
		// At-least-once dead-lettering silently needs reject-publish.
		argDeadStrategy:    "at-least-once",
		argOverflow:        "reject-publish",
		argDeliveryLimit:   deliveryLimit,
		argConsumerTimeout: workConsumerTimeout.Milliseconds(),
	}, n.Tasks(), taskType}
}

// Arguments of queues (https://www.rabbitmq.com/docs/quorum-queues).
const (
	argType            = "x-queue-type"
	typeQuorum         = "quorum"
	argDeliveryLimit   = "x-delivery-limit"
	argSingleActive    = "x-single-active-consumer"
	argConsumerTimeout = "x-consumer-timeout"
	argDeadLetter      = "x-dead-letter-exchange"
	argDeadKey         = "x-dead-letter-routing-key"
	argDeadStrategy    = "x-dead-letter-strategy"
	argOverflow        = "x-overflow"
	argExpires         = "x-expires"
)

// ErrMissing says that a queue or exchange does not exist.
var ErrMissing = errors.New("it does not exist")

// ErrUnreachable says that a queue exists, but the broker does not reach the node
// that it lives on: nobody knows what is in it, or who consumes it.
var ErrUnreachable = errors.New("the node that it lives on is out of reach")

// CheckExchange fails with [ErrMissing] or [ErrConflict] unless the exchange
// exists as it would be declared. It changes nothing. After an error the
// topology can't be used.
func (t *Topology) CheckExchange(x ExchangeSpec) error {
	if err := t.ch.ExchangeDeclarePassive(x.Name, x.Kind, durable, keep, false, wait, nil); err != nil {
		return findError("exchange", x.Name, err)
	}
	return t.exchange(x)
}

// CheckQueue is CheckExchange for a queue. AMQP 0-9-1 shows neither bindings
// nor policies.
func (t *Topology) CheckQueue(q QueueSpec) error {
	if _, err := t.ch.QueueDeclarePassive(q.Name, durable, keep, shared, wait, q.Arguments); err != nil {
		return findError("queue", q.Name, err)
	}
	if _, err := t.ch.QueueDeclare(q.Name, durable, keep, shared, wait, q.Arguments); err != nil {
		return declareError("queue", q.Name, err)
	}
	return nil
}

func findError(what, name string, err error) error {
	var e *amqp091.Error
	switch {
	case !errors.As(err, &e) || e.Code != amqp091.NotFound:
		return fmt.Errorf("look for %s %s: %w", what, name, err)
	case isMissing(e, what):
		return fmt.Errorf("look for %s %s: %w", what, name, ErrMissing)
	}
	return fmt.Errorf("look for %s %s: %w: %w", what, name, ErrUnreachable, err)
}

// isMissing tells "NOT_FOUND - no queue 'q' in vhost '/'" from the other texts of the
// same code, such as "home node 'n' of durable queue 'q' in vhost '/' is down or
// inaccessible" (rabbit_amqqueue:absent/2). The broker has nothing but its text to tell
// them apart.
func isMissing(e *amqp091.Error, what string) bool {
	return strings.HasPrefix(e.Reason, "NOT_FOUND - no "+what+" ")
}

// VHost is the virtual host that the URLs name, which is the first one's. The
// configuration must be valid.
func (c *Config) VHost() string {
	a, err := parseAddress(c.URLs[0])
	if err != nil {
		return ""
	}
	return a.Vhost
}
