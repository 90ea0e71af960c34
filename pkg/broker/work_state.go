package broker

import "fmt"

// WorkState is how the queue of a task type, or the status queue, stands.
type WorkState struct {
	// Ready is how many messages wait to be delivered; those that wait for a time do
	// not count.
	Ready int
	// Consumers is how many consume it.
	Consumers int
}

// WorkState asks for the state of a task type's queue. It fails with [ErrMissing]
// if there is none. After an error the topology can't be used.
func (t *Topology) WorkState(taskType string) (WorkState, error) {
	return t.state(t.names.Work(taskType))
}

// StatusState is WorkState for the status queue.
func (t *Topology) StatusState() (WorkState, error) { return t.state(t.names.Status()) }

func (t *Topology) state(name string) (WorkState, error) {
	q, err := t.ch.QueueDeclarePassive(name, durable, keep, shared, wait, map[string]any{argType: typeQuorum})
	if err != nil {
		return WorkState{}, findError("queue", name, fmt.Errorf("ask for its state: %w", err))
	}
	return WorkState{Ready: q.Messages, Consumers: q.Consumers}, nil
}
