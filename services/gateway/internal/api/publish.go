package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// publish has messages confirmed by their queues, and tells of each that is. Those
// whose queue is missing are tried again with the queue declared anew: somebody has
// deleted it, or the broker was set up anew.
func (s *TaskService) publish(ctx context.Context, subs []*submission) {
	var again []*submission
	errs := s.publishOnce(ctx, subs)
	for i, sub := range subs {
		if errors.Is(errs[i], broker.ErrUnroutable) {
			again = append(again, sub)
		}
	}
	if len(again) > 0 {
		missing := s.redeclareAll(ctx, again)
		again = slices.DeleteFunc(again, func(sub *submission) bool {
			err := missing[sub.message.Type]
			if err != nil {
				s.published(ctx, sub, err)
			}
			return err != nil
		})
		for i, err := range s.publishOnce(ctx, again) {
			if errors.Is(err, broker.ErrUnroutable) {
				s.published(ctx, again[i], err)
			}
		}
	}
	s.awaitQueued(ctx, subs)
}

// publishOnce enters into each submission what publishing it has come to, unless it
// had no queue.
func (s *TaskService) publishOnce(ctx context.Context, subs []*submission) []error {
	if len(subs) == 0 {
		return nil
	}
	messages, checks, errs := make([]*broker.TaskMessage, len(subs)), make([]broker.Check, len(subs)), make([]error, len(subs))
	for i, sub := range subs {
		messages[i], checks[i] = sub.message, sub.check
	}
	s.cfg.Publisher.PublishTasks(ctx, messages, func(i int, err error) {
		if errs[i] = err; !errors.Is(err, broker.ErrUnroutable) {
			s.published(ctx, subs[i], err)
		}
	}, checks...)
	return errs
}

// published enters what publishing a message has come to. What is in its queue is
// told of at once: others may take long.
func (s *TaskService) published(ctx context.Context, sub *submission, err error) {
	sub.leave(!nothingSent(err))
	m := sub.message
	switch {
	case errors.Is(err, store.ErrRetired):
		sub.err = s.unknownType(m.Type).Because(err)
	case nothingSent(err):
		sub.err = notSubmitted(err)
	case err != nil && s.cfg.Depth.AtLimit(m.Type, sub.limit.GetMaxLength()):
		sub.err = submissionUnknown(codes.ResourceExhausted, m.ID, err).RetryAfter(fullDelay)
	case err != nil:
		sub.err = submissionUnknown(codes.Unavailable, m.ID, err)
	default:
		if sub.receipt, err = s.cfg.Status.Write(ctx, sub.queued); err != nil {
			sub.err = submissionUnknown(codes.Unavailable, m.ID, err)
		}
	}
}

// awaitQueued waits until the QUEUED events of what was published are confirmed.
func (s *TaskService) awaitQueued(ctx context.Context, subs []*submission) {
	for _, sub := range subs {
		if sub.err != nil {
			continue
		}
		if err := sub.receipt.Wait(ctx); err != nil {
			sub.err = submissionUnknown(codes.Unavailable, sub.message.ID, err)
			continue
		}
		sub.task = accepted(sub.queued, s.cfg.Names)
	}
}

// redeclareAll declares the queues of submissions anew, and gives the errors by
// task type.
func (s *TaskService) redeclareAll(ctx context.Context, subs []*submission) map[string]error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := map[string]error{}
	begun := map[string]bool{}
	for _, sub := range subs {
		taskType := sub.message.Type
		if begun[taskType] {
			continue
		}
		begun[taskType] = true
		wg.Go(func() {
			err := s.redeclare(ctx, taskType)
			mu.Lock()
			defer mu.Unlock()
			errs[taskType] = err
		})
	}
	wg.Wait()
	return errs
}

// nothingSent says whether a publish failed so that the broker can't have the
// message.
func nothingSent(err error) bool {
	return errors.Is(err, broker.ErrNotSent) || errors.Is(err, broker.ErrUnroutable)
}

// tell has status events confirmed, in their order.
func (s *TaskService) tell(ctx context.Context, events ...*task.Event) error {
	receipts := make([]*broker.Receipt, len(events))
	for i, e := range events {
		var err error
		if receipts[i], err = s.cfg.Status.Write(ctx, e); err != nil {
			return err
		}
	}
	for _, r := range receipts {
		if err := r.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// redeclare declares a task type's queue, once for all who wait for it. That
// goes on when who began it has given up.
func (s *TaskService) redeclare(ctx context.Context, taskType string) error {
	declared := s.redeclaring.DoChan(taskType, func() (any, error) {
		s.cfg.Logger.WarnContext(ctx, "the queue of a known task type is missing, declaring it", "task_type", taskType)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxSubmit)
		defer cancel()
		return nil, s.cfg.Redeclare(ctx, taskType)
	})
	select {
	case d := <-declared:
		if d.Err == nil {
			return nil
		}
		return fmt.Errorf("%w: %w", broker.ErrUnroutable, d.Err)
	case <-ctx.Done():
		return fmt.Errorf("%w: declare the queue of %s: %w", broker.ErrUnroutable, taskType, context.Cause(ctx))
	}
}

func notSubmitted(cause error) error {
	return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_NOT_SUBMITTED,
		"nothing was submitted by this call: RabbitMQ does not take messages now; call again").Because(cause)
}

// submissionUnknown is RESOURCE_EXHAUSTED where the broker is likely to have
// refused the message, and UNAVAILABLE elsewhere.
func submissionUnknown(code codes.Code, id string, cause error) *rpc.Error {
	return rpc.Errorf(code, taskv1.ErrorReason_ERROR_REASON_SUBMISSION_UNKNOWN,
		"RabbitMQ did not confirm the task %s in time, so it may or may not have been submitted: call again with this task_id and everything else as before: it stays one task", id).
		With("task_id", id).Because(cause)
}
