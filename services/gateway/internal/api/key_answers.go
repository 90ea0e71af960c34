package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// answerSubmitted answers submissions whose tasks were submitted before, with the
// tasks as of now.
func (s *TaskService) answerSubmitted(ctx context.Context, subs []*submission) {
	var missing []*submission
	for _, sub := range subs {
		if !s.showSubmitted(ctx, sub) {
			missing = append(missing, sub)
		}
	}
	if len(missing) == 0 {
		return
	}
	behind := s.cfg.Projection.CatchUp(ctx)
	for _, sub := range missing {
		if behind != nil || !s.showSubmitted(ctx, sub) {
			// It was accepted: what is known of it is on its way to the store, or was purged
			// since.
			m := sub.message
			sub.task, sub.known = &taskv1.Task{
				TaskId: m.ID, Type: m.Type, Queue: s.cfg.Names.Work(m.Type), ResumeToken: resumeToken(m.ID, 0),
			}, true
		}
	}
}

// showSubmitted shows a task that was submitted; false if the store does not have
// it.
func (s *TaskService) showSubmitted(ctx context.Context, sub *submission) bool {
	t, err := s.cfg.Store.Task(ctx, sub.message.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return false
	case err != nil:
		sub.err = readError(err)
	default:
		sub.task, sub.known = s.basic(&t), true
	}
	return true
}

func reasonFor(err error) taskv1.ErrorReason {
	var e *rpc.Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return taskv1.ErrorReason_ERROR_REASON_UNSPECIFIED
}

// unknownWithKey says how a submission with a key is repeated: not by its task's id.
func unknownWithKey(sub *submission) error {
	var e *rpc.Error
	if !errors.As(sub.err, &e) {
		return sub.err
	}
	e.Message = fmt.Sprintf("RabbitMQ did not confirm the task %s in time, so it may or may not have been submitted: call again with this idempotency key and everything else as before: it stays one task", sub.message.ID)
	return e
}

func keysUnavailable(err error) error {
	return nothingWithoutStore(err, "idempotency keys", "claim idempotency keys")
}

func keyBusy(k *submissionKey, until time.Time) error {
	return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_BUSY,
		"nothing was submitted by this call: another one is submitting with the idempotency key %q; call again after the delay that the RetryInfo has", k.key).
		RetryAfter(max(time.Until(until), firstPoll))
}

func keyConflict(k *submissionKey, id string) error {
	problem := "the task " + id + " was submitted with it and another payload"
	return rpc.Errorf(codes.AlreadyExists, taskv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_CONFLICT,
		"nothing was submitted: the idempotency key %q is taken: %s; use a key of its own for each task", k.key, problem).
		With("task_id", id).Field("idempotency_key", problem)
}
