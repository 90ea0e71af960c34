package api

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
)

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
		s.cfg.Logger.WarnContext(ctx, "the queue of a known task type is missing, declaring it", "type", taskType)
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
