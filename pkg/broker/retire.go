package broker

import (
	"errors"
	"fmt"
)

// ErrInUse says that a queue has messages or consumers.
var ErrInUse = errors.New("it is in use")

// CloseWork takes the queue of a task type from its exchange: nothing more comes into
// it, until it is declared again. It is no error if there is no such queue. Only
// gateways may.
func (t *Topology) CloseWork(taskType string) error {
	q := t.names.WorkQueue(taskType)
	if err := t.ch.QueueUnbind(q.Name, q.Key, q.Exchange, nil); err != nil {
		if err = findError("queue", q.Name, err); errors.Is(err, ErrMissing) {
			return nil
		}
		return fmt.Errorf("unbind the queue: %w", err)
	}
	return nil
}

// DeleteWork deletes the queue of a task type. It fails with [ErrInUse] if the queue
// has messages that are ready, or consumers; messages that wait for a time don't show.
// RabbitMQ can't check that itself: it has neither if-unused nor if-empty for quorum
// queues. So call CloseWork some time before, or what comes in meanwhile is lost. It is
// no error if there is no such queue. After an error the topology can't be used. Only
// gateways may.
func (t *Topology) DeleteWork(taskType string) error {
	name := t.names.Work(taskType)
	state, err := t.WorkState(taskType)
	switch {
	case errors.Is(err, ErrMissing):
		return nil
	case err != nil:
		return err
	case state.Ready > 0 || state.Consumers > 0:
		return fmt.Errorf("delete queue %s: %w: %d messages, %d consumers", name, ErrInUse, state.Ready, state.Consumers)
	}
	if _, err := t.ch.QueueDelete(name, false, false, wait); err != nil {
		return fmt.Errorf("delete queue %s: %w", name, err)
	}
	return nil
}
