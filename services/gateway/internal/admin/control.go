package admin

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/gateway/internal/control"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// PauseTaskType implements warren.admin.v1.AdminService.
func (s *Service) PauseTaskType(ctx context.Context, r *adminv1.PauseTaskTypeRequest) (*adminv1.PauseTaskTypeResponse, error) {
	t, err := s.known(r.TaskType, "task_type")
	if err != nil {
		return nil, err
	}
	if r.Until != nil && r.Until.CheckValid() != nil {
		return nil, badArgument("until", "must be a valid google.protobuf.Timestamp")
	}
	if now := time.Now(); r.Until != nil && !r.Until.AsTime().After(now) {
		return nil, badArgument("until", "must be later than now, "+now.UTC().Format(time.RFC3339Nano))
	}
	set, err := s.cfg.Control.SetPause(ctx, t.Name, &brokerv1.Pause{Reason: r.Reason, Until: r.Until}, r.Reason)
	if err != nil {
		return nil, controlError(t.Name, err)
	}
	log := s.cfg.Logger.With("task_type", t.Name, "reason", r.Reason)
	if r.Until != nil {
		log = log.With("until", r.Until.AsTime())
	}
	log.InfoContext(ctx, "an operator has paused a task type")
	return &adminv1.PauseTaskTypeResponse{Control: set}, nil
}

// ResumeTaskType implements warren.admin.v1.AdminService.
func (s *Service) ResumeTaskType(ctx context.Context, r *adminv1.ResumeTaskTypeRequest) (*adminv1.ResumeTaskTypeResponse, error) {
	t, err := s.known(r.TaskType, "task_type")
	if err != nil {
		return nil, err
	}
	set, err := s.cfg.Control.SetPause(ctx, t.Name, nil, r.Reason)
	if err != nil {
		return nil, controlError(t.Name, err)
	}
	s.cfg.Logger.InfoContext(ctx, "an operator has resumed a task type", "task_type", t.Name, "reason", r.Reason)
	return &adminv1.ResumeTaskTypeResponse{Control: set}, nil
}

// UpdateConcurrency implements warren.admin.v1.AdminService.
func (s *Service) UpdateConcurrency(ctx context.Context, r *adminv1.UpdateConcurrencyRequest) (*adminv1.UpdateConcurrencyResponse, error) {
	t, err := s.known(r.TaskType, "task_type")
	if err != nil {
		return nil, err
	}
	var scale *brokerv1.Autoscale
	if a := r.GetAutoscale(); a != nil {
		scale = &brokerv1.Autoscale{Min: a.Min, Max: a.Max}
		if r.WorkerId != "" {
			return nil, badArgument("autoscale", "is for all workers of the type: leave worker_id out, or set concurrency")
		}
	}
	set, err := s.cfg.Control.SetConcurrency(ctx, t.Name, r.WorkerId, int(r.GetConcurrency()), scale, r.Reason)
	switch {
	case errors.Is(err, control.ErrNoWorker):
		return nil, s.notLive(r.WorkerId)
	case err != nil:
		return nil, controlError(t.Name, err)
	}
	s.cfg.Logger.InfoContext(ctx, "an operator has set the concurrency of a task type", "task_type", t.Name, "worker_id", r.WorkerId,
		"concurrency", r.GetConcurrency(), "min", scale.GetMin(), "max", scale.GetMax(), "reason", r.Reason)
	return &adminv1.UpdateConcurrencyResponse{Control: set}, nil
}

func badArgument(field, problem string) error {
	return rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "the request is not valid: %s: %s", field, problem).
		Field(field, problem)
}

// controlError makes an answer of what control says of a change.
func controlError(taskType string, err error) error {
	if errors.Is(err, store.ErrChanged) {
		return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE,
			"others are changing what is set of %s at this moment, nothing was changed by this call; call again", taskType).Because(err)
	}
	return storeError(err)
}
