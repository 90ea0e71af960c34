package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/tasktypes"
)

const (
	notSubmittedReason = taskv1.ErrorReason_ERROR_REASON_NOT_SUBMITTED
	unknownReason      = taskv1.ErrorReason_ERROR_REASON_SUBMISSION_UNKNOWN
	invalidReason      = taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST
	conflictReason     = taskv1.ErrorReason_ERROR_REASON_TASK_ID_CONFLICT
	fullReason         = taskv1.ErrorReason_ERROR_REASON_QUEUE_FULL
)

// inForce stores an operator's override of the type that the tests submit to.
func inForce(t testing.TB, service *TaskService, s store.Store, options *taskv1.TaskOptions, paths ...string) {
	t.Helper()
	b, err := proto.Marshal(options)
	require.NoError(t, err)
	require.NoError(t, s.PutOverride(t.Context(), store.Override{
		TaskType: typeDelay, Version: 1, Options: b, Paths: paths, Reason: "a test", Time: time.Now(),
	}))
	types, ok := service.cfg.Types.(*tasktypes.Types)
	require.True(t, ok)
	require.NoError(t, types.Refresh(t.Context()))
}

func fieldsOf(err error) []string {
	var fields []string
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.FieldViolations {
				fields = append(fields, v.Field)
			}
		}
	}
	return fields
}

func retryDelayOf(err error) time.Duration {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return info.RetryDelay.AsDuration()
		}
	}
	return 0
}

// stopped has a submission end after its task was published.
func stopped() *fakes { return &fakes{writeErr: broker.ErrWriterStopped} }

func TestBadSubmissionsNameTheField(t *testing.T) {
	t.Parallel()
	f := stopped()
	service, s := newService(t, f)
	inForce(t, service, s, &taskv1.TaskOptions{
		Timeout: durationpb.New(time.Minute), Retry: &taskv1.RetryPolicy{MaxAttempts: 3, Budget: durationpb.New(time.Hour)},
	}, "timeout", "retry.max_attempts", "retry.budget")
	for name, c := range map[string]struct {
		edit  func(*taskv1.SubmitTaskRequest)
		field string
	}{
		"timeout":  {func(r *taskv1.SubmitTaskRequest) { r.Timeout = durationpb.New(2 * time.Minute) }, "timeout"},
		"attempts": {func(r *taskv1.SubmitTaskRequest) { r.Retry = &taskv1.RetryPolicy{MaxAttempts: 4} }, "retry.max_attempts"},
		"budget": {func(r *taskv1.SubmitTaskRequest) {
			r.Retry = &taskv1.RetryPolicy{Budget: durationpb.New(2 * time.Hour)}
		}, "retry.budget"},
		"rules": {func(r *taskv1.SubmitTaskRequest) {
			r.Retry = &taskv1.RetryPolicy{Rules: []*taskv1.RetryRule{{Action: taskv1.RetryAction_RETRY_ACTION_RETRY}}}
		}, "retry.rules"},
		"expired":   {func(r *taskv1.SubmitTaskRequest) { r.ExpireTime = timestamppb.New(time.Now().Add(-time.Second)) }, "expire_time"},
		"no time":   {func(r *taskv1.SubmitTaskRequest) { r.ExpireTime = &timestamppb.Timestamp{Nanos: -1} }, "expire_time"},
		"long ago":  {func(r *taskv1.SubmitTaskRequest) { r.ExpireTime = &timestamppb.Timestamp{} }, "expire_time"},
		"far ahead": {func(r *taskv1.SubmitTaskRequest) { r.ExpireTime = &timestamppb.Timestamp{Seconds: 1 << 60} }, "expire_time"},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(t)
			c.edit(r)
			_, err := service.SubmitTask(t.Context(), r)
			requireReason(t, err, codes.InvalidArgument, invalidReason)
			require.Equal(t, []string{c.field}, fieldsOf(err))
			require.Contains(t, status.Convert(err).Message(), c.field)
		})
	}
	require.Empty(t, f.published)
}

func TestWhatASubmissionAsksForTravelsWithItsTask(t *testing.T) {
	t.Parallel()
	f := stopped()
	service, s := newService(t, f)
	inForce(t, service, s, &taskv1.TaskOptions{
		Priority: taskv1.Priority_PRIORITY_HIGH, Expiry: durationpb.New(time.Hour), QueueLimit: &taskv1.QueueLimit{MaxLength: 7},
	}, "priority", "expiry", "queue_limit.max_length")
	r := request(t)
	_, err := service.SubmitTask(t.Context(), r)
	requireReason(t, err, codes.Unavailable, unknownReason)
	m := f.published[0]
	require.Equal(t, task.PriorityHigh, m.Priority, "the type's")
	require.Equal(t, m.CreateTime.Add(time.Hour), m.ExpireTime, "the type's")
	require.Equal(t, m.CreateTime, m.RunTime)
	require.True(t, m.ExpireInBroker)
	require.False(t, m.Resend)
	require.Nil(t, m.Timeout)
	require.Nil(t, m.Retry)
	require.Equal(t, []int64{7}, f.limits)

	expire := time.Now().Add(time.Minute).Truncate(time.Microsecond)
	r.Priority, r.ExpireTime, r.Timeout = taskv1.Priority_PRIORITY_LOW, timestamppb.New(expire), durationpb.New(time.Second)
	r.Retry = &taskv1.RetryPolicy{MaxAttempts: 2}
	_, err = service.SubmitTask(t.Context(), r)
	requireReason(t, err, codes.Unavailable, unknownReason)
	m = f.published[1]
	require.Equal(t, task.PriorityLow, m.Priority)
	require.True(t, expire.Equal(m.ExpireTime))
	require.Equal(t, time.Second, m.Timeout.AsDuration())
	require.EqualValues(t, 2, m.Retry.MaxAttempts)
	e := queued(m)
	require.True(t, expire.Equal(e.Head.ExpireTime))
	require.True(t, expire.Equal(accepted(e, names).ExpireTime.AsTime()))
}

// queuedAs has the store know a submission as it was accepted.
func queuedAs(t testing.TB, s store.Store, id string, r *taskv1.SubmitTaskRequest) {
	t.Helper()
	e := event(id, 1, 0, task.PhaseQueued)
	digest := sha256.Sum256(r.Payload.Value)
	e.Payload = &task.Payload{Bytes: r.Payload.Value, Size: int64(len(r.Payload.Value)), SHA256: digest[:]}
	apply(t, s, e)
}

func TestRepeatedSubmissions(t *testing.T) {
	t.Parallel()
	f := stopped()
	service, s := newService(t, f)
	r := request(t)
	r.TaskId = strings.ToUpper(task.NewID())
	id := strings.ToLower(r.TaskId)
	resent := func(err error) {
		t.Helper()
		requireReason(t, err, codes.Unavailable, unknownReason)
		m := f.published[len(f.published)-1]
		require.Equal(t, id, m.ID)
		require.True(t, m.Resend)
		require.False(t, m.ExpireInBroker, "another message of its run may be under way")
		require.Contains(t, status.Convert(err).Message(), "call again with this task_id")
	}
	_, err := service.SubmitTask(t.Context(), r)
	resent(err)
	_, err = service.SubmitTask(t.Context(), r)
	resent(err)
	require.NotEqual(t, f.published[0].Copy, f.published[1].Copy, "each is a message of its own")

	// Its worker was faster than its QUEUED event, or that was lost.
	apply(t, s, event(id, 1, 1, task.PhaseStarted))
	_, err = service.SubmitTask(t.Context(), r)
	resent(err)

	queuedAs(t, s, id, r)
	before := len(f.published)
	answer, err := service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	require.True(t, answer.AlreadySubmitted)
	require.Equal(t, id, answer.Task.TaskId)
	require.Equal(t, taskv1.TaskState_TASK_STATE_RUNNING, answer.Task.State, "as of now")
	r.ExpireTime = timestamppb.New(time.Now().Add(-time.Second))
	answer, err = service.SubmitTask(t.Context(), r)
	require.NoError(t, err, "it had not expired then")
	require.True(t, answer.AlreadySubmitted)

	other := request(t)
	other.TaskId, other.Payload.Value = r.TaskId, append(other.Payload.Value, other.Payload.Value...)
	_, err = service.SubmitTask(t.Context(), other)
	requireReason(t, err, codes.AlreadyExists, conflictReason)
	require.Equal(t, []string{"payload"}, fieldsOf(err))

	foreign := event(task.NewID(), 1, 0, task.PhaseQueued)
	foreign.Type = "acme.v1.ImageService.Resize"
	apply(t, s, foreign)
	r.TaskId = foreign.TaskID
	_, err = service.SubmitTask(t.Context(), r)
	requireReason(t, err, codes.AlreadyExists, conflictReason)
	require.Equal(t, []string{"type"}, fieldsOf(err))
	require.Len(t, f.published, before, "nothing was submitted")
}

// slowStore answers when its caller has given up.
type slowStore struct{ store.Store }

func (slowStore) Task(ctx context.Context, _ string) (task.Task, error) {
	<-ctx.Done()
	return task.Task{}, fmt.Errorf("read: %w", ctx.Err())
}

func TestRepeatedSubmissionsNeedNoStore(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]store.Store{
		"unavailable": &brokenStore{err: fmt.Errorf("%w: locked", store.ErrUnavailable)},
		"slow":        slowStore{},
	} {
		f := stopped()
		service, _ := newService(t, f, func(cfg *Config) { cfg.Store = broken })
		r := request(t)
		r.TaskId = task.NewID()
		_, err := service.SubmitTask(t.Context(), r)
		requireReason(t, err, codes.Unavailable, unknownReason)
		require.Len(t, f.published, 1, name)
		require.True(t, f.published[0].Resend, name)
	}
	f := stopped()
	service, _ := newService(t, f, func(cfg *Config) { cfg.Store = &brokenStore{err: errors.New("corrupt")} })
	r := request(t)
	r.TaskId = task.NewID()
	_, err := service.SubmitTask(t.Context(), r)
	requireReason(t, err, codes.Internal, taskv1.ErrorReason_ERROR_REASON_INTERNAL)
	require.Empty(t, f.published)
}

func TestAFullQueueRefuses(t *testing.T) {
	t.Parallel()
	f := &fakes{full: true}
	service, s := newService(t, f)
	inForce(t, service, s, &taskv1.TaskOptions{QueueLimit: &taskv1.QueueLimit{MaxLength: 7}}, "queue_limit.max_length")
	_, err := service.SubmitTask(t.Context(), request(t))
	requireReason(t, err, codes.ResourceExhausted, fullReason)
	require.Equal(t, fullDelay, retryDelayOf(err))
	require.Contains(t, status.Convert(err).Message(), "limit of 7")
	require.Empty(t, f.published)

	f.notReady = fmt.Errorf("%w: away", broker.ErrNotSent)
	_, err = service.SubmitTask(t.Context(), request(t))
	requireReason(t, err, codes.Unavailable, notSubmittedReason)
}

func TestAFullQueueTakesAResend(t *testing.T) {
	t.Parallel()
	for _, overflow := range []taskv1.Overflow{taskv1.Overflow_OVERFLOW_REFUSE, taskv1.Overflow_OVERFLOW_DEAD_LETTER} {
		f := stopped()
		f.full = true
		service, s := newService(t, f)
		inForce(t, service, s, &taskv1.TaskOptions{QueueLimit: &taskv1.QueueLimit{MaxLength: 7, Overflow: overflow}}, "queue_limit")
		r := request(t)
		r.TaskId = task.NewID()
		_, err := service.SubmitTask(t.Context(), r)
		requireReason(t, err, codes.Unavailable, unknownReason)
		require.Len(t, f.published, 1, "its first message may be in the queue")
		require.True(t, f.published[0].Resend)
		require.Empty(t, f.dead)
	}
}

func TestARefusalByTheBrokerIsUnknown(t *testing.T) {
	t.Parallel()
	nack := fmt.Errorf("%w: refused", broker.ErrUnknown)
	f := &fakes{errs: []error{nack, nack}, atLimit: true}
	service, _ := newService(t, f)
	_, err := service.SubmitTask(t.Context(), request(t))
	requireReason(t, err, codes.ResourceExhausted, unknownReason)
	require.Equal(t, fullDelay, retryDelayOf(err))
	f.atLimit = false
	_, err = service.SubmitTask(t.Context(), request(t))
	requireReason(t, err, codes.Unavailable, unknownReason)
	require.Zero(t, retryDelayOf(err))
	require.Equal(t, []bool{true, true}, f.leftPublished, "the queue may have both")
}

func TestAnOverflowThatIsNotConfirmed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		deadErr error
		reason  taskv1.ErrorReason
	}{
		"not sent":        {fmt.Errorf("%w: away", broker.ErrNotSent), notSubmittedReason},
		"no queue":        {fmt.Errorf("%w: gone", broker.ErrUnroutable), notSubmittedReason},
		"unconfirmed":     {fmt.Errorf("%w: away", broker.ErrUnknown), unknownReason},
		"status not told": {nil, unknownReason},
	} {
		f := stopped()
		f.full, f.deadErr = true, c.deadErr
		service, s := newService(t, f)
		inForce(t, service, s, &taskv1.TaskOptions{
			QueueLimit: &taskv1.QueueLimit{MaxLength: 7, Overflow: taskv1.Overflow_OVERFLOW_DEAD_LETTER},
		}, "queue_limit")
		_, err := service.SubmitTask(t.Context(), request(t))
		requireReason(t, err, codes.Unavailable, c.reason)
		require.Len(t, f.dead, 1, name)
		death := f.dead[0]
		require.Equal(t, task.CauseQueueOverflow, death.Cause)
		require.EqualValues(t, codes.ResourceExhausted, death.Failure.Code)
		require.Equal(t, "QUEUE_FULL", infoOf(t, death.Failure).Reason)
		require.Contains(t, death.Decision, "limit of 7")
	}
}

// infoOf is the ErrorInfo of a failure.
func infoOf(t testing.TB, f *task.Failure) *errdetails.ErrorInfo {
	t.Helper()
	require.Len(t, f.Details, 1)
	info := &errdetails.ErrorInfo{}
	require.NoError(t, proto.Unmarshal(f.Details[0].Value, info))
	require.Equal(t, "type.googleapis.com/google.rpc.ErrorInfo", f.Details[0].TypeURL)
	return info
}
