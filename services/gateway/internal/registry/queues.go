package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/wake"
)

// Declare declares everything that this gateway is responsible for. It runs on
// every connection that is opened, so that a broker that was set up anew has it
// all before anyone publishes.
//
// A queue that exists with other arguments is the trouble of its type alone, but
// RabbitMQ closes the channel over it: what is left then, Run declares.
func (r *Registry) Declare(t *broker.Topology) error {
	if err := t.DeclareShared(); err != nil {
		return err
	}
	_, err := r.declareEach(t, r.conflictsLast(r.cfg.Catalogue.Types()))
	if !errors.Is(err, broker.ErrConflict) {
		return err
	}
	wake.Signal(r.undeclared)
	return nil
}

// declareKnown declares the queues of all known types on the open connection.
func (r *Registry) declareKnown(ctx context.Context) {
	if _, err := r.declareTypes(ctx, r.cfg.Catalogue.Types()); err != nil {
		r.cfg.Logger.Warn("queues of known task types are not declared yet; they will be when the connection is open", "error", err)
	}
}

// declareTypes declares queues on the open connection, and returns the types
// whose queues exist with other arguments.
func (r *Registry) declareTypes(ctx context.Context, types []catalogue.TaskType) (conflicts []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	for len(types) > 0 {
		declared := 0
		err := r.cfg.Topology.Do(ctx, func(t *broker.Topology) (err error) {
			declared, err = r.declareEach(t, types)
			return err
		})
		if err == nil {
			break
		}
		if !errors.Is(err, broker.ErrConflict) {
			return nil, fmt.Errorf("declare the queues of task types: %w", err)
		}
		conflicts = append(conflicts, types[declared].Name)
		types = types[declared+1:]
	}
	return conflicts, nil
}

// declareEach declares queues up to the first that fails, and returns how many.
func (r *Registry) declareEach(t *broker.Topology, types []catalogue.TaskType) (int, error) {
	for i, taskType := range types {
		err := r.declareUnlessRetiring(t, taskType.Name)
		if err == nil || errors.Is(err, broker.ErrConflict) {
			r.noteConflict(taskType.Name, err)
		}
		if err != nil {
			return i, err
		}
	}
	return len(types), nil
}

// noteConflict logs a conflict once, until the queue could be declared.
func (r *Registry) noteConflict(taskType string, err error) {
	r.mu.Lock()
	known := r.conflicts[taskType]
	if err != nil {
		r.conflicts[taskType] = true
	} else {
		delete(r.conflicts, taskType)
	}
	r.mu.Unlock()
	if err != nil && !known {
		r.cfg.Logger.Error("a queue exists with other arguments: no worker can take tasks of its type until it is deleted and a worker started again",
			"task_type", taskType, "queue", r.cfg.Names.Work(taskType), "error", err)
	}
}

// conflictsLast has those declared first that are likely to succeed: each other
// one costs the channel.
func (r *Registry) conflictsLast(types []catalogue.TaskType) []catalogue.TaskType {
	r.mu.Lock()
	defer r.mu.Unlock()
	rank := func(t catalogue.TaskType) int {
		if r.conflicts[t.Name] {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(types, func(a, b catalogue.TaskType) int { return cmp.Compare(rank(a), rank(b)) })
	return types
}

func (r *Registry) refuseQueue(taskType string) *brokerv1.Refusal {
	return &brokerv1.Refusal{Name: taskType, Message: fmt.Sprintf(
		"the queue %s exists with other arguments: delete it, or rename the method, then restart the worker", r.cfg.Names.Work(taskType))}
}
