package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
)

func batchOf(requests ...*taskv1.SubmitTaskRequest) *taskv1.BatchSubmitTasksRequest {
	return &taskv1.BatchSubmitTasksRequest{Requests: requests}
}

// requireItem demands an error with one ErrorInfo.
func requireItem(t *testing.T, r *taskv1.BatchSubmitTasksResult, code codes.Code, reason taskv1.ErrorReason) *status.Status {
	t.Helper()
	require.Nil(t, r.GetResponse())
	st := status.FromProto(r.GetError())
	require.Equal(t, code, st.Code(), "%v", st)
	infos := 0
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			infos++
			require.Equal(t, rpc.ReasonName(reason), info.Reason)
		}
	}
	require.Equal(t, 1, infos)
	return st
}

func TestEachOfABatchStandsForItself(t *testing.T) {
	t.Parallel()
	service, _, b := newBrokerService(t)
	wrong, err := anypb.New(&demov1.FailRequest{})
	require.NoError(t, err)
	noPayload := request(t)
	noPayload.Payload = nil
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("x-request-id", "7", "authorization", "secret"))
	r, err := service.BatchSubmitTasks(ctx, batchOf(
		request(t),
		&taskv1.SubmitTaskRequest{Type: "acme.v1.Nobody.Does", Payload: request(t).Payload},
		&taskv1.SubmitTaskRequest{Type: typeDelay, Payload: wrong},
		noPayload,
		&taskv1.SubmitTaskRequest{Type: typeDelay, Payload: request(t).Payload, Labels: map[string]string{"a b": ""}},
		&taskv1.SubmitTaskRequest{Type: typeDelay, Payload: &anypb.Any{TypeUrl: request(t).Payload.TypeUrl, Value: make([]byte, 1001)}},
		request(t),
	))
	require.NoError(t, err)
	require.Len(t, r.Results, 7)
	requireItem(t, r.Results[1], codes.NotFound, taskv1.ErrorReason_ERROR_REASON_TASK_TYPE_NOT_FOUND)
	requireItem(t, r.Results[2], codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_PAYLOAD_TYPE_MISMATCH)
	require.Contains(t, requireItem(t, r.Results[3], codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST).Message(), "payload")
	require.Contains(t, requireItem(t, r.Results[4], codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST).Message(), "labels")
	requireItem(t, r.Results[5], codes.ResourceExhausted, taskv1.ErrorReason_ERROR_REASON_PAYLOAD_TOO_LARGE)
	events := service.written(t, 2)
	messages := b.Drain(t, names.Work(typeDelay))
	require.Len(t, messages, 2)
	for n, i := range []int{0, 6} {
		accepted := r.Results[i].GetResponse().GetTask()
		require.NotNil(t, accepted, "%v", r.Results[i])
		require.Equal(t, taskv1.TaskState_TASK_STATE_QUEUED, accepted.State)
		require.Equal(t, accepted.TaskId, messages[n].MessageId, "in their order")
		require.True(t, slices.ContainsFunc(events, func(e task.Event) bool {
			return e.TaskID == accepted.TaskId && e.Key.Phase == task.PhaseQueued
		}))
	}
}

func TestTheMostThatABatchMayHave(t *testing.T) {
	t.Parallel()
	service, _, b := newBrokerService(t)
	const most = 1000
	var requests []*taskv1.SubmitTaskRequest
	for i := range most {
		r := request(t)
		r.Labels = map[string]string{"n": fmt.Sprint(i)}
		requests = append(requests, r)
	}
	r, err := service.BatchSubmitTasks(t.Context(), batchOf(requests...))
	require.NoError(t, err)
	ids := map[string]bool{}
	for _, result := range r.Results {
		require.NotNil(t, result.GetResponse(), "%v", result)
		require.Empty(t, result.GetResponse().Task.Labels, "they would make the answer too large")
		ids[result.GetResponse().Task.TaskId] = true
	}
	require.Len(t, ids, most)
	messages := b.Drain(t, names.Work(typeDelay))
	require.Len(t, messages, most)
	for i := range messages {
		require.Equal(t, r.Results[i].GetResponse().Task.TaskId, messages[i].MessageId, "the queue has them in their order")
	}
	service.written(t, most)

	require.NoError(t, rpc.Validate(batchOf(requests...)), "what one of them has is no matter of the batch")
	require.Error(t, rpc.Validate(batchOf(append(requests, request(t))...)))
	require.Error(t, rpc.Validate(batchOf()))
	require.NoError(t, rpc.Validate(batchOf(&taskv1.SubmitTaskRequest{})))
}

func TestABatchIsBoundedTogether(t *testing.T) {
	t.Parallel()
	f := &fakes{}
	service, _ := newService(t, f, func(c *Config) { c.MaxPayloadBytes = MaxBatchBytes })
	large := request(t)
	large.Payload.Value = make([]byte, MaxBatchBytes/2+1)
	_, err := service.BatchSubmitTasks(t.Context(), batchOf(large, large))
	requireReason(t, err, codes.ResourceExhausted, taskv1.ErrorReason_ERROR_REASON_PAYLOAD_TOO_LARGE)
	many := metadata.NewIncomingContext(t.Context(), metadata.Pairs("x-large", strings.Repeat("x", task.MaxMetadata+1)))
	_, err = service.BatchSubmitTasks(many, batchOf(request(t)))
	requireReason(t, err, codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
	require.Empty(t, f.published)
}

func TestWhatBecomesOfABatchWhenTheBrokerFails(t *testing.T) {
	t.Parallel()
	notSent, unknown := fmt.Errorf("%w: away", broker.ErrNotSent), fmt.Errorf("%w: away", broker.ErrUnknown)
	unroutable := fmt.Errorf("%w: gone", broker.ErrUnroutable)
	f := &fakes{errs: []error{notSent, unknown, unroutable, unroutable, errors.New("?"), notSent, unknown}}
	service, _ := newService(t, f)
	r, err := service.BatchSubmitTasks(t.Context(), batchOf(request(t), request(t), request(t), request(t), request(t)))
	require.NoError(t, err)
	const notSubmitted, submissionUnknown = taskv1.ErrorReason_ERROR_REASON_NOT_SUBMITTED, taskv1.ErrorReason_ERROR_REASON_SUBMISSION_UNKNOWN
	for i, reason := range []taskv1.ErrorReason{notSubmitted, submissionUnknown, notSubmitted, submissionUnknown, submissionUnknown} {
		requireItem(t, r.Results[i], codes.Unavailable, reason)
	}
	require.Len(t, f.published, 7, "those without a queue are published again")
	require.Equal(t, f.published[2:4], f.published[5:])
	require.Equal(t, f.entered, f.left)

	f = &fakes{notReady: notSent}
	service, _ = newService(t, f)
	r, err = service.BatchSubmitTasks(t.Context(), batchOf(request(t), request(t)))
	require.NoError(t, err)
	for i := range r.Results {
		requireItem(t, r.Results[i], codes.Unavailable, notSubmitted)
	}
}

func TestOneIDTwiceInABatch(t *testing.T) {
	t.Parallel()
	service, _, b := newBrokerService(t)
	id, other := task.NewID(), request(t)
	same, again := request(t), request(t)
	same.TaskId, again.TaskId, other.TaskId = id, strings.ToUpper(id), id
	other.Payload.Value = []byte{10, 2, 8, 99}
	r, err := service.BatchSubmitTasks(t.Context(), batchOf(same, again, other))
	require.NoError(t, err)
	require.Equal(t, id, r.Results[0].GetResponse().GetTask().GetTaskId())
	require.Equal(t, id, r.Results[1].GetResponse().GetTask().GetTaskId())
	require.False(t, r.Results[0].GetResponse().AlreadySubmitted)
	require.True(t, r.Results[1].GetResponse().AlreadySubmitted, "by the request before it")
	requireItem(t, r.Results[2], codes.AlreadyExists, taskv1.ErrorReason_ERROR_REASON_TASK_ID_CONFLICT)
	service.written(t, 1)
	require.Len(t, b.Drain(t, names.Work(typeDelay)), 1)
}

// failRequest is for another type than request.
func failRequest(t testing.TB) *taskv1.SubmitTaskRequest {
	t.Helper()
	fails, err := anypb.New(&demov1.FailRequest{})
	require.NoError(t, err)
	return &taskv1.SubmitTaskRequest{Type: "demo.v1.FaultService.Fail", Payload: fails}
}

// TestOthersOfABatchNeedNotWait: the queue of one type is missing and can't be had.
func TestOthersOfABatchNeedNotWait(t *testing.T) {
	t.Parallel()
	service, _, b := newBrokerService(t)
	asked := make(chan string, 10)
	service.cfg.Redeclare = func(ctx context.Context, taskType string) error {
		asked <- taskType
		<-ctx.Done()
		return ctx.Err()
	}
	missing := failRequest(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	r, err := service.BatchSubmitTasks(ctx, batchOf(missing, request(t), missing, request(t)))
	require.NoError(t, err)
	for _, i := range []int{0, 2} {
		requireItem(t, r.Results[i], codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_NOT_SUBMITTED)
	}
	for _, i := range []int{1, 3} {
		require.NotNil(t, r.Results[i].GetResponse(), "%v", r.Results[i])
	}
	require.Equal(t, missing.Type, <-asked)
	require.Empty(t, asked, "once for all of the type")
	service.written(t, 2)
	require.Len(t, b.Drain(t, names.Work(typeDelay)), 2)
}

func TestABatchBeyondAQueuesLimit(t *testing.T) {
	t.Parallel()
	f := &fakes{full: true}
	service, _ := newService(t, f)
	r, err := service.BatchSubmitTasks(t.Context(), batchOf(request(t), request(t)))
	require.NoError(t, err)
	for i := range r.Results {
		requireItem(t, r.Results[i], codes.ResourceExhausted, taskv1.ErrorReason_ERROR_REASON_QUEUE_FULL)
	}
	require.Empty(t, f.published)
}
