package broker

import (
	"errors"
	"fmt"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// Limits that the queues carry as arguments.
const (
	// deliveryLimit is a backstop on work queues against a task that kills every
	// worker it meets.
	deliveryLimit = 100
	// workConsumerTimeout is far above the longest attempt: a worker's life is
	// known by its connection's heartbeats, an attempt's end by its timeout.
	workConsumerTimeout = 24 * time.Hour
	// controlExpires removes the control queue of a worker that is gone.
	controlExpires = 60 * time.Second
	// controlMaxLength bounds what waits for a worker that does not read.
	controlMaxLength = 10_000
)

// Topology declares what Warren needs in RabbitMQ. It lives on one channel,
// which an error closes: use a new one then.
type Topology struct {
	names Names
	ch    *amqp091.Channel
}

// DeclareShared declares everything that is not of one task type or worker.
// Only gateways may. Dead letters come first: a work queue whose dead-letter
// exchange is missing loses what dies in it.
func (t *Topology) DeclareShared() error {
	for _, x := range t.names.SharedExchanges() {
		if err := t.exchange(x); err != nil {
			return err
		}
	}
	for _, q := range t.names.SharedQueues() {
		if err := t.queue(q); err != nil {
			return err
		}
	}
	return nil
}

// DeclareWork declares the queue of a task type. Only gateways may.
func (t *Topology) DeclareWork(taskType string) error { return t.queue(t.names.WorkQueue(taskType)) }

// Depth is how many messages wait in the queue of a task type, ready to be
// delivered.
func (t *Topology) Depth(taskType string) (int, error) {
	name := t.names.Work(taskType)
	q, err := t.ch.QueueDeclarePassive(name, durable, keep, shared, wait, amqp091.Table{"x-queue-type": "quorum"})
	if err != nil {
		return 0, fmt.Errorf("ask for the depth of queue %s: %w", name, err)
	}
	return q.Messages, nil
}

// DeclareBeats declares a gateway's own queue for heartbeats, which goes with
// the connection.
func (t *Topology) DeclareBeats(gatewayID string) error {
	name := t.names.Beats(gatewayID)
	args := amqp091.Table{"x-max-length": controlMaxLength}
	if _, err := t.ch.QueueDeclare(name, transient, autoDelete, exclusive, wait, args); err != nil {
		return declareError("queue", name, err)
	}
	return t.bind(name, t.names.Announce(), keyBeat)
}

// DeclareControl declares a worker's own queue for control and binds it. The
// queue lives on one node, so each link of the worker has another one: the old
// one may be out of reach.
func (t *Topology) DeclareControl(workerID string, link int, taskTypes []string) error {
	name := t.names.ControlQueue(workerID, link)
	args := amqp091.Table{"x-expires": controlExpires.Milliseconds(), "x-max-length": controlMaxLength}
	if _, err := t.ch.QueueDeclare(name, durable, keep, shared, wait, args); err != nil {
		return declareError("queue", name, err)
	}
	if err := t.bind(name, t.names.Control(), keyWorker(workerID)); err != nil {
		return err
	}
	for _, tt := range taskTypes {
		if err := t.bind(name, t.names.Control(), keyType(tt)); err != nil {
			return err
		}
	}
	return nil
}

// ControlConsumers is how many consume a worker's control queue. It fails with
// [ErrMissing] if there is no such queue, and with [ErrUnreachable] if there is one on
// a node that is down. After an error the topology can't be used.
func (t *Topology) ControlConsumers(workerID string, link int) (int, error) {
	name := t.names.ControlQueue(workerID, link)
	q, err := t.ch.QueueDeclarePassive(name, durable, keep, shared, wait, nil)
	if err != nil {
		return 0, findError("queue", name, err)
	}
	return q.Consumers, nil
}

// RemoveControl deletes a worker's control queue.
func (t *Topology) RemoveControl(workerID string, link int) error {
	name := t.names.ControlQueue(workerID, link)
	if _, err := t.ch.QueueDelete(name, false, false, wait); err != nil {
		return fmt.Errorf("delete queue %s: %w", name, err)
	}
	return nil
}

// CheckShared fails while the exchanges that a worker publishes to do not
// exist, because no gateway has declared them yet.
func (t *Topology) CheckShared() error {
	for _, x := range []struct{ name, kind string }{
		{t.names.Status(), "direct"}, {t.names.Announce(), "direct"}, {t.names.Control(), "topic"},
	} {
		if err := t.ch.ExchangeDeclarePassive(x.name, x.kind, durable, keep, false, wait, nil); err != nil {
			return fmt.Errorf("exchange %s is missing, a gateway declares it: %w", x.name, err)
		}
	}
	return nil
}

// CheckDead fails while the dead-letter queue does not exist, because no
// gateway has declared it yet.
func (t *Topology) CheckDead() error {
	name := t.names.Dead()
	if _, err := t.ch.QueueDeclarePassive(name, durable, keep, shared, wait, amqp091.Table{"x-queue-type": "quorum"}); err != nil {
		return fmt.Errorf("queue %s is missing, a gateway declares it: %w", name, err)
	}
	return nil
}

// amqp091-go takes its flags by position.
const (
	durable    = true
	transient  = false
	keep       = false
	autoDelete = true
	exclusive  = true
	shared     = false
	wait       = false
	single     = false
	multiple   = true
	requeue    = true
	byHand     = false // settled by who consumes
)

func (t *Topology) exchange(x ExchangeSpec) error {
	if err := t.ch.ExchangeDeclare(x.Name, x.Kind, durable, keep, false, wait, nil); err != nil {
		return declareError("exchange", x.Name, err)
	}
	return nil
}

// queue declares a quorum queue and its one binding.
func (t *Topology) queue(q QueueSpec) error {
	if _, err := t.ch.QueueDeclare(q.Name, durable, keep, shared, wait, q.Arguments); err != nil {
		return declareError("queue", q.Name, err)
	}
	return t.bind(q.Name, q.Exchange, q.Key)
}

// ErrConflict says that a queue or exchange exists with other arguments.
var ErrConflict = errors.New("it exists with other arguments")

func declareError(what, name string, err error) error {
	var e *amqp091.Error
	if errors.As(err, &e) && e.Code == amqp091.PreconditionFailed {
		return fmt.Errorf("declare %s %s: %w: %w", what, name, ErrConflict, err)
	}
	return fmt.Errorf("declare %s %s: %w", what, name, err)
}

func (t *Topology) bind(queue, exchange, key string) error {
	if err := t.ch.QueueBind(queue, key, exchange, wait, nil); err != nil {
		return fmt.Errorf("bind queue %s to %s: %w", queue, exchange, err)
	}
	return nil
}
