package admin

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/gateway/internal/schedules"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// Schedules is what the service needs for schedules.
type Schedules struct {
	Store  ScheduleStore
	Engine ScheduleEngine
	// CheckTask says what is wrong with what a schedule submits, as SubmitTask would.
	CheckTask func(r *taskv1.SubmitTaskRequest) error
}

// ScheduleStore keeps schedules, as store.Store says.
type ScheduleStore interface {
	PutSchedule(ctx context.Context, s store.Schedule) error
	GetSchedule(ctx context.Context, id string) (store.Schedule, error)
	ListSchedules(ctx context.Context, after string, limit int) ([]store.Schedule, error)
	DeleteSchedule(ctx context.Context, id string, version int64) error
}

// ScheduleEngine fires schedules, as schedules.Engine does.
type ScheduleEngine interface {
	Now() time.Time
	Wake()
	Trigger(ctx context.Context, id, requestID string) (*adminv1.Firing, error)
}

// Of a schedule so many next times are shown, by GetSchedule and in a list.
const (
	shownTimes  = 5
	listedTimes = 1
)

// CreateSchedule implements warren.admin.v1.AdminService.
func (s *Service) CreateSchedule(ctx context.Context, r *adminv1.CreateScheduleRequest) (*adminv1.CreateScheduleResponse, error) {
	now := s.cfg.Schedules.Engine.Now()
	spec := specOf(r.Schedule)
	spec.CreateTime, spec.UpdateTime = timestamppb.New(now), timestamppb.New(now)
	table, err := s.checkSchedule(spec)
	if err != nil {
		return nil, err
	}
	kept := store.Schedule{ID: spec.ScheduleId, Version: 1, Next: table.Next(now)}
	if kept.Next.IsZero() {
		return nil, neverFires(spec)
	}
	if r.ValidateOnly {
		switch _, err := s.cfg.Schedules.Store.GetSchedule(ctx, spec.ScheduleId); {
		case err == nil:
			return nil, scheduleExists(spec.ScheduleId)
		case !errors.Is(err, store.ErrNotFound):
			return nil, storeError(err)
		}
		shown, err := showSchedule(&kept, spec, shownTimes, store.MaxFirings)
		return &adminv1.CreateScheduleResponse{Schedule: shown}, err
	}
	err = s.putSchedule(ctx, &kept, spec)
	switch {
	case errors.Is(err, store.ErrChanged):
		return nil, scheduleExists(spec.ScheduleId)
	case err != nil:
		return nil, storeError(err)
	}
	s.cfg.Logger.InfoContext(ctx, "an operator has made a schedule", "schedule", kept.ID, "task_type", spec.Task.Type, "next", kept.Next, "reason", r.Reason)
	shown, err := showSchedule(&kept, spec, shownTimes, store.MaxFirings)
	return &adminv1.CreateScheduleResponse{Schedule: shown}, err
}

// GetSchedule implements warren.admin.v1.AdminService.
func (s *Service) GetSchedule(ctx context.Context, r *adminv1.GetScheduleRequest) (*adminv1.GetScheduleResponse, error) {
	kept, spec, err := s.readSchedule(ctx, r.ScheduleId)
	if err != nil {
		return nil, err
	}
	shown, err := showSchedule(&kept, spec, shownTimes, store.MaxFirings)
	return &adminv1.GetScheduleResponse{Schedule: shown}, err
}

// DeleteSchedule implements warren.admin.v1.AdminService.
func (s *Service) DeleteSchedule(ctx context.Context, r *adminv1.DeleteScheduleRequest) (*adminv1.DeleteScheduleResponse, error) {
	version := int64(0)
	if r.Etag != "" {
		kept, spec, err := s.readSchedule(ctx, r.ScheduleId)
		switch {
		case err != nil:
			return nil, err
		case r.Etag != scheduleEtag(&kept, spec):
			return nil, scheduleChanged(r.ScheduleId, nil)
		}
		version = kept.Version
	}
	if err := s.cfg.Schedules.Store.DeleteSchedule(ctx, r.ScheduleId, version); err != nil {
		return nil, scheduleError(r.ScheduleId, err)
	}
	s.cfg.Logger.InfoContext(ctx, "an operator has deleted a schedule", "schedule", r.ScheduleId, "reason", r.Reason)
	return &adminv1.DeleteScheduleResponse{}, nil
}

// TriggerSchedule implements warren.admin.v1.AdminService.
func (s *Service) TriggerSchedule(ctx context.Context, r *adminv1.TriggerScheduleRequest) (*adminv1.TriggerScheduleResponse, error) {
	f, err := s.cfg.Schedules.Engine.Trigger(ctx, r.ScheduleId, r.RequestId)
	if err != nil {
		if _, ok := status.FromError(err); ok {
			return nil, ofTask(err)
		}
		return nil, scheduleError(r.ScheduleId, err)
	}
	s.cfg.Logger.InfoContext(ctx, "an operator has triggered a schedule", "schedule", r.ScheduleId, "task_id", f.TaskId, "reason", r.Reason)
	return &adminv1.TriggerScheduleResponse{Firing: f}, nil
}

// readSchedule gives a schedule as it is kept.
func (s *Service) readSchedule(ctx context.Context, id string) (store.Schedule, *adminv1.Schedule, error) {
	kept, err := s.cfg.Schedules.Store.GetSchedule(ctx, id)
	if err != nil {
		return kept, nil, scheduleError(id, err)
	}
	spec, err := decodeSchedule(&kept)
	return kept, spec, err
}

func decodeSchedule(kept *store.Schedule) (*adminv1.Schedule, error) {
	spec, err := schedules.Decode(kept)
	if err != nil {
		return nil, rpc.Internal(err)
	}
	return spec, nil
}

// putSchedule keeps a schedule and has it fire.
func (s *Service) putSchedule(ctx context.Context, kept *store.Schedule, spec *adminv1.Schedule) (err error) {
	if kept.Spec, err = proto.Marshal(spec); err != nil {
		return err
	}
	if err := s.cfg.Schedules.Store.PutSchedule(ctx, *kept); err != nil {
		return err
	}
	s.cfg.Schedules.Engine.Wake()
	return nil
}

func scheduleExists(id string) error {
	return rpc.Errorf(codes.AlreadyExists, taskv1.ErrorReason_ERROR_REASON_SCHEDULE_EXISTS,
		"a schedule has the id %s already: choose another one, or change that with UpdateSchedule", id).
		Field("schedule.schedule_id", "exists already")
}

func scheduleChanged(id string, cause error) error {
	return rpc.Errorf(codes.Aborted, taskv1.ErrorReason_ERROR_REASON_ETAG_MISMATCH,
		"somebody else has changed the schedule %s meanwhile: read it again, and call with its etag then", id).Because(cause)
}

// scheduleError makes an answer of what the store says of a schedule.
func scheduleError(id string, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_SCHEDULE_NOT_FOUND,
			"there is no schedule %s; check the id", id).Field("schedule_id", "unknown schedule")
	case errors.Is(err, store.ErrChanged):
		return scheduleChanged(id, err)
	case errors.Is(err, store.ErrRetired):
		return rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_TASK_TYPE_NOT_FOUND,
			"nothing was submitted: the task type of schedule %s is retired; delete the schedule, or start a worker that serves the type", id).Because(err)
	}
	return storeError(err)
}
