package api

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
)

// maxOverflowing is how many dead letters one call makes at a time.
const maxOverflowing = 64

// overflow does with submissions to queues at their limit as their types say.
func (s *TaskService) overflow(ctx context.Context, subs []*submission) {
	var group errgroup.Group
	group.SetLimit(maxOverflowing)
	for _, sub := range subs {
		group.Go(func() error {
			sub.task, sub.err = s.overflowOne(ctx, sub)
			return nil
		})
	}
	_ = group.Wait()
}

// overflowOne refuses a submission, or accepts it and makes it a dead letter at
// once.
//
// The dead letter is confirmed first, so that no id is accepted whose message is
// lost. Of the events that of its end comes first: a crash in between leaves a
// task without its payload, not one that stays QUEUED for ever.
func (s *TaskService) overflowOne(ctx context.Context, sub *submission) (*taskv1.Task, error) {
	m, limit := sub.message, sub.limit.GetMaxLength()
	if sub.limit.GetOverflow() != taskv1.Overflow_OVERFLOW_DEAD_LETTER {
		return nil, queueFull(m.Type, limit,
			"nothing was submitted by this call: the queue of %s is at its limit of %d waiting tasks; call again after the delay that the RetryInfo has").
			RetryAfter(fullDelay)
	}
	full := queueFull(m.Type, limit, "the queue of %s was at its limit of %d waiting tasks; replay the task when there is room")
	death := broker.Death{
		Cause: task.CauseQueueOverflow, Failure: full.Failure(),
		Decision: fmt.Sprintf("never queued: the queue was at its limit of %d waiting tasks, and its overflow is DEAD_LETTER", limit),
	}
	if err := s.cfg.Publisher.PublishDead(ctx, m, death, sub.check); nothingSent(err) {
		return nil, notSubmitted(err)
	} else if err != nil {
		return nil, submissionUnknown(codes.Unavailable, m.ID, err)
	}
	ended := overflowed(sub.queued, &death)
	if err := s.tell(ctx, ended, sub.queued); err != nil {
		return nil, submissionUnknown(codes.Unavailable, m.ID, err)
	}
	return refused(sub.queued, ended, s.cfg.Names), nil
}

func queueFull(taskType string, limit int64, format string) *rpc.Error {
	return rpc.Errorf(codes.ResourceExhausted, taskv1.ErrorReason_ERROR_REASON_QUEUE_FULL, format, taskType, limit)
}

// overflowed is the DEAD_LETTERED event of a task that was never queued.
func overflowed(queued *task.Event, death *broker.Death) *task.Event {
	key := queued.Key
	key.Phase = task.PhaseDeadLettered
	return &task.Event{
		TaskID: queued.TaskID, Type: queued.Type, Time: queued.Time, Key: key, Head: queued.Head,
		Failure: death.Failure, Cause: death.Cause, Decision: death.Decision,
	}
}

// refused is an accepted task that is a dead letter at once.
func refused(queued, ended *task.Event, names broker.Names) *taskv1.Task {
	m := accepted(queued, names)
	m.State, m.EndTime = taskv1.TaskState_TASK_STATE_DEAD_LETTERED, timestamp(ended.Time)
	m.Failure, m.Cause = broker.FailureToProto(ended.Failure), taskv1.Cause(ended.Cause)
	return m
}
