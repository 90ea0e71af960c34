package workertest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	unary  = demov1.ImageService_Thumbnail_FullMethodName
	stream = demov1.ImageService_ContactSheet_FullMethodName
)

// images has the handlers of a test.
type images struct {
	demov1.UnimplementedImageServiceServer
	thumbnail func(context.Context, *demov1.ThumbnailRequest) (*demov1.ThumbnailResponse, error)
	sheet     func(grpc.ServerStreamingServer[demov1.ContactSheetResponse]) error
}

func (i *images) Thumbnail(ctx context.Context, r *demov1.ThumbnailRequest) (*demov1.ThumbnailResponse, error) {
	return i.thumbnail(ctx, r)
}

func (i *images) ContactSheet(_ *demov1.ContactSheetRequest, ss grpc.ServerStreamingServer[demov1.ContactSheetResponse]) error {
	return i.sheet(ss)
}

func (i *images) register(r grpc.ServiceRegistrar) { demov1.RegisterImageServiceServer(r, i) }

// thumbnail runs a handler that only has a context and an error.
func thumbnail(t testing.TB, f func(context.Context) error, opts ...Option) *Result {
	t.Helper()
	i := &images{thumbnail: func(ctx context.Context, r *demov1.ThumbnailRequest) (*demov1.ThumbnailResponse, error) {
		return &demov1.ThumbnailResponse{Width: r.MaxWidth}, f(ctx)
	}}
	return Run(t, i.register, unary, &demov1.ThumbnailRequest{MaxWidth: 7}, opts...)
}

func sheet(t testing.TB, f func(grpc.ServerStreamingServer[demov1.ContactSheetResponse]) error, opts ...Option) *Result {
	t.Helper()
	return Run(t, (&images{sheet: f}).register, stream, &demov1.ContactSheetRequest{}, opts...)
}

func TestWhatAHandlerSees(t *testing.T) {
	t.Parallel()
	id := task.NewID()
	var steps []string
	intercept := func(name string) grpc.UnaryServerInterceptor {
		return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			steps = append(steps, name+" "+info.FullMethod)
			return next(ctx, req)
		}
	}
	res := thumbnail(t, func(ctx context.Context) error {
		info, ok := task.FromContext(ctx)
		require.True(t, ok)
		require.Equal(t, task.Info{
			ID: id, Type: "demo.v1.ImageService.Thumbnail", Run: 2, Attempt: 3, Redelivered: true, Labels: map[string]string{"team": "a"},
		}, info)
		md, _ := metadata.FromIncomingContext(ctx)
		require.Equal(t, metadata.MD{"x-request-id": {"r-1"}, "key-bin": {"\xff"}}, md)
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		require.InDelta(t, time.Minute, time.Until(deadline), float64(10*time.Second))
		require.NoError(t, grpc.SetHeader(ctx, metadata.Pairs("x-cost", "1", "warren-no", "1")))
		require.NoError(t, grpc.SetTrailer(ctx, metadata.Pairs("x-left", "2")))
		task.Progress(ctx, 0.25, "a")
		task.Progress(ctx, 0.5, "b")
		return nil
	}, TaskID(id), TaskRun(2), Attempt(3), Redelivered(), Labels(map[string]string{"team": "a"}), Timeout(time.Minute),
		Metadata(metadata.Pairs("x-request-id", "r-1", "key-bin", "\xff", "authorization", "secret")),
		UnaryInterceptors(intercept("outer"), intercept("inner")))
	require.NoError(t, res.Err())
	require.Equal(t, task.StateSucceeded, res.State)
	require.True(t, res.Begun)
	require.Equal(t, codes.OK, res.Status.Code())
	require.Nil(t, res.Failure)
	require.True(t, proto.Equal(&demov1.ThumbnailResponse{Width: 7}, res.Message()))
	require.Equal(t, metadata.MD{"x-cost": {"1"}}, res.Headers)
	require.Equal(t, metadata.MD{"x-left": {"2"}}, res.Trailers)
	require.Len(t, res.Progress, 2, "none is left out")
	require.Equal(t, "b", res.Progress[1].Message)
	require.Equal(t, []string{"outer " + unary, "inner " + unary}, steps)
}

func TestStreams(t *testing.T) {
	t.Parallel()
	wrapped := false
	res := sheet(t, func(ss grpc.ServerStreamingServer[demov1.ContactSheetResponse]) error {
		m := &demov1.ContactSheetResponse{}
		for i := range int32(3) {
			m.Placed = i // handlers reuse messages
			require.NoError(t, ss.Send(m))
		}
		return nil
	}, StreamInterceptors(func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		wrapped = info.IsServerStream
		return next(srv, ss)
	}))
	require.NoError(t, res.Err())
	require.True(t, wrapped)
	require.Len(t, res.Messages, 3)
	require.True(t, proto.Equal(&demov1.ContactSheetResponse{Placed: 2}, res.Message()))

	none := sheet(t, func(grpc.ServerStreamingServer[demov1.ContactSheetResponse]) error { return nil })
	require.NoError(t, none.Err())
	require.Nil(t, none.Message())

	failed := sheet(t, func(ss grpc.ServerStreamingServer[demov1.ContactSheetResponse]) error {
		require.NoError(t, ss.Send(&demov1.ContactSheetResponse{}))
		return status.Error(codes.Unavailable, "cut")
	})
	require.Equal(t, task.StateRetrying, failed.State)
	require.Len(t, failed.Messages, 1)
	require.Equal(t, codes.Unavailable, failed.Status.Code())

	many := sheet(t, func(ss grpc.ServerStreamingServer[demov1.ContactSheetResponse]) error {
		for range 2000 {
			_ = ss.Send(&demov1.ContactSheetResponse{})
		}
		return nil
	})
	require.Equal(t, codes.ResourceExhausted, many.Status.Code())
	require.Equal(t, task.StateDeadLettered, many.State)
}

func TestWhatFollowsAFailure(t *testing.T) {
	t.Parallel()
	fixed := &taskv1.TaskOptions{Retry: &taskv1.RetryPolicy{MaxAttempts: 3, Backoff: &taskv1.Backoff{
		Jitter: taskv1.Jitter_JITTER_NONE, Kind: &taskv1.Backoff_Fixed{Fixed: durationpb.New(3 * time.Second)},
	}}}
	unavailable := status.Error(codes.Unavailable, "away")
	cases := map[string]struct {
		err     error
		opts    []Option
		state   task.State
		code    codes.Code
		delay   time.Duration
		next    int
		cause   task.Cause
		decided string
	}{
		"retried": {err: unavailable, state: task.StateRetrying, code: codes.Unavailable, delay: 3 * time.Second, next: 2, decided: "attempt 1 of 3"},
		"the last attempt": {
			err: unavailable, opts: []Option{Attempt(3)}, state: task.StateDeadLettered, code: codes.Unavailable,
			cause: task.CauseAttemptsExhausted, decided: "attempt 3 of 3",
		},
		"the submission allows less": {
			err: unavailable, opts: []Option{Attempt(2), RetryPolicy(&taskv1.RetryPolicy{MaxAttempts: 2})}, state: task.StateDeadLettered,
			code: codes.Unavailable, cause: task.CauseAttemptsExhausted, decided: "attempt 2 of 2",
		},
		"permanent": {err: task.Permanent(unavailable), state: task.StateDeadLettered, code: codes.Unavailable, cause: task.CausePermanentFailure},
		"not retried": {
			err: status.Error(codes.InvalidArgument, "no"), state: task.StateDeadLettered, code: codes.InvalidArgument, cause: task.CausePermanentFailure,
		},
		"retried later": {
			err: task.RetryAfter(errors.New("busy"), time.Hour), state: task.StateRetrying, code: codes.Unknown, delay: time.Hour, next: 2,
		},
		"expires before the retry": {
			err: unavailable, opts: []Option{ExpireTime(time.Now().Add(time.Minute)), TypeOptions(&taskv1.TaskOptions{
				Retry: &taskv1.RetryPolicy{Backoff: &taskv1.Backoff{Jitter: taskv1.Jitter_JITTER_NONE, Kind: &taskv1.Backoff_Fixed{Fixed: durationpb.New(time.Hour)}}},
			})},
			state: task.StateDeadLettered, code: codes.Unavailable, cause: task.CauseExpired,
		},
		"over its budget": {
			err: unavailable, opts: []Option{RunTime(time.Now().Add(-8 * 24 * time.Hour))}, state: task.StateDeadLettered, code: codes.Unavailable,
			cause: task.CauseAttemptsExhausted,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res := thumbnail(t, func(context.Context) error { return c.err }, append([]Option{TypeOptions(fixed)}, c.opts...)...)
			require.Equal(t, c.state, res.State, res.Decision)
			require.Equal(t, c.code, res.Status.Code())
			require.Equal(t, c.next, res.NextAttempt)
			require.InDelta(t, c.delay, res.Delay, float64(time.Second))
			require.Equal(t, c.cause, res.Cause)
			require.Contains(t, res.Decision, c.decided)
			require.Empty(t, res.Messages)
			require.Equal(t, c.code, status.Code(res.Err()))
			require.ErrorContains(t, res.Err(), c.state.String())
		})
	}
}

func TestNoAttemptIsSpent(t *testing.T) {
	t.Parallel()
	snoozed := thumbnail(t, func(context.Context) error { return task.Snooze(time.Minute) }, Attempt(2))
	require.Equal(t, task.StateRetrying, snoozed.State)
	require.Equal(t, 2, snoozed.NextAttempt)
	require.InDelta(t, time.Minute, snoozed.Delay, float64(time.Second))
	require.Nil(t, snoozed.Status)
	require.ErrorContains(t, snoozed.Err(), "RETRYING")

	tooOften := thumbnail(t, func(context.Context) error { return task.Snooze(time.Minute) }, Snoozed(1000))
	require.Equal(t, task.StateRetrying, tooOften.State)
	require.Equal(t, 2, tooOften.NextAttempt, "from then on they are spent")

	back := thumbnail(t, func(context.Context) error { return task.NotBegun(errors.New("no store")) })
	require.Equal(t, task.StateQueued, back.State)
	require.Contains(t, back.Decision, "no store")
	require.InDelta(t, time.Second, back.Delay, float64(time.Second))
	require.Nil(t, back.Status)
}

func TestPanicsAndDetails(t *testing.T) {
	t.Parallel()
	res := thumbnail(t, func(context.Context) error { panic("no picture") })
	require.Equal(t, task.KindPanic, res.Failure.Kind)
	require.Contains(t, res.Failure.Stack, "run_test.go")
	require.Equal(t, codes.Internal, res.Status.Code())
	require.Equal(t, "HANDLER_PANICKED", res.Status.Details()[0].(*errdetails.ErrorInfo).Reason)

	large := thumbnail(t, func(context.Context) error { return nil }, MaxResultBytes(1))
	require.Equal(t, task.StateDeadLettered, large.State)
	require.Equal(t, "RESULT_TOO_LARGE", large.Status.Details()[0].(*errdetails.ErrorInfo).Reason)
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		waits := func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		res := thumbnail(t, waits)
		require.Equal(t, 10*time.Minute, time.Since(began), "the default of a type without options")
		require.Equal(t, codes.DeadlineExceeded, res.Status.Code())
		require.Equal(t, task.KindTimeout, res.Failure.Kind)
		require.Equal(t, task.StateRetrying, res.State)
	})
}

func TestCancelledAndDrained(t *testing.T) {
	t.Parallel()
	over := func(begun chan<- struct{}, cause *error) func(context.Context) error {
		return func(ctx context.Context) error {
			close(begun)
			<-ctx.Done()
			*cause = context.Cause(ctx)
			return ctx.Err()
		}
	}
	signal := func() (chan struct{}, context.Context) {
		begun := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-begun
			cancel()
		}()
		return begun, ctx
	}
	var cause error
	begun, ctx := signal()
	res := thumbnail(t, over(begun, &cause), CancelledBy(ctx, "a mistake"))
	require.ErrorIs(t, cause, task.ErrCancelled)
	require.Equal(t, task.StateCancelled, res.State)
	require.Equal(t, "a mistake", res.Reason)
	require.ErrorContains(t, res.Err(), "a mistake")

	begun, ctx = signal()
	res = thumbnail(t, over(begun, &cause), DrainedBy(ctx))
	require.ErrorContains(t, cause, "DRAINING")
	require.Equal(t, task.StateQueued, res.State)
	require.Zero(t, res.NextTime)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	never := func(context.Context) error { return errors.New("it was called") }
	for name, opts := range map[string][]Option{
		"CANCELLED":                           {CancelledBy(ended, "before")},
		"DEAD_LETTERED (its expire time":      {ExpireTime(time.Now().Add(-time.Second))},
		"attempt 9 is due, but the policy in": {Attempt(9)},
	} {
		res := thumbnail(t, never, opts...)
		require.False(t, res.Begun, name)
		require.ErrorContains(t, res.Err(), name)
	}
}

func TestWhatIsWrongWithATest(t *testing.T) {
	t.Parallel()
	ok := &images{}
	twice := func(r grpc.ServiceRegistrar) {
		r.RegisterService(&grpc.ServiceDesc{ServiceName: "acme.v1.Nobody", Methods: []grpc.MethodDesc{{MethodName: "A"}}}, nil)
	}
	cases := map[string]struct {
		register func(grpc.ServiceRegistrar)
		method   string
		request  proto.Message
		opts     []Option
	}{
		"nothing to work on":                     {func(grpc.ServiceRegistrar) {}, unary, &demov1.ThumbnailRequest{}, nil},
		`no task type "demo.v1.ImageService.No"`: {ok.register, "demo.v1.ImageService/No", &demov1.ThumbnailRequest{}, nil},
		"not a demo.v1.ContactSheetRequest":      {ok.register, unary, &demov1.ContactSheetRequest{}, nil},
		"no request":                             {ok.register, unary, nil, nil},
		"collect the registered services":        {twice, "acme.v1.Nobody.A", &demov1.ThumbnailRequest{}, nil},
		"attempt 0":                              {ok.register, unary, &demov1.ThumbnailRequest{}, []Option{Attempt(0)}},
		"the task's id":                          {ok.register, unary, &demov1.ThumbnailRequest{}, []Option{TaskID("x")}},
		"refuse the submission: timeout":         {ok.register, unary, &demov1.ThumbnailRequest{}, []Option{Timeout(time.Hour)}},
		"options of the task type": {ok.register, unary, &demov1.ThumbnailRequest{}, []Option{TypeOptions(&taskv1.TaskOptions{
			Timeout: durationpb.New(-time.Second),
		})}},
	}
	for problem, c := range cases {
		_, err := run(c.register, strings.ReplaceAll(strings.TrimPrefix(c.method, "/"), "/", "."), c.request, c.opts)
		require.ErrorContains(t, err, problem)
	}
}
