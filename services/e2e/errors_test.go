package e2e

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// requireReason demands exactly one ErrorInfo, of Warren's, with the reason.
func requireReason(t testing.TB, err error, reason string) *errdetails.ErrorInfo {
	t.Helper()
	require.Error(t, err)
	var infos []*errdetails.ErrorInfo
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			infos = append(infos, info)
		}
	}
	require.Len(t, infos, 1, "one ErrorInfo in: %v", err)
	require.Equal(t, "warren", infos[0].Domain)
	require.Equal(t, reason, infos[0].Reason, "%v", err)
	return infos[0]
}

// infoOf is the ErrorInfo of an error, nil for none.
func infoOf(err error) *errdetails.ErrorInfo {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info
		}
	}
	return nil
}

// detail is the one detail of its type that an error has.
func detail[T any](t testing.TB, err error) T {
	t.Helper()
	for _, d := range status.Convert(err).Details() {
		if found, ok := d.(T); ok {
			return found
		}
	}
	require.Fail(t, "no such detail", "%T in %v", *new(T), err)
	return *new(T)
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	p, _ := onVHost(t, withFlags("--max-payload-bytes", "100000"))
	p.startWorker(t)
	p.awaitReady(t, typeDelay)
	p.awaitReady(t, typeResult)

	submit := func(r *taskv1.SubmitTaskRequest) error {
		_, err := p.tasks.SubmitTask(t.Context(), r)
		return err
	}
	labels := map[string]string{}
	for i := range 33 {
		labels["l"+strconv.Itoa(i)] = ""
	}
	fine := payload(t, delay(0))
	cases := map[string]struct {
		err    error
		code   codes.Code
		reason string
		field  string
	}{
		"unknown type":        {submit(&taskv1.SubmitTaskRequest{Type: "acme.v1.Nope.Nothing", Payload: fine}), codes.NotFound, "TASK_TYPE_NOT_FOUND", "type"},
		"no type":             {submit(&taskv1.SubmitTaskRequest{Payload: fine}), codes.InvalidArgument, "INVALID_REQUEST", "type"},
		"no payload":          {submit(&taskv1.SubmitTaskRequest{Type: typeDelay}), codes.InvalidArgument, "INVALID_REQUEST", "payload"},
		"payload of another":  {submit(&taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, &demov1.FailRequest{})}), codes.InvalidArgument, "PAYLOAD_TYPE_MISMATCH", "payload.type_url"},
		"payload of garbage":  {submit(&taskv1.SubmitTaskRequest{Type: typeDelay, Payload: &anypb.Any{TypeUrl: fine.TypeUrl, Value: []byte{0x0a, 0x05, 0x01}}}), codes.InvalidArgument, "PAYLOAD_UNDECODABLE", "payload.delay"},
		"payload too large":   {submit(&taskv1.SubmitTaskRequest{Type: typeResult, Payload: payload(t, &demov1.ThumbnailRequest{Image: make([]byte, 100_001)})}), codes.ResourceExhausted, "PAYLOAD_TOO_LARGE", "payload"},
		"priority too high":   {submit(&taskv1.SubmitTaskRequest{Type: typeDelay, Payload: fine, Priority: 10}), codes.InvalidArgument, "INVALID_REQUEST", "priority"},
		"too many labels":     {submit(&taskv1.SubmitTaskRequest{Type: typeDelay, Payload: fine, Labels: labels}), codes.InvalidArgument, "INVALID_REQUEST", "labels"},
		"get: no id":          {second(p.tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{})), codes.InvalidArgument, "INVALID_REQUEST", "task_id"},
		"get: never accepted": {second(p.tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: uuid.NewString()})), codes.NotFound, "TASK_NOT_FOUND", ""},
		"wait: never accepted": {
			second(p.tasks.WaitTask(t.Context(), &taskv1.WaitTaskRequest{TaskId: uuid.NewString()})), codes.NotFound, "TASK_NOT_FOUND", "",
		},
		"unknown method": {p.conn.Invoke(t.Context(), "/acme.v1.Nope/Nothing", fine, fine), codes.Unimplemented, "METHOD_NOT_FOUND", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.code, status.Code(c.err), "%v", c.err)
			requireReason(t, c.err, c.reason)
			if c.field != "" {
				require.Equal(t, c.field, badField(t, c.err))
			}
		})
	}

	t.Run("tokens of another task", func(t *testing.T) {
		a, b := p.submit(t, typeDelay, delay(0)), p.submit(t, typeDelay, delay(0))
		stream, err := p.tasks.WatchTask(t.Context(), &taskv1.WatchTaskRequest{TaskId: a.TaskId, ResumeToken: b.ResumeToken})
		require.NoError(t, err)
		requireReason(t, second(stream.Recv()), "RESUME_TOKEN_INVALID")
		requireReason(t, second(p.tasks.ListTaskAttempts(t.Context(), &taskv1.ListTaskAttemptsRequest{TaskId: a.TaskId, PageToken: "x"})), "PAGE_TOKEN_INVALID")
	})

	t.Run("result over the limit", func(t *testing.T) {
		done := p.await(t, p.submit(t, typeResult, &demov1.ThumbnailRequest{MaxWidth: 1000, MaxHeight: 101}).TaskId)
		require.Equal(t, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, done.State)
		require.Equal(t, taskv1.Cause_CAUSE_PERMANENT_FAILURE, done.Cause)
		require.EqualValues(t, codes.ResourceExhausted, done.Failure.Code)
		require.Contains(t, done.Failure.Message, "the limit is 100000")
	})

	t.Run("stream over the limit", func(t *testing.T) {
		done := p.await(t, p.submit(t, typeStream, &demov1.ContactSheetRequest{Columns: 1001}).TaskId)
		require.Equal(t, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, done.State)
		require.Contains(t, done.Failure.Message, "1000 messages")
	})
}

func second[T any](_ T, err error) error { return err }

func badField(t testing.TB, err error) string {
	t.Helper()
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			return bad.FieldViolations[0].Field
		}
	}
	t.Fatalf("no BadRequest in %v", err)
	return ""
}

func TestBrokerDown(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	p := newPlatform(t, proxy.URL())
	p.startWorkerOn(t, b.URL)
	p.awaitReady(t, typeDelay)
	p.awaitHealth(t, taskv1.TaskService_ServiceDesc.ServiceName, true, 5*time.Second)

	submit := func(within time.Duration) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		begin := time.Now()
		_, err := p.tasks.SubmitTask(ctx, &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(0))}, grpc.WaitForReady(false))
		return time.Since(begin), err
	}

	// A broker that hangs: whether it has the task is unknown.
	proxy.Stall()
	took, err := submit(time.Second)
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.NotEmpty(t, requireReason(t, err, "SUBMISSION_UNKNOWN").Metadata["task_id"])
	require.Less(t, took, time.Second)
	p.awaitHealth(t, taskv1.TaskService_ServiceDesc.ServiceName, false, 5*time.Second)

	// A broker that is away: nothing was submitted.
	proxy.Cut()
	brokertest.Eventually(t, 20*time.Second, func() bool {
		took, err = submit(time.Second)
		require.Less(t, took, time.Second)
		return status.Convert(err).Message() != "" && reasonOf(err) == "NOT_SUBMITTED"
	})
	proxy.Restore()
	p.awaitHealth(t, taskv1.TaskService_ServiceDesc.ServiceName, true, 10*time.Second)
	p.await(t, p.submit(t, typeDelay, delay(0)).TaskId)
}

func reasonOf(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}
