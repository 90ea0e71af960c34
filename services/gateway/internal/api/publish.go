package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
)

const (
	// maxReconnect is how long a submission waits for a broker that is away.
	maxReconnect = 2 * time.Second
	// fullDelay is after how long a submission to a full queue is worth another
	// try: a few samples of its depth later.
	fullDelay = time.Second
)

// submit has the task and then its QUEUED event confirmed, and gives the task as
// it was accepted. In this order a crash in between leaves neither an accepted id
// unknown nor a row that stays QUEUED for ever.
func (s *TaskService) submit(ctx context.Context, sub *submission) (*taskv1.Task, error) {
	m, event := sub.message, queued(sub.message)
	if err := s.awaitBroker(ctx); err != nil {
		return nil, err
	}
	leave, ok := s.cfg.Depth.Enter(m.Type, sub.limit.GetMaxLength())
	switch {
	case ok:
	case m.Resend:
		// The message before may be in the queue: its task is neither to be refused
		// nor to end as a dead letter. So this one overshoots the limit.
		leave = func(bool) {}
	default:
		return s.overflow(ctx, sub, event)
	}
	err := s.publish(ctx, m)
	leave(!nothingSent(err))
	switch {
	case nothingSent(err):
		return nil, notSubmitted(err)
	case err != nil && s.cfg.Depth.AtLimit(m.Type, sub.limit.GetMaxLength()):
		return nil, submissionUnknown(codes.ResourceExhausted, m.ID, err).RetryAfter(fullDelay)
	case err != nil:
		return nil, submissionUnknown(codes.Unavailable, m.ID, err)
	}
	if err := s.tell(ctx, event); err != nil {
		return nil, submissionUnknown(codes.Unavailable, m.ID, err)
	}
	return accepted(event), nil
}

func (s *TaskService) awaitBroker(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, maxReconnect)
	defer cancel()
	if err := s.cfg.Publisher.AwaitReady(ctx); err != nil {
		return notSubmitted(err)
	}
	return nil
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

// publish tries again with the queue declared anew if it was missing: somebody
// has deleted it, or the broker was set up anew.
func (s *TaskService) publish(ctx context.Context, m *broker.TaskMessage) error {
	err := s.cfg.Publisher.PublishTask(ctx, m)
	if !errors.Is(err, broker.ErrUnroutable) {
		return err
	}
	if err := s.redeclare(ctx, m.Type); err != nil {
		return fmt.Errorf("%w: %w", broker.ErrUnroutable, err)
	}
	return s.cfg.Publisher.PublishTask(ctx, m)
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
		return d.Err
	case <-ctx.Done():
		return fmt.Errorf("declare the queue of %s: %w", taskType, context.Cause(ctx))
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
