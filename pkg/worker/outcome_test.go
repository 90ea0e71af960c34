package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/task"
)

func panicking(value any) error {
	_, err := recovered(func() ([]byte, error) { panic(value) })
	return err
}

// failureOf is the failure of a last attempt that ended with an error, and the
// cause that the task dies of.
func failureOf(err error) (*task.Failure, task.Cause) {
	return rulesOf(1).failureOf(returned{err: err})
}

type testRules struct{ *execution }

// rulesOf is an execution of a type that allows so many attempts.
func rulesOf(attempts int32) testRules {
	compiled, err := policy.Compile(&taskv1.TaskOptions{Retry: &taskv1.RetryPolicy{MaxAttempts: attempts}})
	if err != nil {
		panic(err)
	}
	return testRules{&execution{consumption: &consumption{}, rules: &rules{Policy: compiled}}}
}

func (r testRules) failureOf(end returned) (*task.Failure, task.Cause) {
	f := r.execution.failureOf(end)
	now := time.Now()
	return f, r.rules.Decide(policy.Attempt{Number: 1, Failure: f, RunTime: now, Now: now}).Cause
}

func TestFailureOf(t *testing.T) {
	t.Parallel()
	detailed, err := status.New(codes.FailedPrecondition, "not ready").WithDetails(
		&errdetails.RetryInfo{}, &errdetails.ErrorInfo{Domain: "acme", Reason: "COLD"})
	require.NoError(t, err)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	cases := map[string]struct {
		err     error
		code    codes.Code
		cause   task.Cause
		message string
		details []string
		reason  string
	}{
		"status": {err: status.Error(codes.NotFound, "no such picture"), code: codes.NotFound, cause: task.CausePermanentFailure, message: "no such picture"},
		"status with details": {
			err: detailed.Err(), code: codes.FailedPrecondition, cause: task.CausePermanentFailure, message: "not ready",
			details: []string{"type.googleapis.com/google.rpc.RetryInfo", "type.googleapis.com/google.rpc.ErrorInfo"},
		},
		"wrapped status": {
			err:  fmt.Errorf("resize: %w", detailed.Err()),
			code: codes.FailedPrecondition, cause: task.CausePermanentFailure,
			message: "resize: rpc error: code = FailedPrecondition desc = not ready",
			details: []string{"type.googleapis.com/google.rpc.RetryInfo", "type.googleapis.com/google.rpc.ErrorInfo"},
		},
		"cancelled":           {err: ended.Err(), code: codes.Canceled, cause: task.CausePermanentFailure, message: "context canceled"},
		"deadline":            {err: context.DeadlineExceeded, code: codes.DeadlineExceeded, cause: task.CauseAttemptsExhausted, message: "context deadline exceeded"},
		"wrapped deadline":    {err: fmt.Errorf("fetch: %w", context.DeadlineExceeded), code: codes.DeadlineExceeded, cause: task.CauseAttemptsExhausted, message: "fetch: context deadline exceeded"},
		"plain error":         {err: errors.New("disk on fire"), code: codes.Unknown, cause: task.CauseAttemptsExhausted, message: "disk on fire"},
		"plain, not UTF-8":    {err: errors.New("a\xffb"), code: codes.Unknown, cause: task.CauseAttemptsExhausted, message: "a\uFFFDb"},
		"status, not UTF-8":   {err: status.Error(codes.Aborted, "\xff"), code: codes.Aborted, cause: task.CauseAttemptsExhausted, message: "\uFFFD"},
		"panic":               {err: panicking("ouch"), code: codes.Internal, cause: task.CauseAttemptsExhausted, message: "panic: ouch", reason: "HANDLER_PANICKED"},
		"panic with an error": {err: panicking(status.Error(codes.NotFound, "x")), code: codes.Internal, cause: task.CauseAttemptsExhausted, message: "panic: rpc error: code = NotFound desc = x", reason: "HANDLER_PANICKED"},
		"panic, not UTF-8":    {err: panicking("\xff"), code: codes.Internal, cause: task.CauseAttemptsExhausted, message: "panic: \uFFFD", reason: "HANDLER_PANICKED"},
		"undecodable": {
			err: fmt.Errorf("%w: wrong wire type", errUndecodable), code: codes.InvalidArgument, cause: task.CauseUndecodable,
			message: "the payload can't be decoded: wrong wire type", reason: "PAYLOAD_UNDECODABLE",
		},
		"status that says OK": {err: fine{}, code: codes.Unknown, cause: task.CauseAttemptsExhausted, message: "fine"},
		"details, not UTF-8": {
			err: status.FromProto(&spb.Status{Code: 5, Message: "x", Details: []*anypb.Any{{TypeUrl: "a\xffb"}}}).Err(), code: codes.NotFound,
			cause: task.CausePermanentFailure, message: "x", details: []string{"a\uFFFDb"},
		},
		"too large": {
			err:  fmt.Errorf("send: %w", &tooLargeError{reason: taskv1.ErrorReason_ERROR_REASON_RESULT_TOO_LARGE, message: "over", limit: 7}),
			code: codes.ResourceExhausted, cause: task.CausePermanentFailure, message: "over", reason: "RESULT_TOO_LARGE",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f, cause := failureOf(c.err)
			require.Equal(t, c.cause, cause)
			require.EqualValues(t, c.code, f.Code)
			require.Equal(t, c.message, f.Message)
			if c.reason != "" {
				require.Len(t, f.Details, 1)
				info := errorInfo(t, f)
				require.Equal(t, "warren", info.Domain)
				require.Equal(t, c.reason, info.Reason)
			} else {
				var urls []string
				for _, d := range f.Details {
					urls = append(urls, d.TypeURL)
				}
				require.Equal(t, c.details, urls)
			}
			e := task.Event{
				TaskID: task.NewID(), Type: "a.v1.A.B", Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseDeadLettered, Copy: task.NewCopy()},
				Failure: f, Cause: cause,
			}
			b, err := broker.EncodeEvent(&e)
			require.NoError(t, err, "every failure must be fit to be told")
			got, err := broker.DecodeEvent(b)
			require.NoError(t, err)
			require.Equal(t, f.Code, got.Failure.Code)
			require.Equal(t, f.Message, got.Failure.Message)
			require.Equal(t, f.Stack, got.Failure.Stack)
		})
	}
}

// fine is an error whose status is OK.
type fine struct{}

func (fine) Error() string              { return "fine" }
func (fine) GRPCStatus() *status.Status { return status.New(codes.OK, "fine") }

func TestFailureIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 1<<20)
	for name, err := range map[string]error{
		"plain": errors.New(long), "status": status.Error(codes.NotFound, long), "panic": panicking(long),
		"undecodable": fmt.Errorf("%w: %s", errUndecodable, long),
	} {
		f, _ := failureOf(err)
		require.LessOrEqual(t, len(f.Message), 17<<10, name)
		require.True(t, utf8.ValidString(f.Message), name)
		require.Contains(t, f.Message, "cut", name)
	}
	st := &spb.Status{Code: 5, Message: "told"}
	for range 100 {
		st.Details = append(st.Details, &anypb.Any{TypeUrl: "a", Value: make([]byte, 1<<10)})
	}
	f, _ := failureOf(status.FromProto(st).Err())
	require.NotEmpty(t, f.Details)
	size := 0
	for _, d := range f.Details {
		size += len(d.TypeURL) + len(d.Value)
	}
	require.LessOrEqual(t, size, 32<<10)
	require.Contains(t, f.Message, "told")
	require.Contains(t, f.Message, "details", "that some are missing is said")
}

func errorInfo(t testing.TB, f *task.Failure) *errdetails.ErrorInfo {
	t.Helper()
	var info errdetails.ErrorInfo
	a := &anypb.Any{TypeUrl: f.Details[0].TypeURL, Value: f.Details[0].Value}
	require.NoError(t, a.UnmarshalTo(&info))
	return &info
}

func TestTooLargeNamesTheLimit(t *testing.T) {
	t.Parallel()
	f, _ := failureOf(&tooLargeError{reason: taskv1.ErrorReason_ERROR_REASON_STREAM_TOO_LARGE, limit: 42})
	require.Equal(t, map[string]string{"limit_bytes": "42"}, errorInfo(t, f).Metadata)
}

// ouch is a name to find in a stack.
func ouch(depth int) int {
	if depth > 0 {
		return 1 + ouch(depth-1)
	}
	panic("ouch")
}

func TestPanicHasItsStack(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{0, 1000} {
		_, err := recovered(func() ([]byte, error) { return make([]byte, ouch(depth)), nil })
		require.ErrorContains(t, err, "ouch")
		f, _ := failureOf(err)
		require.Contains(t, f.Stack, "worker.ouch(", "where it panicked")
		require.LessOrEqual(t, len(f.Stack), 8<<10)
		require.True(t, utf8.ValidString(f.Stack))
		require.NotContains(t, f.Message, "goroutine", "the stack is no part of the message")
	}
}

func TestRecoveredPassesOnWhatReturns(t *testing.T) {
	t.Parallel()
	fails := errors.New("no")
	reply, err := recovered(func() ([]byte, error) { return []byte("r"), fails })
	require.Equal(t, []byte("r"), reply)
	require.Equal(t, fails, err)
}

func TestCauseOfEveryCode(t *testing.T) {
	t.Parallel()
	again := map[codes.Code]bool{
		codes.Unknown: true, codes.DeadlineExceeded: true, codes.ResourceExhausted: true,
		codes.Aborted: true, codes.Internal: true, codes.Unavailable: true,
	}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		want := task.CausePermanentFailure
		if again[code] {
			want = task.CauseAttemptsExhausted
		}
		_, cause := failureOf(status.Error(code, "x"))
		require.Equal(t, want, cause, code.String())
	}
}

func TestInterruptedIsNotTheTasksFault(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		cause error
		phase task.Phase
	}{
		"drain":       {errDraining, task.PhaseReleased},
		"lost":        {broker.ErrDeliveryLost, task.PhaseLost},
		"lost, named": {fmt.Errorf("receive: %w", broker.ErrDeliveryLost), task.PhaseLost},
		"other":       {errors.New("x"), 0},
		"none":        {nil, 0},
	}
	for name, c := range cases {
		phase, ok := interrupted(c.cause)
		require.Equal(t, c.phase, phase, name)
		require.Equal(t, c.phase != 0, ok, name)
	}
	// A timeout of the attempt is the task's own.
	_, ok := interrupted(context.DeadlineExceeded)
	require.False(t, ok)
}

func TestStreamLimits(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	cases := map[string]struct {
		messages, bytes int64
		next            int
		reason          taskv1.ErrorReason
	}{
		"first":               {0, 0, 10, 0},
		"largest message":     {0, 0, limit, 0},
		"message too large":   {0, 0, limit + 1, taskv1.ErrorReason_ERROR_REASON_RESULT_TOO_LARGE},
		"the 1000th":          {999, 0, 1, 0},
		"the 1001st":          {1000, 0, 1, taskv1.ErrorReason_ERROR_REASON_STREAM_TOO_LARGE},
		"the last byte":       {4, 4<<20 - 10, 10, 0},
		"one byte more":       {4, 4<<20 - 10, 11, taskv1.ErrorReason_ERROR_REASON_STREAM_TOO_LARGE},
		"empty, at the brink": {4, 4 << 20, 0, 0},
	}
	for name, c := range cases {
		s := responseStream{messages: c.messages, bytes: c.bytes}
		err := s.check(make([]byte, c.next), limit)
		if c.reason == 0 {
			require.NoError(t, err, name)
			continue
		}
		var large *tooLargeError
		require.ErrorAs(t, err, &large, name)
		require.Equal(t, c.reason, large.reason, name)
	}
}

func TestMessageOfATooLargeResultSaysWhatToDo(t *testing.T) {
	t.Parallel()
	f, _ := failureOf(resultTooLarge(11, 10))
	require.True(t, strings.Contains(f.Message, "11 bytes") && strings.Contains(f.Message, "limit is 10"), f.Message)
}
