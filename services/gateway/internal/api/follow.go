package api

import (
	"context"
	"errors"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// SubmitCall submits a task whose caller waits for its answer, as SubmitTask does.
// If the caller follows the response stream no attempt follows one of which it may have
// a message.
func (s *TaskService) SubmitCall(ctx context.Context, r *taskv1.SubmitTaskRequest, follows bool) (*taskv1.SubmitTaskResponse, error) {
	return s.submitOne(ctx, r, func(sub *submission) { sub.message.Committing = follows })
}

// Stopping says that waits and watches are ended because the gateway stops.
func (s *TaskService) Stopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// AwaitOutcome waits until an accepted task has ended, and gives it with the event
// that decided it, message and metadata included. It waits for a store that does not
// answer. Errors: NOT_FOUND for a task that is not kept any more, UNAVAILABLE
// SHUTTING_DOWN, the context's.
func (s *TaskService) AwaitOutcome(ctx context.Context, taskID string) (t task.Task, outcome task.NumberedEvent, err error) {
	err = s.look(ctx, taskID, func(now *task.Task) (bool, error) {
		if t = *now; !t.State.Terminal() {
			return false, nil
		}
		outcome, err = s.cfg.Store.Event(ctx, t.ID, t.Decided)
		return true, err
	})
	return t, outcome, err
}

// Follow calls see with each event of an accepted task in their order, messages
// included, together with the task as it was when the event was read, until see says
// that it has seen enough or the task has ended. Otherwise it is like AwaitOutcome.
func (s *TaskService) Follow(ctx context.Context, taskID string, see func(*task.Task, *task.NumberedEvent) (enough bool, err error)) error {
	var seen int64
	var failed error
	last := func(t *task.Task, e *task.NumberedEvent) (enough bool) {
		seen = e.Number
		enough, failed = see(t, e)
		return enough || failed != nil
	}
	err := s.look(ctx, taskID, func(t *task.Task) (bool, error) {
		for seen < t.Version {
			events, err := s.cfg.Store.Events(ctx, t.ID, seen, watchPage, true)
			if err != nil || len(events) == 0 {
				return false, err
			}
			for i := range events {
				if last(t, &events[i]) {
					return true, nil
				}
			}
		}
		return t.State.Terminal(), nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// look calls at with an accepted task whenever there may be news of it, until at has
// seen enough.
func (s *TaskService) look(ctx context.Context, taskID string, at func(*task.Task) (enough bool, err error)) error {
	sub := s.cfg.Hub.Subscribe(taskID)
	defer sub.Close()
	for missed, caughtUp := false, false; ; {
		enough := false
		t, err := s.cfg.Store.Task(ctx, taskID)
		if err == nil {
			enough, err = at(&t)
		}
		switch {
		case err == nil && enough:
			return nil
		case err == nil, errors.Is(err, store.ErrUnavailable):
		case !errors.Is(err, store.ErrNotFound) || caughtUp:
			return readError(err)
		case missed:
			// Its first event is on its way, or it is not kept any more.
			if caughtUp = s.cfg.Projection.CatchUp(ctx) == nil; caughtUp {
				continue
			}
		default:
			missed = true
		}
		if err := s.await(ctx, sub.C); err != nil {
			return err
		}
	}
}
