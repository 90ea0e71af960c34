package api

import (
	"context"
	"fmt"
	"time"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// CheckTask says what is wrong with a submission that a schedule makes again and
// again. Errors: those of SubmitTask.
func (s *TaskService) CheckTask(r *taskv1.SubmitTaskRequest) error {
	_, err := s.firing(r, time.Time{})
	return err
}

// MakeTask makes the task of a schedule's firing, which is put into its queue at a
// time, as part of the trace that ctx has. It submits nothing. Errors: those of
// SubmitTask.
func (s *TaskService) MakeTask(ctx context.Context, r *taskv1.SubmitTaskRequest, scheduleID, taskID string, at time.Time) (*store.Scheduled, error) {
	sub, err := s.firing(r, at)
	if err != nil {
		return nil, err
	}
	m := sub.message
	m.ID, m.ScheduleID = taskID, scheduleID
	m.Trace = telemetry.Headers(ctx)
	m.LimitTrace()
	sub.queued = queued(m)
	encoded, err := broker.EncodeTask(m)
	if err != nil {
		return nil, fmt.Errorf("encode the task of a schedule: %w", err)
	}
	return &store.Scheduled{Event: *scheduled(m, at), Message: encoded}, nil
}

func (s *TaskService) firing(r *taskv1.SubmitTaskRequest, at time.Time) (*submission, error) {
	taskType, err := s.taskType(r.Type)
	if err != nil {
		return nil, err
	}
	if err := s.checkPayload(taskType, r); err != nil {
		return nil, err
	}
	return s.submission(taskType, r, time.Now(), at)
}
