package api

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/later"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// due are tasks whose time is taken to have come.
func due(t testing.TB, s store.Store, again bool, ids ...string) (tasks []later.Task) {
	t.Helper()
	for _, id := range ids {
		tasks = append(tasks, later.Task{Message: message(t, s, id), Again: again})
	}
	return tasks
}

func TestWhatIsDueIsPublished(t *testing.T) {
	t.Parallel()
	service, s, b := newBrokerService(t)
	d := Due{TaskService: service.TaskService}
	at := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	first, second := submitLater(t, service.TaskService, at), submitLater(t, service.TaskService, at)
	ids := []string{first.TaskId, second.TaskId}
	begin := time.Now()
	require.Equal(t, []error{nil, nil}, d.PublishDue(t.Context(), due(t, s, false, ids...)))
	require.Equal(t, []error{nil}, d.PublishDue(t.Context(), due(t, s, true, ids[0])))

	copies := map[task.Copy]bool{}
	for _, got := range b.Drain(t, names.Work(typeDelay)) {
		header, ok := got.Headers["warren-task"].([]byte)
		require.True(t, ok)
		m := headerOf(t, header)
		require.True(t, m.Resend, "it asks for a permit")
		require.WithinRange(t, m.RunTime, begin.Add(-time.Second), time.Now())
		require.Empty(t, got.Expiration)
		copies[m.Copy] = true
	}
	require.Len(t, copies, 3, "each publish has its own")
	events := service.written(t, 3)
	apply(t, s, events...)
	for _, e := range events {
		require.Equal(t, task.PhaseQueued, e.Key.Phase)
		require.True(t, copies[e.Key.Copy])
		require.WithinRange(t, e.Time, begin.Add(-time.Second), time.Now())
	}
	shown, err := service.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: ids[0]})
	require.NoError(t, err)
	require.Equal(t, taskv1.TaskState_TASK_STATE_QUEUED, shown.Task.State)
	require.Equal(t, at, shown.Task.ScheduleTime.AsTime())
	require.WithinDuration(t, begin, shown.Task.CreateTime.AsTime(), time.Minute)
}

func TestWhatIsDueHasAFullQueue(t *testing.T) {
	t.Parallel()
	for overflow, want := range map[taskv1.Overflow]error{taskv1.Overflow_OVERFLOW_REFUSE: later.ErrFull, taskv1.Overflow_OVERFLOW_DEAD_LETTER: nil} {
		service, s, b := newBrokerService(t)
		d := Due{TaskService: service.TaskService}
		inForce(t, service.TaskService, s, &taskv1.TaskOptions{QueueLimit: &taskv1.QueueLimit{MaxLength: 1, Overflow: overflow}}, "queue_limit")
		at := time.Now().Add(time.Hour)
		ids := []string{submitLater(t, service.TaskService, at).TaskId, submitLater(t, service.TaskService, at).TaskId, submitLater(t, service.TaskService, at).TaskId}
		require.NoError(t, d.PublishDue(t.Context(), due(t, s, false, ids[0]))[0])
		brokertest.Eventually(t, patience, func() bool { return service.cfg.Depth.AtLimit(typeDelay, 1) })
		require.Equal(t, []error{want}, d.PublishDue(t.Context(), due(t, s, false, ids[1])))
		again := d.PublishDue(t.Context(), due(t, s, true, ids[2]))
		require.Equal(t, []error{want}, again)
		waiting, dead := b.Drain(t, names.Work(typeDelay)), b.Drain(t, names.Dead())
		if want == nil {
			require.Len(t, waiting, 2, "what may be in the queue is no dead letter")
			require.Len(t, dead, 1)
			require.Equal(t, ids[1], dead[0].MessageId)
		} else {
			require.Len(t, waiting, 1)
			require.Empty(t, dead)
		}
	}
}

// What was surely not published is told from what may have been.
func TestWhatIsDueIsNotPublished(t *testing.T) {
	t.Parallel()
	f := stopped()
	service, s, _ := newLater(t, f)
	d := Due{TaskService: service}
	id := submitLater(t, service, time.Now().Add(time.Hour)).TaskId
	for _, c := range []struct {
		err  error
		none bool
	}{{broker.ErrNotSent, true}, {broker.ErrUnknown, false}} {
		f.errs = []error{c.err}
		err := d.PublishDue(t.Context(), due(t, s, false, id))[0]
		require.ErrorIs(t, err, c.err)
		require.Equal(t, c.none, errors.Is(err, later.ErrNotPublished))
	}
	// It is published, but nobody could be told.
	err := d.PublishDue(t.Context(), due(t, s, false, id))[0]
	require.Error(t, err)
	require.NotErrorIs(t, err, later.ErrNotPublished)
}

func TestTasksOfSchedules(t *testing.T) {
	t.Parallel()
	f := stopped()
	service, s, _ := newLater(t, f)
	inForce(t, service, s, &taskv1.TaskOptions{Expiry: durationpb.New(time.Hour)}, "expiry")
	r, at, id := request(t), time.Now().Add(time.Minute).UTC().Truncate(time.Microsecond), task.NewID()
	require.NoError(t, service.CheckTask(r))
	made, err := service.MakeTask(t.Context(), r, "nightly", id, at)
	require.NoError(t, err)
	require.NoError(t, made.Event.Validate())
	require.Equal(t, at, made.Event.ScheduleTime)
	require.Equal(t, at.Add(time.Hour), made.Event.Head.ExpireTime)
	m, err := broker.DecodeTask(made.Message)
	require.NoError(t, err)
	require.Equal(t, "nightly", m.ScheduleID)
	require.Equal(t, id, m.ID)
	_, err = s.Schedule(t.Context(), []store.Scheduled{*made})
	require.NoError(t, err)
	shown, err := service.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: id})
	require.NoError(t, err)
	require.Equal(t, "nightly", shown.Task.ScheduleId)

	for field, edit := range map[string]func(*taskv1.SubmitTaskRequest){
		"type":             func(r *taskv1.SubmitTaskRequest) { r.Type = "a.B.C" },
		"payload.type_url": func(r *taskv1.SubmitTaskRequest) { r.Payload.TypeUrl = "x/y" },
		"timeout":          func(r *taskv1.SubmitTaskRequest) { r.Timeout = durationpb.New(24 * time.Hour) },
		"expire_time":      func(r *taskv1.SubmitTaskRequest) { r.ExpireTime = timestamppb.New(at) },
	} {
		bad := proto.CloneOf(r)
		edit(bad)
		_, err := service.MakeTask(t.Context(), bad, "nightly", id, at)
		require.Equal(t, []string{field}, fieldsOf(err))
		if field != "expire_time" {
			require.Equal(t, []string{field}, fieldsOf(service.CheckTask(bad)))
		}
	}
	service.cfg.CatalogueLoaded = func() bool { return false }
	r.Type = "a.B.C"
	_, err = service.MakeTask(t.Context(), r, "nightly", id, at)
	requireReason(t, err, codes.Unavailable, notSubmittedReason)
	require.Empty(t, f.published)
}

// headerOf decodes the header of a message, by the way of one that waits.
func headerOf(t testing.TB, header []byte) *broker.TaskMessage {
	t.Helper()
	h := new(brokerv1.TaskHeader)
	require.NoError(t, proto.Unmarshal(header, h))
	b, err := proto.Marshal(&brokerv1.StoredTask{Header: h})
	require.NoError(t, err)
	m, err := broker.DecodeTask(b)
	require.NoError(t, err)
	return m
}
