package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
)

func ownError() *rpc.Error {
	return rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_TASK_NOT_FOUND, "no task %d; check the id", 7).
		With("task_id", "x").Field("task_id", "unknown").Because(errors.New("secret"))
}

func withInfo(t testing.TB, code codes.Code, domain, reason string) error {
	t.Helper()
	st, err := status.New(code, "told").WithDetails(&errdetails.ErrorInfo{Domain: domain, Reason: reason})
	require.NoError(t, err)
	return st.Err()
}

func TestEveryErrorHasOneErrorInfo(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		do      func() error
		code    codes.Code
		reason  string
		message string
	}{
		"own":              {func() error { return ownError() }, codes.NotFound, "TASK_NOT_FOUND", "no task 7; check the id"},
		"own, wrapped":     {func() error { return fmt.Errorf("secret: %w", ownError()) }, codes.NotFound, "TASK_NOT_FOUND", "no task 7; check the id"},
		"plain":            {func() error { return errors.New("secret") }, codes.Internal, "INTERNAL", "internal error"},
		"panic":            {func() error { panic("secret") }, codes.Internal, "INTERNAL", "internal error"},
		"panic, error":     {func() error { panic(ownError()) }, codes.Internal, "INTERNAL", "internal error"},
		"cancelled":        {func() error { return context.Canceled }, codes.Canceled, "CALL_ENDED", "canceled"},
		"deadline":         {func() error { return context.DeadlineExceeded }, codes.DeadlineExceeded, "CALL_ENDED", "deadline exceeded"},
		"deadline wrapped": {func() error { return fmt.Errorf("read: %w", context.DeadlineExceeded) }, codes.DeadlineExceeded, "CALL_ENDED", "deadline exceeded"},
		"internal":         {func() error { return status.Error(codes.Internal, "secret") }, codes.Internal, "INTERNAL", "internal error"},
		"unknown":          {func() error { return status.Error(codes.Unknown, "secret") }, codes.Internal, "INTERNAL", "internal error"},
		"invalid":          {func() error { return status.Error(codes.InvalidArgument, "told") }, codes.InvalidArgument, "INVALID_REQUEST", "told"},
		"unimplemented":    {func() error { return status.Error(codes.Unimplemented, "told") }, codes.Unimplemented, "METHOD_NOT_FOUND", "told"},
		"exhausted":        {func() error { return status.Error(codes.ResourceExhausted, "told") }, codes.ResourceExhausted, "PAYLOAD_TOO_LARGE", "told"},
		"unavailable":      {func() error { return status.Error(codes.Unavailable, "told") }, codes.Unavailable, "SHUTTING_DOWN", "told"},
		"another's info":   {func() error { return withInfo(t, codes.InvalidArgument, "acme", "X") }, codes.InvalidArgument, "INVALID_REQUEST", "told"},
		"its own info":     {func() error { return withInfo(t, codes.Aborted, "warren", "STORE_UNAVAILABLE") }, codes.Aborted, "STORE_UNAVAILABLE", "told"},
	}
	for name, c := range cases {
		conn, _ := serve(t, func(context.Context) error { return c.do() })
		for kind, call := range calls(conn) {
			t.Run(name+"/"+kind, func(t *testing.T) {
				err := call(t.Context(), id)
				require.Equal(t, c.code, status.Code(err))
				require.Equal(t, c.reason, requireInfo(t, err).Reason)
				require.Contains(t, status.Convert(err).Message(), c.message)
				require.NotContains(t, fmt.Sprint(status.Convert(err).Proto()), "secret")
				require.NotContains(t, fmt.Sprint(status.Convert(err).Proto()), "goroutine")
			})
		}
	}
}

func TestOwnErrorsKeepTheirDetails(t *testing.T) {
	t.Parallel()
	conn, _ := serve(t, func(context.Context) error { return ownError() })
	err := calls(conn)["unary"](t.Context(), id)
	require.Equal(t, map[string]string{"task_id": "x"}, requireInfo(t, err).Metadata)
	require.Equal(t, []string{"task_id"}, violations(t, err))
	require.ErrorContains(t, ownError(), "secret", "who logs it sees the cause")
	require.ErrorIs(t, ownError().Because(context.Canceled), context.Canceled)
}

func TestAnErrorMaySayWhenToCallAgain(t *testing.T) {
	t.Parallel()
	conn, _ := serve(t, func(context.Context) error {
		return rpc.Errorf(codes.ResourceExhausted, taskv1.ErrorReason_ERROR_REASON_QUEUE_FULL, "full").RetryAfter(1500 * time.Millisecond)
	})
	for kind, call := range calls(conn) {
		err := call(t.Context(), id)
		require.Equal(t, "QUEUE_FULL", requireInfo(t, err).Reason, kind)
		var delays []time.Duration
		for _, d := range status.Convert(err).Details() {
			if info, ok := d.(*errdetails.RetryInfo); ok {
				delays = append(delays, info.RetryDelay.AsDuration())
			}
		}
		require.Equal(t, []time.Duration{1500 * time.Millisecond}, delays, kind)
	}
}

func TestReasonNames(t *testing.T) {
	t.Parallel()
	for number := range taskv1.ErrorReason_name {
		name := rpc.ReasonName(taskv1.ErrorReason(number))
		require.NotEmpty(t, name)
		require.NotContains(t, name, "ERROR_REASON")
	}
	require.Equal(t, "TASK_NOT_FOUND", rpc.ReasonName(taskv1.ErrorReason_ERROR_REASON_TASK_NOT_FOUND))
}

func TestViolationsNameTheFields(t *testing.T) {
	t.Parallel()
	conn, _ := serve(t, func(context.Context) error { panic("not called") })
	for kind, call := range calls(conn) {
		t.Run(kind, func(t *testing.T) {
			err := call(t.Context(), "x")
			require.Equal(t, codes.InvalidArgument, status.Code(err))
			require.Equal(t, "INVALID_REQUEST", requireInfo(t, err).Reason)
			require.Equal(t, []string{"task_id"}, violations(t, err))
			require.ErrorContains(t, err, "task_id")
		})
	}
	_, err := taskv1.NewTaskServiceClient(conn).SubmitTask(t.Context(), &taskv1.SubmitTaskRequest{
		Priority: 10, Labels: map[string]string{"fine": strings.Repeat("x", 257), "not fine": ""},
	})
	require.Equal(t, "INVALID_REQUEST", requireInfo(t, err).Reason)
	require.ElementsMatch(t, []string{"type", "payload", "priority", `labels["fine"]`, `labels["not fine"]`}, violations(t, err))
}

func TestUnknownMethods(t *testing.T) {
	t.Parallel()
	conn, _ := serve(t, func(context.Context) error { panic("not called") })
	for _, method := range []string{"/acme.v1.Nope/Nothing", "/warren.task.v1.TaskService/Nothing"} {
		err := conn.Invoke(t.Context(), method, &emptypb.Empty{}, &emptypb.Empty{})
		require.Equal(t, codes.Unimplemented, status.Code(err))
		require.Equal(t, "METHOD_NOT_FOUND", requireInfo(t, err).Reason)
		require.ErrorContains(t, err, method)
	}
}

func TestFailureIsWhatTheCallerWouldGet(t *testing.T) {
	t.Parallel()
	e := rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_UNROUTABLE, "no %s", "queue").With("type", "a.B.C").Because(errors.New("secret"))
	f := e.Failure()
	require.Equal(t, task.KindError, f.Kind)
	require.EqualValues(t, codes.NotFound, f.Code)
	require.Equal(t, "no queue", f.Message, "the cause stays here")
	require.Equal(t, "UNROUTABLE", policy.Reason(f))
	require.Empty(t, policy.Reason(nil))
	require.Empty(t, policy.Reason(&task.Failure{Details: []task.Detail{{TypeURL: "x/google.rpc.ErrorInfo", Value: []byte{0xff}}}}))
}
