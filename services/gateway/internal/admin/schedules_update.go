package admin

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/services/gateway/internal/schedules"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// timePaths are the paths of an update that change when a schedule fires.
var timePaths = []string{"cron", "interval", "time_zone", "start_time", "end_time"}

// UpdateSchedule implements warren.admin.v1.AdminService.
func (s *Service) UpdateSchedule(ctx context.Context, r *adminv1.UpdateScheduleRequest) (*adminv1.UpdateScheduleResponse, error) {
	paths := r.GetUpdateMask().GetPaths()
	if len(paths) == 0 {
		return nil, badArgument("update_mask", "must name a field")
	}
	shown, err := s.changeSchedule(ctx, r.Schedule.ScheduleId, r.Schedule.Etag, func(kept *store.Schedule, spec *adminv1.Schedule, now time.Time) (bool, error) {
		if err := applyPaths(spec, r.Schedule, paths); err != nil {
			return false, err
		}
		table, err := s.checkSchedule(spec)
		if err != nil {
			return false, err
		}
		moved := slices.ContainsFunc(paths, func(p string) bool { return slices.Contains(timePaths, p) })
		if !moved || spec.Paused {
			kept.KeepNext = true // it may have fired since it was read
			return true, nil
		}
		if kept.Next = table.Next(now); kept.Next.IsZero() {
			return false, neverFires(spec)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	s.cfg.Logger.InfoContext(ctx, "an operator has changed a schedule", "schedule", shown.ScheduleId, "paths", paths, "reason", r.Reason)
	return &adminv1.UpdateScheduleResponse{Schedule: shown}, nil
}

// PauseSchedule implements warren.admin.v1.AdminService.
func (s *Service) PauseSchedule(ctx context.Context, r *adminv1.PauseScheduleRequest) (*adminv1.PauseScheduleResponse, error) {
	shown, err := s.changeSchedule(ctx, r.ScheduleId, "", func(kept *store.Schedule, spec *adminv1.Schedule, now time.Time) (bool, error) {
		if spec.PauseReason = r.Reason; !spec.Paused {
			spec.Paused, spec.PauseTime = true, timestamppb.New(now)
		}
		kept.Next = time.Time{}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	s.cfg.Logger.InfoContext(ctx, "an operator has paused a schedule", "schedule", r.ScheduleId, "reason", r.Reason)
	return &adminv1.PauseScheduleResponse{Schedule: shown}, nil
}

// ResumeSchedule implements warren.admin.v1.AdminService. One that has no more times
// can be resumed, too: it just does not fire.
func (s *Service) ResumeSchedule(ctx context.Context, r *adminv1.ResumeScheduleRequest) (*adminv1.ResumeScheduleResponse, error) {
	shown, err := s.changeSchedule(ctx, r.ScheduleId, "", func(kept *store.Schedule, spec *adminv1.Schedule, now time.Time) (bool, error) {
		if !spec.Paused {
			return false, nil
		}
		table, err := schedules.Compile(spec)
		if err != nil {
			return false, badSchedule(err)
		}
		spec.Paused, spec.PauseReason, spec.PauseTime = false, "", nil
		kept.Next = table.Next(now)
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	s.cfg.Logger.InfoContext(ctx, "an operator has resumed a schedule", "schedule", r.ScheduleId, "reason", r.Reason)
	return &adminv1.ResumeScheduleResponse{Schedule: shown}, nil
}

// changeSchedule changes a schedule and shows it as it is then. change says whether
// there is anything to change. Without an etag it is applied anew to what somebody
// else has stored meanwhile.
func (s *Service) changeSchedule(ctx context.Context, id, etag string, change func(kept *store.Schedule, spec *adminv1.Schedule, now time.Time) (bool, error)) (*adminv1.Schedule, error) {
	for race := 1; ; race++ {
		kept, spec, err := s.readSchedule(ctx, id)
		if err != nil {
			return nil, err
		}
		if etag != "" && etag != scheduleEtag(&kept, spec) {
			return nil, scheduleChanged(id, nil)
		}
		now := s.cfg.Schedules.Engine.Now()
		changes, err := change(&kept, spec, now)
		if err != nil {
			return nil, err
		}
		if !changes {
			return showSchedule(&kept, spec, shownTimes, store.MaxFirings)
		}
		kept.Version++
		spec.UpdateTime = timestamppb.New(now)
		err = s.putSchedule(ctx, &kept, spec)
		switch {
		case err == nil:
			return showSchedule(&kept, spec, shownTimes, store.MaxFirings)
		case !errors.Is(err, store.ErrChanged):
			return nil, storeError(err)
		case etag != "" || race == maxRaces:
			return nil, scheduleChanged(id, err)
		}
	}
}

// applyPaths takes fields of what was asked for.
func applyPaths(spec, asked *adminv1.Schedule, paths []string) error {
	for _, path := range paths {
		switch path {
		case "cron", "interval":
			if err := applyWhen(spec, asked, path); err != nil {
				return err
			}
		case "time_zone":
			spec.TimeZone = asked.TimeZone
		case "start_time":
			spec.StartTime = asked.StartTime
		case "end_time":
			spec.EndTime = asked.EndTime
		case "jitter":
			spec.Jitter = asked.Jitter
		case "overlap":
			spec.Overlap = asked.Overlap
		case "catch_up":
			spec.CatchUp = asked.CatchUp
		case "task":
			spec.Task = asked.Task
		case "expire_after":
			spec.ExpireAfter = asked.ExpireAfter
		default:
			return badArgument("update_mask", strconv.Quote(path)+" is no field that can be changed")
		}
	}
	return nil
}

// applyWhen takes the one of cron and interval that the path names.
func applyWhen(spec, asked *adminv1.Schedule, path string) error {
	switch when := asked.When.(type) {
	case *adminv1.Schedule_Cron:
		if path == "cron" {
			spec.When = when
			return nil
		}
	case *adminv1.Schedule_Interval:
		if path == "interval" {
			spec.When = when
			return nil
		}
	}
	return badArgument("schedule."+path, "must be set, as update_mask names it")
}
