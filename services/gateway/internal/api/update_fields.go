package api

import (
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/policy"
)

// Paths of an update mask.
const (
	pathScheduleTime = "schedule_time"
	pathPriority     = "priority"
	pathExpireTime   = "expire_time"
	pathLabels       = "labels"
)

// updatePaths are the paths of an update mask, if all are known.
func updatePaths(mask *fieldmaskpb.FieldMask) ([]string, error) {
	known := []string{pathScheduleTime, pathPriority, pathExpireTime, pathLabels}
	for _, p := range mask.GetPaths() {
		if !slices.Contains(known, p) {
			return nil, badField(&policy.FieldError{Field: "update_mask", Problem: strconv.Quote(p) + " is none of schedule_time, priority, expire_time, labels"})
		}
	}
	if len(mask.GetPaths()) == 0 {
		return nil, badField(&policy.FieldError{Field: "update_mask", Problem: "must name a field"})
	}
	return mask.Paths, nil
}

// applyUpdate changes a message that waits for its time, and the time, as it is
// asked for. The message may be a stand-in that has but what the task shows.
func (s *TaskService) applyUpdate(u *taskv1.TaskUpdate, paths []string, m *broker.TaskMessage, at *time.Time) error {
	now := s.now()
	for _, path := range paths {
		switch path {
		case pathLabels:
			m.Labels = u.GetLabels()
		case pathPriority:
			if m.Priority = int(u.GetPriority()); m.Priority == 0 {
				options, _, _ := s.cfg.Types.Effective(m.Type)
				m.Priority = int(options.GetPriority())
			}
		case pathExpireTime:
			expire, err := updatedExpiry(u.GetExpireTime())
			if err != nil {
				return err
			}
			m.ExpireTime = expire
		case pathScheduleTime:
			if u.GetScheduleTime() == nil {
				return badField(&policy.FieldError{Field: "update.schedule_time", Problem: "must be set; RunTaskNow puts a task into its queue now"})
			}
			when, err := timeAhead("update.schedule_time", u.ScheduleTime, now)
			if err != nil {
				return err
			}
			was := *at
			*at = latest(when, now)
			if !slices.Contains(paths, pathExpireTime) {
				s.shiftExpiry(m, was, *at)
			}
		}
	}
	if slices.Contains(paths, pathScheduleTime) || slices.Contains(paths, pathExpireTime) {
		return badUpdatedExpiry(paths, m.ExpireTime, now, *at)
	}
	return nil
}

// shiftExpiry has a task expire as long after its new time as after the one that it
// had, if its expiry is the type's own, which counts from that time. A time that
// somebody has set stays, unless it is just that of the type.
func (s *TaskService) shiftExpiry(m *broker.TaskMessage, was, at time.Time) {
	options, _, _ := s.cfg.Types.Effective(m.Type)
	own := options.GetExpiry().AsDuration()
	if own > 0 && m.ExpireTime.Equal(was.Add(own)) {
		m.ExpireTime = at.Add(own)
	}
}

// updatedExpiry is the time that was asked for, zero is never.
func updatedExpiry(asked *timestamppb.Timestamp) (time.Time, error) {
	if asked == nil {
		return time.Time{}, nil
	}
	return timeOf("update.expire_time", asked)
}

// badUpdatedExpiry says which of the fields that change makes a task expire before
// its time.
func badUpdatedExpiry(paths []string, expire, now, at time.Time) error {
	if expire.IsZero() || expire.After(now) && expire.After(at) {
		return nil
	}
	if slices.Contains(paths, pathExpireTime) {
		return badField(&policy.FieldError{Field: "update.expire_time", Problem: "must be later than now and than the task's schedule_time, " + at.Format(time.RFC3339Nano)})
	}
	return badField(&policy.FieldError{
		Field: "update.schedule_time", Problem: "must be before the task's expire_time, " + expire.UTC().Format(time.RFC3339Nano) + ", which can be changed with it",
	})
}
