package api

import (
	"context"
	"errors"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// Answer is what of a call's task its caller waits for.
type Answer int

const (
	// AnswerAccepted is no more than that it is accepted.
	AnswerAccepted Answer = iota
	// AnswerOutcome is how it ends.
	AnswerOutcome
	// AnswerStream is its response stream: no attempt follows one of which the caller may
	// have a message.
	AnswerStream
)

// SubmitCall submits a task as SubmitTask does, for a caller who waits for an answer, and
// gives its id. end is for [TaskService.AwaitOutcome] of a task that is new: close it. It
// is nil if nobody waits for that, and with an error.
func (s *TaskService) SubmitCall(ctx context.Context, r *taskv1.SubmitTaskRequest, a Answer) (taskID string, end *watch.End, err error) {
	accepted, err := s.submitOne(ctx, r, func(sub *submission) {
		sub.message.Committing = a == AnswerStream
		if a == AnswerOutcome {
			// From before it is published: nothing that happens is missed.
			end = s.cfg.Hub.SubscribeEnd(sub.message.ID)
		}
	})
	if id := accepted.GetTask().GetTaskId(); err == nil && end != nil && id == end.TaskID() && !accepted.AlreadySubmitted {
		return id, end, nil
	}
	end.Close()
	return accepted.GetTask().GetTaskId(), nil, err
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

// AwaitOutcome waits until an accepted task has ended, and gives its state with the event
// that decided it, message and metadata included. With an end, which may be nil, the
// store is only asked if that brings no outcome. It waits for a store that does not
// answer. Errors: NOT_FOUND for a task that is not kept any more, UNAVAILABLE
// SHUTTING_DOWN, the context's.
func (s *TaskService) AwaitOutcome(ctx context.Context, taskID string, end *watch.End) (watch.Outcome, error) {
	if end != nil {
		if err := s.await(ctx, end.C); err != nil {
			return watch.Outcome{}, err
		}
		if o, ok := end.Outcome(); ok {
			return o, nil
		}
	}
	var o watch.Outcome
	err := s.look(ctx, taskID, func(now *task.Task) (bool, error) {
		if !now.State.Terminal() {
			return false, nil
		}
		decided, err := s.cfg.Store.Event(ctx, now.ID, now.Decided)
		o = watch.Outcome{State: now.State, Event: &decided.Event}
		return true, err
	})
	return o, err
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
