package admin

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/gateway/internal/schedules"
)

// specOf is what of a schedule is for callers to say.
func specOf(asked *adminv1.Schedule) *adminv1.Schedule {
	s := proto.CloneOf(asked)
	s.Paused, s.PauseReason, s.PauseTime = false, "", nil
	s.CreateTime, s.UpdateTime, s.Etag = nil, nil, ""
	s.NextTimes, s.Firings = nil, nil
	return s
}

// maxSchedulePayload bounds the payload of what a schedule submits, in bytes: many
// schedules are read at once.
const maxSchedulePayload = 256 << 10

// checkSchedule says what is wrong with a schedule, which has its create time, and
// else gives its timetable.
func (s *Service) checkSchedule(spec *adminv1.Schedule) (*schedules.Timetable, error) {
	table, err := schedules.Compile(spec)
	if err != nil {
		return nil, badSchedule(err)
	}
	if spec.Task == nil {
		return nil, badArgument("schedule.task", "must be set")
	}
	if size := len(spec.Task.Payload.GetValue()); size > maxSchedulePayload {
		return nil, badArgument("schedule.task.payload", fmt.Sprintf("has %d bytes, that of a schedule can have %d; send a reference to large data instead", size, maxSchedulePayload))
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"task_id", spec.Task.TaskId != ""}, {"idempotency_key", spec.Task.IdempotencyKey != ""}, {"delay", spec.Task.Delay != nil},
		{"schedule_time", spec.Task.ScheduleTime != nil}, {"expire_time", spec.Task.ExpireTime != nil},
	} {
		if f.set {
			return nil, badArgument("schedule.task."+f.name, "must not be set: it differs from firing to firing")
		}
	}
	if spec.ExpireAfter != nil && spec.ExpireAfter.AsDuration() <= spec.Jitter.AsDuration() {
		return nil, badArgument("schedule.expire_after", "must be more than jitter")
	}
	return table, ofTask(s.cfg.Schedules.CheckTask(spec.Task))
}

func badSchedule(err error) error {
	var bad *policy.FieldError
	if !errors.As(err, &bad) {
		return rpc.Internal(err)
	}
	return badArgument("schedule."+bad.Field, strings.ToValidUTF8(bad.Problem, "\uFFFD"))
}

// neverFires says that a schedule has no next time.
func neverFires(spec *adminv1.Schedule) error {
	field := "schedule.cron"
	if spec.EndTime != nil {
		field = "schedule.end_time"
	}
	return badArgument(field, "it would never fire: there is no such time between now, or start_time, and end_time")
}

// ofTask makes an answer about a submission one about the task of a schedule.
func ofTask(err error) error {
	var answer *rpc.Error
	if !errors.As(err, &answer) {
		return err
	}
	for _, d := range answer.Details {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.FieldViolations {
				v.Field = "schedule.task." + v.Field
			}
		}
	}
	return answer
}
