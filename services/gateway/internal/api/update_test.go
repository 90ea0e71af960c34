package api

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	stateReason    = taskv1.ErrorReason_ERROR_REASON_TASK_STATE
	mismatchReason = taskv1.ErrorReason_ERROR_REASON_ETAG_MISMATCH
)

func update1(t testing.TB, service *TaskService, id, etag string, u *taskv1.TaskUpdate, paths ...string) (*taskv1.Task, error) {
	t.Helper()
	answer, err := service.UpdateTask(t.Context(), &taskv1.UpdateTaskRequest{
		TaskId: id, Etag: etag, Update: u, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}, Reason: "because",
	})
	return answer.GetTask(), err
}

func stateOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.Metadata["state"]
		}
	}
	return ""
}

func TestATaskForLaterCanBeChanged(t *testing.T) {
	t.Parallel()
	service, s, woken := newLater(t, stopped())
	begin := time.Now().UTC().Truncate(time.Microsecond)
	was := submitLater(t, service, begin.Add(time.Hour))
	next, expire := begin.Add(2*time.Hour), begin.Add(3*time.Hour)
	labels := map[string]string{"a": "b"}
	got, err := update1(t, service, was.TaskId, was.Etag, &taskv1.TaskUpdate{
		ScheduleTime: timestamppb.New(next), ExpireTime: timestamppb.New(expire), Priority: taskv1.Priority_PRIORITY_CRITICAL, Labels: labels,
	}, "schedule_time", "expire_time", "priority", "labels")
	require.NoError(t, err)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SCHEDULED, got.State)
	require.Equal(t, next, got.ScheduleTime.AsTime())
	require.Equal(t, expire, got.ExpireTime.AsTime())
	require.Equal(t, taskv1.Priority_PRIORITY_CRITICAL, got.Priority)
	require.Equal(t, labels, got.Labels)
	require.NotEqual(t, was.Etag, got.Etag)
	require.Equal(t, next, (*woken)[1])
	m := message(t, s, was.TaskId)
	require.Equal(t, expire, m.ExpireTime.UTC())
	require.Equal(t, task.PriorityCritical, m.Priority)
	require.Equal(t, labels, m.Labels)
	due, _, err := s.TakeDue(t.Context(), begin.Add(90*time.Minute), time.Millisecond, 10, nil)
	require.NoError(t, err)
	require.Empty(t, due)

	_, err = update1(t, service, was.TaskId, was.Etag, &taskv1.TaskUpdate{}, "labels")
	requireReason(t, err, codes.Aborted, mismatchReason)

	// What is not set goes back to what it is without it, and what has passed is now.
	got, err = update1(t, service, was.TaskId, "", &taskv1.TaskUpdate{ScheduleTime: timestamppb.New(begin.Add(-time.Hour))},
		"schedule_time", "expire_time", "priority", "labels")
	require.NoError(t, err)
	require.Nil(t, got.ExpireTime)
	require.Equal(t, taskv1.Priority_PRIORITY_NORMAL, got.Priority)
	require.Empty(t, got.Labels)
	require.WithinRange(t, got.ScheduleTime.AsTime(), begin, time.Now())
	due, _, err = s.TakeDue(t.Context(), time.Now(), time.Minute, 10, nil)
	require.NoError(t, err)
	require.Len(t, due, 1)

	events, err := s.History(t.Context(), was.TaskId)
	require.NoError(t, err)
	require.Len(t, events, 3)
	require.Equal(t, "because", events[1].Reason)
}

// The type's own expiry counts from the time of a task; one that was asked for is a
// time.
func TestTheTypesExpiryGoesWithTheTime(t *testing.T) {
	t.Parallel()
	service, s, _ := newLater(t, stopped())
	inForce(t, service, s, &taskv1.TaskOptions{Expiry: durationpb.New(time.Hour)}, "expiry")
	begin := time.Now().UTC().Truncate(time.Microsecond)
	was := submitLater(t, service, begin.Add(time.Minute))
	for _, at := range []time.Time{begin.Add(3 * time.Hour), begin.Add(time.Second * 90)} {
		got, err := update1(t, service, was.TaskId, "", &taskv1.TaskUpdate{ScheduleTime: timestamppb.New(at)}, "schedule_time")
		require.NoError(t, err)
		require.Equal(t, at.Add(time.Hour), got.ExpireTime.AsTime())
		require.Equal(t, at.Add(time.Hour), message(t, s, was.TaskId).ExpireTime.UTC())
	}
	run, err := service.RunTaskNow(t.Context(), &taskv1.RunTaskNowRequest{TaskId: was.TaskId})
	require.NoError(t, err)
	require.Equal(t, run.Task.ScheduleTime.AsTime().Add(time.Hour), run.Task.ExpireTime.AsTime())

	r := request(t)
	asked := begin.Add(5 * time.Hour)
	r.Delay, r.ExpireTime = durationpb.New(time.Minute), timestamppb.New(asked)
	other, err := service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	later := &taskv1.TaskUpdate{ScheduleTime: timestamppb.New(begin.Add(2 * time.Hour)), ExpireTime: timestamppb.New(asked.Add(time.Hour))}
	got, err := update1(t, service, other.Task.TaskId, "", later, "schedule_time")
	require.NoError(t, err)
	require.Equal(t, asked, got.ExpireTime.AsTime())
	got, err = update1(t, service, other.Task.TaskId, "", later, "expire_time", "schedule_time")
	require.NoError(t, err)
	require.Equal(t, later.ExpireTime.AsTime(), got.ExpireTime.AsTime())
}

func TestUpdatesThatDoNotFit(t *testing.T) {
	t.Parallel()
	service, _, _ := newLater(t, stopped())
	was := submitLater(t, service, time.Now().Add(time.Hour))
	_, err := update1(t, service, was.TaskId, "", &taskv1.TaskUpdate{Labels: map[string]string{"a": strings.Repeat("x", 1<<16)}}, "labels")
	requireReason(t, err, codes.InvalidArgument, invalidReason)
	require.Equal(t, []string{"update.labels"}, fieldsOf(err))
}

func TestUpdatesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	service, _, _ := newLater(t, stopped())
	now := time.Now()
	r := request(t)
	r.Delay, r.ExpireTime = durationpb.New(time.Hour), timestamppb.New(now.Add(2*time.Hour))
	answer, err := service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	at := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(d)) }
	for name, c := range map[string]struct {
		update *taskv1.TaskUpdate
		paths  []string
		field  string
	}{
		"no path":            {nil, nil, "update_mask"},
		"unknown path":       {nil, []string{"type"}, "update_mask"},
		"no time":            {nil, []string{"schedule_time"}, "update.schedule_time"},
		"invalid time":       {&taskv1.TaskUpdate{ScheduleTime: &timestamppb.Timestamp{Nanos: -1}}, []string{"schedule_time"}, "update.schedule_time"},
		"too late":           {&taskv1.TaskUpdate{ScheduleTime: at(11 * 366 * 24 * time.Hour)}, []string{"schedule_time"}, "update.schedule_time"},
		"after its expiry":   {&taskv1.TaskUpdate{ScheduleTime: at(3 * time.Hour)}, []string{"schedule_time"}, "update.schedule_time"},
		"expiry before time": {&taskv1.TaskUpdate{ExpireTime: at(time.Minute)}, []string{"expire_time"}, "update.expire_time"},
		"invalid expiry":     {&taskv1.TaskUpdate{ExpireTime: &timestamppb.Timestamp{Nanos: -1}}, []string{"expire_time"}, "update.expire_time"},
		"both": {&taskv1.TaskUpdate{ScheduleTime: at(5 * time.Hour), ExpireTime: at(4 * time.Hour)},
			[]string{"expire_time", "schedule_time"}, "update.expire_time"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := update1(t, service, answer.Task.TaskId, "", c.update, c.paths...)
			requireReason(t, err, codes.InvalidArgument, invalidReason)
			require.Equal(t, []string{c.field}, fieldsOf(err))
		})
	}
	shown, err := service.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: answer.Task.TaskId})
	require.NoError(t, err)
	require.Equal(t, answer.Task.Etag, shown.Task.Etag, "nothing was changed")
	_, err = update1(t, service, task.NewID(), "", &taskv1.TaskUpdate{}, "labels")
	requireReason(t, err, codes.NotFound, taskv1.ErrorReason_ERROR_REASON_TASK_NOT_FOUND)
}

func TestWhatHasBegunCanBeLabelledOnly(t *testing.T) {
	t.Parallel()
	service, s, _ := newLater(t, stopped())
	id := task.NewID()
	apply(t, s, event(id, 1, 1, task.PhaseStarted))
	labels := map[string]string{"seen": "yes"}
	got, err := update1(t, service, id, "", &taskv1.TaskUpdate{Labels: labels}, "labels")
	require.NoError(t, err)
	require.Equal(t, taskv1.TaskState_TASK_STATE_RUNNING, got.State)
	require.Equal(t, labels, got.Labels)
	_, err = update1(t, service, id, "", &taskv1.TaskUpdate{Labels: labels, Priority: 1}, "labels", "priority")
	requireReason(t, err, codes.FailedPrecondition, stateReason)
	require.Equal(t, "RUNNING", stateOf(err))
	_, err = service.RunTaskNow(t.Context(), &taskv1.RunTaskNowRequest{TaskId: id})
	requireReason(t, err, codes.FailedPrecondition, stateReason)
	apply(t, s, event(id, 1, 1, task.PhaseSucceeded))
	_, err = update1(t, service, id, "", &taskv1.TaskUpdate{}, "labels")
	requireReason(t, err, codes.FailedPrecondition, stateReason)
	require.Equal(t, "SUCCEEDED", stateOf(err))
	shown, err := service.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: id})
	require.NoError(t, err)
	require.Equal(t, labels, shown.Task.Labels)
}

func TestATaskRunsNow(t *testing.T) {
	t.Parallel()
	service, s, woken := newLater(t, stopped())
	was := submitLater(t, service, time.Now().Add(time.Hour))
	begin := time.Now().Truncate(time.Microsecond)
	for range 2 { // the second has nothing to do
		answer, err := service.RunTaskNow(t.Context(), &taskv1.RunTaskNowRequest{TaskId: was.TaskId, Reason: "hurry"})
		require.NoError(t, err)
		require.WithinRange(t, answer.Task.ScheduleTime.AsTime(), begin, time.Now())
		require.EqualValues(t, 2, answer.Task.Version)
	}
	require.Len(t, *woken, 2)
	due, _, err := s.TakeDue(t.Context(), time.Now(), time.Minute, 10, nil)
	require.NoError(t, err)
	require.Len(t, due, 1)

	// It is being put into its queue.
	_, err = update1(t, service, was.TaskId, "", &taskv1.TaskUpdate{Priority: 9}, "priority")
	requireReason(t, err, codes.FailedPrecondition, stateReason)
	require.Equal(t, "SCHEDULED", stateOf(err))
	_, err = service.RunTaskNow(t.Context(), &taskv1.RunTaskNowRequest{TaskId: was.TaskId})
	require.NoError(t, err)
	got, err := update1(t, service, was.TaskId, "", &taskv1.TaskUpdate{Labels: map[string]string{"x": "y"}}, "labels")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"x": "y"}, got.Labels)

	// It is in its queue, and the store learns of that when it catches up.
	require.NoError(t, s.Unschedule(t.Context(), []string{was.TaskId}))
	service.cfg.Projection = &fakes{catchUp: func(context.Context) error {
		apply(t, s, event(was.TaskId, 1, 0, task.PhaseQueued))
		return nil
	}}
	_, err = update1(t, service, was.TaskId, "", &taskv1.TaskUpdate{Priority: 9}, "priority")
	requireReason(t, err, codes.FailedPrecondition, stateReason)
	require.Equal(t, "QUEUED", stateOf(err))
}

// racing lets others in before an update.
type racing struct {
	store.Store
	races []func()
}

func (s *racing) Update(ctx context.Context, version int64, e task.Event, message []byte) (store.Change, error) {
	if len(s.races) > 0 {
		race := s.races[0]
		s.races = s.races[1:]
		race()
	}
	return s.Store.Update(ctx, version, e, message)
}

func TestUpdatesAtTheSameTime(t *testing.T) {
	t.Parallel()
	s := &racing{}
	service, _, _ := newLater(t, stopped(), func(c *Config) { s.Store, c.Store = c.Store, s })
	was := submitLater(t, service, time.Now().Add(time.Hour))
	other := func() {
		_, err := update1(t, service, was.TaskId, "", &taskv1.TaskUpdate{Labels: map[string]string{"other": "1"}}, "labels")
		require.NoError(t, err)
	}
	s.races = []func(){other}
	got, err := update1(t, service, was.TaskId, "", &taskv1.TaskUpdate{Priority: 9}, "priority")
	require.NoError(t, err)
	require.EqualValues(t, 9, got.Priority)
	require.Equal(t, map[string]string{"other": "1"}, got.Labels, "neither is lost")
	s.races = []func(){other}
	_, err = update1(t, service, was.TaskId, got.Etag, &taskv1.TaskUpdate{Priority: 8}, "priority")
	requireReason(t, err, codes.Aborted, mismatchReason)
	for range maxRaces {
		s.races = append(s.races, other, func() {}) // the other one's own comes first
	}
	_, err = update1(t, service, was.TaskId, "", &taskv1.TaskUpdate{Priority: 7}, "priority")
	requireReason(t, err, codes.Aborted, mismatchReason)
}
