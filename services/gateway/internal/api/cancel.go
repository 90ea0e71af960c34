package api

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// defaultCancelWait is how long a cancellation is waited for.
const defaultCancelWait = 5 * time.Second

// Control takes cancellations to the workers, as control.Control does.
type Control interface {
	// Cancel puts cancellations on record, all or none, which then go on by
	// themselves.
	Cancel(ctx context.Context, taskIDs []string, reason string) ([]store.CancelAnswer, error)
	// AwaitCancelled waits until they have taken effect, or ctx has ended.
	AwaitCancelled(ctx context.Context, taskIDs []string)
	// Settled says whether that of a run has taken effect; also if none is known.
	Settled(taskID string, run int) bool
	Outstanding(taskID string) (store.Cancellation, bool)
	// WaitingFor and CancellingOn say what cancellations wait for, for people.
	WaitingFor(taskType string, position int64) []string
	CancellingOn(taskID string) []string
}

// CancelTask implements warren.task.v1.TaskService.
func (s *TaskService) CancelTask(ctx context.Context, r *taskv1.CancelTaskRequest) (*taskv1.CancelTaskResponse, error) {
	t, err := s.read(ctx, r.TaskId)
	if err != nil {
		return nil, err
	}
	if t.State.Terminal() && t.State != task.StateCancelled {
		return s.cancelOutcome(&t), nil
	}
	// Of one that is CANCELLED it asks the store whether workers may not know it yet.
	answers, err := s.cfg.Control.Cancel(ctx, []string{t.ID}, r.Reason)
	if err != nil {
		return nil, cancelError(err)
	}
	logOf(s.cfg.Logger, &t).DebugContext(ctx, "a task is to be cancelled", "state", t.State.String(), "reason", r.Reason)
	if answers[0].Task.ID == "" {
		return nil, readError(store.ErrNotFound)
	}
	wait, cancel := beforeDeadline(ctx, cancelWait(r.Timeout))
	defer cancel()
	// That the wait ends early does not matter to the cancellation.
	ended, err := s.awaitEnd(ctx, wait, t.ID)
	if err == nil && !s.decided(&ended) {
		s.awaitCancelled(wait, ended.ID)
		ended, err = s.read(ctx, t.ID)
	}
	if err != nil && (ended.ID == "" || ctx.Err() != nil) {
		return nil, err
	}
	return s.cancelOutcome(&ended), nil
}

// decided says whether a task has ended and, if it is CANCELLED, that no worker can
// start it any more.
func (s *TaskService) decided(t *task.Task) bool {
	return t.State.Terminal() && (t.State != task.StateCancelled || s.cfg.Control.Settled(t.ID, t.Run))
}

// awaitCancelled waits until cancellations have taken effect, or ctx has ended, or the
// service stops.
func (s *TaskService) awaitCancelled(ctx context.Context, taskIDs ...string) {
	ctx, cancel := context.WithCancel(ctx)
	var stopping sync.WaitGroup
	stopping.Go(func() {
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	})
	s.cfg.Control.AwaitCancelled(ctx, taskIDs)
	cancel()
	stopping.Wait()
}

func cancelWait(asked *durationpb.Duration) time.Duration {
	if asked == nil {
		return defaultCancelWait
	}
	return min(asked.AsDuration(), maxWait)
}

// cancelOutcome says how the cancellation of a task stands.
func (s *TaskService) cancelOutcome(t *task.Task) *taskv1.CancelTaskResponse {
	out := &taskv1.CancelTaskResponse{Task: s.basic(t)}
	switch {
	case !s.decided(t):
		out.Outcome = taskv1.CancelOutcome_CANCEL_OUTCOME_CANCEL_REQUESTED
		out.WaitingFor = s.cfg.Control.CancellingOn(t.ID)
		if c, ok := s.cfg.Control.Outstanding(t.ID); ok {
			out.WaitingFor = append(out.WaitingFor, s.cfg.Control.WaitingFor(t.Type, c.Position)...)
		}
	case t.State == task.StateCancelled:
		out.Outcome = taskv1.CancelOutcome_CANCEL_OUTCOME_CANCELLED
	default:
		out.Outcome = taskv1.CancelOutcome_CANCEL_OUTCOME_ENDED
	}
	return out
}

// basic is the BASIC view of a task, with the cancellation that it has not come to
// the end of.
func (s *TaskService) basic(t *task.Task) *taskv1.Task {
	m := taskToProto(t, s.cfg.Names)
	if t.State.Terminal() {
		return m
	}
	if c, ok := s.cfg.Control.Outstanding(t.ID); ok && c.Run == t.Run {
		m.CancelRequest = &taskv1.CancelRequest{Time: timestamppb.New(c.Time), Reason: c.Reason}
	}
	return m
}

func cancelError(err error) error {
	if errors.Is(err, store.ErrTooMany) {
		return rpc.Errorf(codes.ResourceExhausted, taskv1.ErrorReason_ERROR_REASON_TOO_MANY_CANCELLATIONS,
			"no more can be cancelled now: %d cancellations are kept at most, each until two hours after its task's message was taken from its queue; "+
				"let workers go through the queues and call again later, or have a narrower filter select fewer tasks", store.MaxCancellations).Because(err)
	}
	return readError(err)
}
