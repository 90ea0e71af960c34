package queues

import (
	"context"
	"errors"

	"github.com/warrenmq/warren/pkg/broker"
)

// State is how a queue stands by the broker.
type State struct {
	broker.WorkState
	// Missing: there is no such queue.
	Missing bool
}

// States asks for the queues of task types, as many answers and in their order. It
// fails if the broker does not answer within 3 s.
func (r *Reader) States(ctx context.Context, taskTypes []string) ([]State, error) {
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	states := make([]State, 0, len(taskTypes))
	for len(states) < len(taskTypes) {
		found, err := r.ask(ctx, taskTypes[len(states):])
		states = append(states, found...)
		switch {
		case errors.Is(err, broker.ErrMissing):
			// It has cost the channel: the others are asked for on another one.
			states = append(states, State{Missing: true})
		case err != nil:
			return nil, err
		}
	}
	return states, nil
}

// ask asks for one queue after the other, up to the first error.
func (r *Reader) ask(ctx context.Context, taskTypes []string) (found []State, err error) {
	// Buffered, because Do may return while f still waits for the broker.
	asked := make(chan []State, 1)
	err = r.cfg.Topology.Do(ctx, func(t *broker.Topology) error {
		var states []State
		defer func() { asked <- states }()
		for _, name := range taskTypes {
			s, err := t.WorkState(name)
			if err != nil {
				return err
			}
			states = append(states, State{WorkState: s})
		}
		return nil
	})
	select {
	case found = <-asked:
	default:
	}
	return found, err
}
