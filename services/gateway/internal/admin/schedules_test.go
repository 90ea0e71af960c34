package admin

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const noSchedule = taskv1.ErrorReason_ERROR_REASON_SCHEDULE_NOT_FOUND

// engine stands for what fires schedules; its clock stands still.
type engine struct {
	now     time.Time
	woken   int
	trigger error
}

func (e *engine) Now() time.Time { return e.now }
func (e *engine) Wake()          { e.woken++ }
func (e *engine) Trigger(context.Context, string, string) (*adminv1.Firing, error) {
	return &adminv1.Firing{TaskId: "t", Triggered: true}, e.trigger
}

// timekeeper is a fixture for schedules.
type timekeeper struct {
	*fixture
	engine
	// task is what is wrong with the task of any schedule.
	task error
	// races run before a schedule is put, down is what reads answer.
	races []func()
	down  error
}

func newTimekeeper(t testing.TB) *timekeeper {
	t.Helper()
	k := &timekeeper{fixture: newFixture(t), engine: engine{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	k.cfg.Schedules = Schedules{Store: k, Engine: &k.engine, CheckTask: func(*taskv1.SubmitTaskRequest) error { return k.task }}
	return k
}

func (k *timekeeper) PutSchedule(ctx context.Context, s store.Schedule) error {
	if len(k.races) > 0 {
		race := k.races[0]
		k.races = k.races[1:]
		race()
	}
	return k.store.PutSchedule(ctx, s)
}

func (k *timekeeper) GetSchedule(ctx context.Context, id string) (store.Schedule, error) {
	if k.down != nil {
		return store.Schedule{}, k.down
	}
	return k.store.GetSchedule(ctx, id)
}

func (k *timekeeper) ListSchedules(ctx context.Context, after string, limit int) ([]store.Schedule, error) {
	if k.down != nil {
		return nil, k.down
	}
	return k.store.ListSchedules(ctx, after, limit)
}

func (k *timekeeper) DeleteSchedule(ctx context.Context, id string, version int64) error {
	return k.store.DeleteSchedule(ctx, id, version)
}

func daily(t testing.TB, id string) *adminv1.Schedule {
	t.Helper()
	payload, err := anypb.New(&demov1.DelayRequest{})
	require.NoError(t, err)
	return &adminv1.Schedule{
		ScheduleId: id, When: &adminv1.Schedule_Cron{Cron: "0 12 * * *"}, Task: &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload},
	}
}

func (k *timekeeper) create(t testing.TB, s *adminv1.Schedule) (*adminv1.Schedule, error) {
	t.Helper()
	answer, err := k.CreateSchedule(t.Context(), &adminv1.CreateScheduleRequest{Schedule: s})
	return answer.GetSchedule(), err
}

func (k *timekeeper) get(t testing.TB, id string) *adminv1.Schedule {
	t.Helper()
	answer, err := k.Service.GetSchedule(t.Context(), &adminv1.GetScheduleRequest{ScheduleId: id})
	require.NoError(t, err)
	return answer.Schedule
}

func (k *timekeeper) update(t testing.TB, s *adminv1.Schedule, paths ...string) (*adminv1.Schedule, error) {
	t.Helper()
	answer, err := k.UpdateSchedule(t.Context(), &adminv1.UpdateScheduleRequest{Schedule: s, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
	return answer.GetSchedule(), err
}

func times(s *adminv1.Schedule) (all []time.Time) {
	for _, at := range s.NextTimes {
		all = append(all, at.AsTime())
	}
	return all
}

func TestASchedulesLife(t *testing.T) {
	t.Parallel()
	k := newTimekeeper(t)
	asked := daily(t, "noon")
	asked.Paused, asked.Etag, asked.Firings = true, "9", []*adminv1.Firing{{TaskId: "x"}}
	made, err := k.create(t, asked)
	require.NoError(t, err)
	require.False(t, made.Paused, "what is output only is not taken")
	require.Empty(t, made.Firings)
	require.Equal(t, k.now, made.CreateTime.AsTime())
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	require.Equal(t, []time.Time{noon, noon.AddDate(0, 0, 1), noon.AddDate(0, 0, 2), noon.AddDate(0, 0, 3), noon.AddDate(0, 0, 4)}, times(made))
	require.Equal(t, 1, k.woken)
	require.True(t, proto.Equal(made, k.get(t, "noon")))
	k.now = k.now.Add(time.Microsecond)
	_, err = k.create(t, daily(t, "noon"))
	requireReason(t, err, codes.AlreadyExists, taskv1.ErrorReason_ERROR_REASON_SCHEDULE_EXISTS)

	k.now = k.now.Add(time.Hour)
	paused, err := k.PauseSchedule(t.Context(), &adminv1.PauseScheduleRequest{ScheduleId: "noon", Reason: "quiet"})
	require.NoError(t, err)
	require.True(t, paused.Schedule.Paused)
	require.Equal(t, k.now, paused.Schedule.PauseTime.AsTime())
	require.Empty(t, paused.Schedule.NextTimes)
	again, err := k.PauseSchedule(t.Context(), &adminv1.PauseScheduleRequest{ScheduleId: "noon", Reason: "very quiet"})
	require.NoError(t, err)
	require.Equal(t, "very quiet", again.Schedule.PauseReason)

	// An update of a paused one lets it rest.
	change := daily(t, "noon")
	change.When, change.TimeZone = &adminv1.Schedule_Interval{Interval: durationpb.New(time.Hour)}, "Europe/Berlin"
	changed, err := k.update(t, change, "interval", "time_zone")
	require.NoError(t, err)
	require.Empty(t, changed.NextTimes)
	require.True(t, changed.Paused)

	k.now = k.now.AddDate(0, 0, 1)
	resumed, err := k.ResumeSchedule(t.Context(), &adminv1.ResumeScheduleRequest{ScheduleId: "noon"})
	require.NoError(t, err)
	require.Nil(t, resumed.Schedule.PauseTime)
	require.Empty(t, resumed.Schedule.PauseReason)
	require.Equal(t, made.CreateTime.AsTime().Add(26*time.Hour), times(resumed.Schedule)[0], "from now on")
	same, err := k.ResumeSchedule(t.Context(), &adminv1.ResumeScheduleRequest{ScheduleId: "noon"})
	require.NoError(t, err)
	require.Equal(t, resumed.Schedule.Etag, same.Schedule.Etag)

	triggered, err := k.TriggerSchedule(t.Context(), &adminv1.TriggerScheduleRequest{ScheduleId: "noon"})
	require.NoError(t, err)
	require.Equal(t, "t", triggered.Firing.TaskId)

	for _, etag := range []string{made.Etag, "garbage"} {
		_, err = k.Service.DeleteSchedule(t.Context(), &adminv1.DeleteScheduleRequest{ScheduleId: "noon", Etag: etag})
		requireReason(t, err, codes.Aborted, mismatch)
	}
	_, err = k.Service.DeleteSchedule(t.Context(), &adminv1.DeleteScheduleRequest{ScheduleId: "noon", Etag: same.Schedule.Etag})
	require.NoError(t, err)
	k.trigger = fmt.Errorf("read it: %w", store.ErrNotFound)
	for _, call := range []func() error{
		func() error {
			_, err := k.Service.GetSchedule(t.Context(), &adminv1.GetScheduleRequest{ScheduleId: "noon"})
			return err
		},
		func() error {
			_, err := k.Service.DeleteSchedule(t.Context(), &adminv1.DeleteScheduleRequest{ScheduleId: "noon"})
			return err
		},
		func() error {
			_, err := k.Service.DeleteSchedule(t.Context(), &adminv1.DeleteScheduleRequest{ScheduleId: "noon", Etag: "x"})
			return err
		},
		func() error { _, err := k.update(t, change, "interval"); return err },
		func() error {
			_, err := k.TriggerSchedule(t.Context(), &adminv1.TriggerScheduleRequest{ScheduleId: "noon"})
			return err
		},
	} {
		requireReason(t, call(), codes.NotFound, noSchedule)
	}
}

func TestSchedulesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	k := newTimekeeper(t)
	for name, c := range map[string]struct {
		edit  func(*adminv1.Schedule)
		field string
	}{
		"cron":    {func(s *adminv1.Schedule) { s.When = &adminv1.Schedule_Cron{Cron: "0 25 * * *"} }, "schedule.cron"},
		"zone":    {func(s *adminv1.Schedule) { s.TimeZone = "Europe/Atlantis" }, "schedule.time_zone"},
		"no time": {func(s *adminv1.Schedule) { s.When = nil }, "schedule.cron"},
		"never":   {func(s *adminv1.Schedule) { s.When = &adminv1.Schedule_Cron{Cron: "0 0 31 2 *"} }, "schedule.cron"},
		"over":    {func(s *adminv1.Schedule) { s.EndTime = timestamppb.New(k.now) }, "schedule.end_time"},
		"jitter":  {func(s *adminv1.Schedule) { s.Jitter = durationpb.New(24 * time.Hour) }, "schedule.jitter"},
		"expiry": {func(s *adminv1.Schedule) {
			s.Jitter, s.ExpireAfter = durationpb.New(time.Minute), durationpb.New(time.Minute)
		}, "schedule.expire_after"},
		"no task":   {func(s *adminv1.Schedule) { s.Task = nil }, "schedule.task"},
		"payload":   {func(s *adminv1.Schedule) { s.Task.Payload.Value = make([]byte, maxSchedulePayload+1) }, "schedule.task.payload"},
		"task id":   {func(s *adminv1.Schedule) { s.Task.TaskId = "x" }, "schedule.task.task_id"},
		"key":       {func(s *adminv1.Schedule) { s.Task.IdempotencyKey = "x" }, "schedule.task.idempotency_key"},
		"delay":     {func(s *adminv1.Schedule) { s.Task.Delay = durationpb.New(1) }, "schedule.task.delay"},
		"time":      {func(s *adminv1.Schedule) { s.Task.ScheduleTime = timestamppb.Now() }, "schedule.task.schedule_time"},
		"expire at": {func(s *adminv1.Schedule) { s.Task.ExpireTime = timestamppb.Now() }, "schedule.task.expire_time"},
		"several": {func(s *adminv1.Schedule) {
			s.Task.ExpireTime, s.Task.ScheduleTime, s.Task.Delay, s.Task.IdempotencyKey = timestamppb.Now(), timestamppb.Now(), durationpb.New(1), "x"
		}, "schedule.task.idempotency_key"},
	} {
		t.Run(name, func(t *testing.T) {
			s := daily(t, "bad")
			c.edit(s)
			_, err := k.create(t, s)
			requireReason(t, err, codes.InvalidArgument, invalid)
			require.Equal(t, []string{c.field}, fieldsOf(err))
		})
	}
	k.task = rpc.Errorf(codes.NotFound, notFound, "no such type").Field("type", "unknown")
	_, err := k.create(t, daily(t, "bad"))
	requireReason(t, err, codes.NotFound, notFound)
	require.Equal(t, []string{"schedule.task.type"}, fieldsOf(err))
	k.task = nil
	_, err = k.Service.GetSchedule(t.Context(), &adminv1.GetScheduleRequest{ScheduleId: "bad"})
	requireReason(t, err, codes.NotFound, noSchedule)
}

func TestASchedulesValidation(t *testing.T) {
	t.Parallel()
	k := newTimekeeper(t)
	only := func() (*adminv1.CreateScheduleResponse, error) {
		return k.CreateSchedule(t.Context(), &adminv1.CreateScheduleRequest{Schedule: daily(t, "s"), ValidateOnly: true})
	}
	shown, err := only()
	require.NoError(t, err)
	require.Len(t, shown.Schedule.NextTimes, 5)
	require.Zero(t, k.woken)
	made, err := k.create(t, daily(t, "s"))
	require.NoError(t, err, "nothing was made before")
	_, err = only()
	requireReason(t, err, codes.AlreadyExists, taskv1.ErrorReason_ERROR_REASON_SCHEDULE_EXISTS)

	for _, paths := range [][]string{nil, {"paused"}, {"interval"}} {
		_, err = k.update(t, daily(t, "s"), paths...)
		requireReason(t, err, codes.InvalidArgument, invalid)
	}
	never := daily(t, "s")
	never.When = &adminv1.Schedule_Cron{Cron: "0 0 31 2 *"}
	_, err = k.update(t, never, "cron")
	requireReason(t, err, codes.InvalidArgument, invalid)
	require.True(t, proto.Equal(made, k.get(t, "s")))
	k.down = fmt.Errorf("%w: locked", store.ErrUnavailable)
	_, err = only()
	requireReason(t, err, codes.Unavailable, unavailable)
	_, err = k.Service.ListSchedules(t.Context(), &adminv1.ListSchedulesRequest{})
	requireReason(t, err, codes.Unavailable, unavailable)
	k.down = errors.New("secret")
	_, err = only()
	requireReason(t, err, codes.Internal, taskv1.ErrorReason_ERROR_REASON_INTERNAL)
}

func TestAnUpdateTakesAllFields(t *testing.T) {
	t.Parallel()
	k := newTimekeeper(t)
	_, err := k.create(t, daily(t, "s"))
	require.NoError(t, err)
	next := k.get(t, "s").NextTimes[0].AsTime()
	change := daily(t, "s")
	change.Jitter, change.ExpireAfter = durationpb.New(time.Minute), durationpb.New(time.Hour)
	change.Overlap, change.CatchUp = adminv1.OverlapPolicy_OVERLAP_POLICY_SKIP, adminv1.CatchUpPolicy_CATCH_UP_POLICY_NONE
	change.Task.Labels = map[string]string{"a": "b"}
	k.now = next.Add(time.Second) // it is due, and has not fired yet
	got, err := k.update(t, change, "jitter", "expire_after", "overlap", "catch_up", "task")
	require.NoError(t, err)
	require.Equal(t, time.Minute, got.Jitter.AsDuration())
	require.Equal(t, time.Hour, got.ExpireAfter.AsDuration())
	require.Equal(t, change.Overlap, got.Overlap)
	require.Equal(t, change.CatchUp, got.CatchUp)
	require.Equal(t, change.Task.Labels, got.Task.Labels)
	require.Equal(t, next, times(got)[0], "its time is not lost")
	require.Equal(t, k.now, got.UpdateTime.AsTime())
	change.StartTime, change.EndTime = timestamppb.New(k.now.AddDate(0, 1, 0)), timestamppb.New(k.now.AddDate(0, 1, 1))
	got, err = k.update(t, change, "start_time", "end_time")
	require.NoError(t, err)
	require.Equal(t, []time.Time{time.Date(2026, 2, 3, 12, 0, 0, 0, time.UTC)}, times(got))
}

func TestChangesOfASchedulesAtTheSameTime(t *testing.T) {
	t.Parallel()
	k := newTimekeeper(t)
	made, err := k.create(t, daily(t, "s"))
	require.NoError(t, err)
	change := daily(t, "s")
	change.Jitter = durationpb.New(time.Minute)
	other := func() {
		k.now = k.now.Add(time.Microsecond)
		_, err := k.PauseSchedule(t.Context(), &adminv1.PauseScheduleRequest{ScheduleId: "s", Reason: "other"})
		require.NoError(t, err)
	}
	k.races = []func(){other}
	got, err := k.update(t, change, "jitter")
	require.NoError(t, err)
	require.True(t, got.Paused, "neither is lost")
	change.Etag = made.Etag
	_, err = k.update(t, change, "jitter")
	requireReason(t, err, codes.Aborted, mismatch)
	change.Etag = got.Etag
	k.races = []func(){other}
	_, err = k.update(t, change, "jitter")
	requireReason(t, err, codes.Aborted, mismatch)
}

func TestAnUpdateNeedsOnlyWhatItsMaskNames(t *testing.T) {
	t.Parallel()
	k := newTimekeeper(t)
	_, err := k.create(t, daily(t, "s"))
	require.NoError(t, err)
	r := &adminv1.UpdateScheduleRequest{
		Schedule:   &adminv1.Schedule{ScheduleId: "s", Jitter: durationpb.New(time.Minute)},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"jitter"}},
	}
	require.NoError(t, rpc.Validate(r))
	got, err := k.update(t, r.Schedule, "jitter")
	require.NoError(t, err)
	require.Equal(t, typeDelay, got.Task.Type)
	_, err = k.update(t, r.Schedule, "task")
	requireReason(t, err, codes.InvalidArgument, invalid)
	require.Equal(t, []string{"schedule.task"}, fieldsOf(err))
}

// A schedule that has fired while it was changed does not fire for that time again.
func TestAnUpdateLeavesTheNextTime(t *testing.T) {
	t.Parallel()
	k := newTimekeeper(t)
	made, err := k.create(t, daily(t, "s"))
	require.NoError(t, err)
	was, next := times(made)[0], times(made)[1]
	k.races = []func(){func() {
		_, err := k.store.Fire(t.Context(), store.Fire{ScheduleID: "s", Version: 1, Was: was, Next: next, Firing: store.Firing{Time: was}})
		require.NoError(t, err)
	}}
	_, err = k.update(t, &adminv1.Schedule{ScheduleId: "s", Jitter: durationpb.New(time.Minute)}, "jitter")
	require.NoError(t, err)
	require.Equal(t, next, times(k.get(t, "s"))[0])
}

// The versions of two schedules with one id are the same.
func TestAnEtagIsOfOneSchedule(t *testing.T) {
	t.Parallel()
	k := newTimekeeper(t)
	first, err := k.create(t, daily(t, "s"))
	require.NoError(t, err)
	_, err = k.Service.DeleteSchedule(t.Context(), &adminv1.DeleteScheduleRequest{ScheduleId: "s", Etag: first.Etag})
	require.NoError(t, err)
	k.now = k.now.Add(time.Second)
	second, err := k.create(t, daily(t, "s"))
	require.NoError(t, err)
	require.NotEqual(t, first.Etag, second.Etag)
	_, err = k.update(t, &adminv1.Schedule{ScheduleId: "s", Etag: first.Etag}, "jitter")
	requireReason(t, err, codes.Aborted, mismatch)
	_, err = k.Service.DeleteSchedule(t.Context(), &adminv1.DeleteScheduleRequest{ScheduleId: "s", Etag: first.Etag})
	requireReason(t, err, codes.Aborted, mismatch)
	require.True(t, proto.Equal(second, k.get(t, "s")))
}

func TestListSchedules(t *testing.T) {
	t.Parallel()
	k := newTimekeeper(t)
	var want []string
	for i := range 2*maxListed + 7 {
		id := fmt.Sprintf("s%03d", i)
		want = append(want, id)
		s := daily(t, id)
		if i >= 100 {
			s.Task.Payload.Value = make([]byte, maxSchedulePayload)
		}
		_, err := k.create(t, s)
		require.NoError(t, err)
	}
	for _, size := range []int32{0, 1, 33, 1000} {
		var got []string
		r := &adminv1.ListSchedulesRequest{PageSize: size}
		for {
			page, err := k.Service.ListSchedules(t.Context(), r)
			require.NoError(t, err)
			require.Less(t, proto.Size(page), maxPageBytes+1000)
			for _, s := range page.Schedules {
				require.Len(t, s.NextTimes, 1)
				got = append(got, s.ScheduleId)
			}
			if r.PageToken = page.NextPageToken; r.PageToken == "" {
				break
			}
			require.NotEmpty(t, page.Schedules)
		}
		require.Equal(t, want, got)
	}
	_, err := k.Service.ListSchedules(t.Context(), &adminv1.ListSchedulesRequest{PageToken: "x"})
	requireReason(t, err, codes.InvalidArgument, badPageToken)
}
