package api

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const storeReason = taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE

// newLater is a service that tells when it has kept a task for later.
func newLater(t testing.TB, f *fakes, edit ...func(*Config)) (*TaskService, store.Store, *[]time.Time) {
	t.Helper()
	var woken []time.Time
	edit = append(edit, func(c *Config) { c.Later = func(at time.Time) { woken = append(woken, at) } })
	service, s := newService(t, f, edit...)
	return service, s, &woken
}

func submitLater(t testing.TB, service *TaskService, at time.Time) *taskv1.Task {
	t.Helper()
	r := request(t)
	r.ScheduleTime = timestamppb.New(at)
	answer, err := service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	return answer.Task
}

func message(t testing.TB, s store.Store, id string) *broker.TaskMessage {
	t.Helper()
	b, err := s.ScheduledMessage(t.Context(), id)
	require.NoError(t, err)
	m, err := broker.DecodeTask(b)
	require.NoError(t, err)
	return m
}

func TestATaskForLaterWaitsInTheStore(t *testing.T) {
	t.Parallel()
	f := stopped()
	service, s, woken := newLater(t, f)
	r := request(t)
	r.Delay, r.Priority = durationpb.New(time.Hour), taskv1.Priority_PRIORITY_HIGH
	begin := time.Now()
	answer, err := service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	require.Empty(t, f.published)
	accepted := answer.Task
	require.False(t, answer.AlreadySubmitted)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SCHEDULED, accepted.State)
	require.WithinDuration(t, begin.Add(time.Hour), accepted.ScheduleTime.AsTime(), patience)
	require.Equal(t, []time.Time{accepted.ScheduleTime.AsTime()}, *woken)
	number, err := parseResumeToken(accepted.TaskId, accepted.ResumeToken)
	require.NoError(t, err)
	require.Zero(t, number, "before its first event")

	shown, err := service.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: accepted.TaskId, View: taskv1.TaskView_TASK_VIEW_FULL})
	require.NoError(t, err)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SCHEDULED, shown.Task.State)
	require.Equal(t, accepted.ScheduleTime.AsTime(), shown.Task.ScheduleTime.AsTime())
	require.Equal(t, accepted.Etag, shown.Task.Etag)
	require.Equal(t, r.Payload.Value, shown.Task.Payload.Value)
	m := message(t, s, accepted.TaskId)
	require.Equal(t, task.PriorityHigh, m.Priority)
	require.Equal(t, r.Labels, m.Labels)
	require.Equal(t, r.Payload.Value, m.Payload)
}

func TestTimesOfSubmissions(t *testing.T) {
	t.Parallel()
	f := stopped()
	service, s, _ := newLater(t, f)
	inForce(t, service, s, &taskv1.TaskOptions{Expiry: durationpb.New(time.Hour)}, "expiry")
	soon := time.Now().Add(time.Minute).UTC().Truncate(time.Microsecond)
	require.Equal(t, soon.Add(time.Hour), submitLater(t, service, soon).ExpireTime.AsTime(), "the type's counts from then")
	for name, edit := range map[string]func(*taskv1.SubmitTaskRequest){
		"past":     func(r *taskv1.SubmitTaskRequest) { r.ScheduleTime = timestamppb.New(time.Now().Add(-time.Hour)) },
		"long ago": func(r *taskv1.SubmitTaskRequest) { r.ScheduleTime = &timestamppb.Timestamp{} },
		"no delay": func(r *taskv1.SubmitTaskRequest) { r.Delay = durationpb.New(0) },
	} {
		f.published = nil
		r := request(t)
		edit(r)
		_, err := service.SubmitTask(t.Context(), r)
		requireReason(t, err, codes.Unavailable, unknownReason)
		require.Len(t, f.published, 1, "%s is now", name)
	}
	f.published = nil
	for field, edit := range map[string]func(*taskv1.SubmitTaskRequest){
		"schedule_time": func(r *taskv1.SubmitTaskRequest) { r.ScheduleTime = timestamppb.New(time.Now().AddDate(11, 0, 0)) },
		"expire_time": func(r *taskv1.SubmitTaskRequest) {
			r.ScheduleTime, r.ExpireTime = timestamppb.New(soon), timestamppb.New(soon)
		},
	} {
		r := request(t)
		edit(r)
		_, err := service.SubmitTask(t.Context(), r)
		requireReason(t, err, codes.InvalidArgument, invalidReason)
		require.Equal(t, []string{field}, fieldsOf(err))
	}
	r := request(t)
	r.ScheduleTime = &timestamppb.Timestamp{Nanos: -1}
	_, err := service.SubmitTask(t.Context(), r)
	require.Equal(t, []string{"schedule_time"}, fieldsOf(err))
	require.Empty(t, f.published)
}

func TestATaskForLaterIsKeptOnce(t *testing.T) {
	t.Parallel()
	service, _, _ := newLater(t, stopped())
	r := request(t)
	r.TaskId, r.Delay = task.NewID(), durationpb.New(time.Hour)
	first, err := service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	again, err := service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	require.True(t, again.AlreadySubmitted)
	require.Equal(t, first.Task.ScheduleTime.AsTime(), again.Task.ScheduleTime.AsTime(), "a delay is not computed anew")

	// Two calls that both have not found it: the store tells them apart.
	sub := func(payload []byte) *submission {
		return &submission{at: time.Now().Add(time.Hour), message: &broker.TaskMessage{
			ID: r.TaskId, Type: typeDelay, Payload: payload, Run: 1, Copy: task.NewCopy(), CreateTime: time.Now(), RunTime: time.Now(), Priority: 4,
		}}
	}
	same, other := sub(r.Payload.Value), sub([]byte("other"))
	service.schedule(t.Context(), []*submission{same})
	require.NoError(t, same.err)
	require.True(t, same.known)
	require.Equal(t, r.TaskId, same.task.TaskId)
	service.schedule(t.Context(), []*submission{other})
	requireReason(t, other.err, codes.AlreadyExists, conflictReason)
}

// What does not fit into a message is refused, now and later alike; of a trace context
// it is the vendors' part that goes.
func TestTasksThatDoNotFit(t *testing.T) {
	t.Parallel()
	for _, delay := range []time.Duration{0, time.Hour} {
		f := stopped()
		service, _, _ := newLater(t, f)
		large := strings.Repeat("x", 1<<16)
		r := request(t)
		r.Delay, r.Labels = durationpb.New(delay), map[string]string{"a": large}
		_, err := service.SubmitTask(t.Context(), r)
		requireReason(t, err, codes.InvalidArgument, invalidReason)
		require.Equal(t, []string{"labels"}, fieldsOf(err))
		require.Empty(t, f.published)

		taskType, ok := service.cfg.Catalogue.Type(typeDelay)
		require.True(t, ok)
		r = request(t)
		sub, err := service.submission(taskType, r, time.Now(), time.Now().Add(time.Hour))
		require.NoError(t, err)
		sub.message.Metadata = map[string][][]byte{"m": {[]byte(large)}}
		service.schedule(t.Context(), []*submission{sub})
		requireReason(t, sub.err, codes.InvalidArgument, invalidReason)
		require.Equal(t, []string{"metadata"}, fieldsOf(sub.err))
	}
}

// downStore takes nothing for later.
type downStore struct {
	store.Store
	err error
}

func (s *downStore) Schedule(context.Context, []store.Scheduled) ([]store.Change, error) {
	return nil, s.err
}

func TestTasksForLaterNeedTheStore(t *testing.T) {
	t.Parallel()
	for _, err := range []error{fmt.Errorf("%w: locked", store.ErrUnavailable), context.DeadlineExceeded} {
		service, _, woken := newLater(t, stopped(), func(c *Config) { c.Store = &downStore{c.Store, err} })
		r := request(t)
		r.Delay = durationpb.New(time.Hour)
		_, err := service.SubmitTask(t.Context(), r)
		requireReason(t, err, codes.Unavailable, storeReason)
		require.Empty(t, *woken)
	}
}

func TestABatchForNowAndLater(t *testing.T) {
	t.Parallel()
	service, s, b := newBrokerService(t)
	r := &taskv1.BatchSubmitTasksRequest{}
	for i := range 6 {
		one := request(t)
		if i%2 == 1 {
			one.Delay = durationpb.New(time.Hour)
		}
		r.Requests = append(r.Requests, one)
	}
	answer, err := service.BatchSubmitTasks(t.Context(), r)
	require.NoError(t, err)
	for i, result := range answer.Results {
		want := []taskv1.TaskState{taskv1.TaskState_TASK_STATE_QUEUED, taskv1.TaskState_TASK_STATE_SCHEDULED}[i%2]
		require.Equal(t, want, result.GetResponse().GetTask().GetState(), "%v", result.GetError())
	}
	require.Len(t, b.Drain(t, names.Work(typeDelay)), 3)
	n, err := s.CountScheduled(t.Context(), typeDelay)
	require.NoError(t, err)
	require.EqualValues(t, 3, n)
}
