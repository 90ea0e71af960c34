package forward

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/frame"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/worker/internal/targettest"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return listener
}

// echo sends back what it gets, for the streaming method twice.
func echo(_ any, ss grpc.ServerStream) error {
	in := &frame.Frame{}
	if err := ss.RecvMsg(in); err != nil {
		return err
	}
	if method, _ := grpc.MethodFromServerStream(ss); method == stream {
		if err := ss.SendMsg(in); err != nil {
			return err
		}
	}
	return ss.SendMsg(in)
}

func failing(err error) grpc.StreamHandler {
	return func(_ any, ss grpc.ServerStream) error {
		if err := ss.RecvMsg(&frame.Frame{}); err != nil {
			return err
		}
		return err
	}
}

func advice(err error) task.Advice {
	a, _ := task.AdviceOf(err)
	return a
}

func TestMessagesPassAsBytes(t *testing.T) {
	t.Parallel()
	f, _ := newFront(t, targettest.Config{Handle: echo})
	for name, in := range map[string][]byte{
		"none": {}, "no protobuf": {0xff, 0xff, 0xff}, "a few": []byte("message"), "many": bytes.Repeat([]byte{7}, 5<<20),
	} {
		t.Run(name, func(t *testing.T) {
			out, err := f.ask(t, in)
			require.NoError(t, err)
			require.NoError(t, f.returned(t))
			require.True(t, bytes.Equal(in, out))
			messages, _, err := f.follow(t.Context(), in)
			require.NoError(t, err)
			require.NoError(t, f.returned(t))
			require.Len(t, messages, 2)
			require.True(t, bytes.Equal(in, messages[0]) && bytes.Equal(in, messages[1]))
		})
	}
}

func TestStreamsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	f, _ := newFront(t, targettest.Config{Handle: func(_ any, ss grpc.ServerStream) error {
		if err := ss.RecvMsg(&frame.Frame{}); err != nil {
			return err
		}
		for i := range 200 {
			if err := ss.SendMsg(&frame.Frame{Bytes: []byte{byte(i)}}); err != nil {
				return err
			}
		}
		return status.Error(codes.DataLoss, "the end")
	}})
	messages, _, err := f.follow(t.Context(), nil)
	require.Equal(t, codes.DataLoss, status.Code(err))
	require.Len(t, messages, 200)
	for i, m := range messages {
		require.Equal(t, []byte{byte(i)}, m)
	}
}

func TestEachStatusIsTheOutcome(t *testing.T) {
	t.Parallel()
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			want, err := status.New(code, "größer").WithDetails(&errdetails.ErrorInfo{Reason: "WHY", Domain: "acme"}, &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
			require.NoError(t, err)
			f, _ := newFront(t, targettest.Config{Handle: failing(want.Err())})
			_, err = f.ask(t, nil)
			require.Error(t, err)
			err = f.returned(t)
			require.True(t, proto.Equal(want.Proto(), status.Convert(err).Proto()), "%v", err)
			require.Zero(t, advice(err))

			_, _, err = f.follow(t.Context(), nil)
			require.Error(t, err)
			err = f.returned(t)
			require.True(t, proto.Equal(want.Proto(), status.Convert(err).Proto()), "%v", err)
			require.Zero(t, advice(err))
		})
	}
}

func TestACallThatNeverLeftIsNotBegun(t *testing.T) {
	t.Parallel()
	both := func(t *testing.T, f *front) {
		_, err := f.ask(t, nil)
		require.Error(t, err)
		err = f.returned(t)
		require.Equal(t, task.AdviceNotBegun, advice(err), "%v", err)
		require.Equal(t, codes.Unavailable, status.Code(err))
		<-f.target.Changed()
		_, _, err = f.follow(t.Context(), nil)
		require.Error(t, err)
		require.Equal(t, task.AdviceNotBegun, advice(f.returned(t)))
		<-f.target.Changed()
	}
	drain := func(f *front) {
		for len(f.target.Changed()) > 0 {
			<-f.target.Changed()
		}
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		f, server := newFront(t, targettest.Config{Handle: echo})
		server.Stop()
		brokertest.Eventually(t, patience, func() bool { return !f.target.Ready() })
		drain(f)
		both(t, f)
	})
	t.Run("not serving", func(t *testing.T) {
		t.Parallel()
		f, server := newFront(t, targettest.Config{Handle: echo})
		server.Health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		brokertest.Eventually(t, patience, func() bool { return !f.target.Ready() })
		drain(f)
		both(t, f)
		server.Health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
		brokertest.Eventually(t, patience, f.target.Ready)
		_, err := f.ask(t, nil)
		require.NoError(t, err)
	})
	t.Run("no stream is free", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		hold := func(srv any, ss grpc.ServerStream) error {
			select {
			case <-release:
			case <-ss.Context().Done():
			}
			return echo(srv, ss)
		}
		f, _ := newFront(t, targettest.Config{Handle: withoutHealth(hold), NoHealth: true, Options: []grpc.ServerOption{grpc.MaxConcurrentStreams(1)}})
		held := make(chan error, 1)
		go func() {
			_, _, err := f.follow(t.Context(), nil)
			held <- err
		}()
		quick := frontOf(t, f.target, func(f *front) { f.limit = 50 * time.Millisecond })
		brokertest.Eventually(t, patience, func() bool {
			_, err := quick.ask(t, nil)
			require.Error(t, err)
			return advice(quick.returned(t)) == task.AdviceNotBegun
		})
		close(release)
		require.NoError(t, <-held)
	})
	t.Run("the worker ends it before a stream is free", func(t *testing.T) {
		t.Parallel()
		started, release := make(chan struct{}, 2), make(chan struct{})
		f, _ := newFront(t, targettest.Config{NoHealth: true, Options: []grpc.ServerOption{grpc.MaxConcurrentStreams(1)},
			Handle: withoutHealth(func(srv any, ss grpc.ServerStream) error {
				started <- struct{}{}
				select {
				case <-release:
				case <-ss.Context().Done():
				}
				return echo(srv, ss)
			})})
		held := make(chan error, 1)
		go func() {
			_, _, err := f.follow(t.Context(), nil)
			held <- err
		}()
		<-started
		for _, call := range []func(*front) error{
			func(f *front) error { _, err := f.ask(t, nil); return err },
			func(f *front) error { _, _, err := f.follow(t.Context(), nil); return err },
		} {
			cut := make(chan struct{})
			ended := frontOf(t, f.target, func(f *front) { f.cut = cut })
			// Early or late, the call can't have left: the only stream is held.
			time.AfterFunc(20*time.Millisecond, func() { close(cut) })
			require.Error(t, call(ended))
			err := ended.returned(t)
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, task.AdviceNotBegun, advice(err), "%v", err)
		}
		require.Empty(t, started, "the server has seen none of them")
		close(release)
		require.NoError(t, <-held)
	})
}

// withoutHealth answers questions for health as a server does that has none.
func withoutHealth(next grpc.StreamHandler) grpc.StreamHandler {
	return func(srv any, ss grpc.ServerStream) error {
		if method, _ := grpc.MethodFromServerStream(ss); method != unary && method != stream {
			return status.Error(codes.Unimplemented, "unknown")
		}
		return next(srv, ss)
	}
}

func TestACallThatBrokeOffIsAnAttempt(t *testing.T) {
	t.Parallel()
	var server *targettest.Server
	started := make(chan struct{}, 1)
	f, server := newFront(t, targettest.Config{Handle: func(_ any, ss grpc.ServerStream) error {
		started <- struct{}{}
		<-ss.Context().Done()
		return nil
	}})
	go func() {
		<-started
		server.Stop()
	}()
	_, err := f.ask(t, nil)
	require.Error(t, err)
	err = f.returned(t)
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Zero(t, advice(err), "nobody knows what it has done")
}

func TestTheAttemptsEndIsTheCalls(t *testing.T) {
	t.Parallel()
	deadlines, ended, heard := make(chan time.Time, 10), make(chan struct{}, 10), make(chan struct{})
	server := targettest.Start(t, targettest.Config{Handle: withoutHealth(func(_ any, ss grpc.ServerStream) error {
		deadline, _ := ss.Context().Deadline()
		deadlines <- deadline
		<-ss.Context().Done()
		ended <- struct{}{}
		// The deadline may be over here a little before it is for the caller.
		<-heard
		return status.Error(codes.FailedPrecondition, "too late to be heard")
	}), NoHealth: true})
	t.Cleanup(func() { close(heard) })
	to := dialTo(t, server)
	t.Run("timeout", func(t *testing.T) {
		f := frontOf(t, to, func(f *front) { f.limit = 200 * time.Millisecond })
		before := time.Now()
		_, err := f.ask(t, nil)
		require.Error(t, err)
		require.ErrorIs(t, f.returned(t), context.DeadlineExceeded)
		require.WithinRange(t, <-deadlines, before, time.Now().Add(f.limit))
		<-ended
		_, _, err = f.follow(t.Context(), nil)
		require.Error(t, err)
		require.ErrorIs(t, f.returned(t), context.DeadlineExceeded)
		<-deadlines
		<-ended
	})
	t.Run("cancel", func(t *testing.T) {
		for _, call := range []func(*front) error{
			func(f *front) error { _, err := f.ask(t, nil); return err },
			func(f *front) error { _, _, err := f.follow(t.Context(), nil); return err },
		} {
			cut := make(chan struct{})
			f := frontOf(t, to, func(f *front) { f.cut = cut })
			go func() {
				<-deadlines
				close(cut)
			}()
			require.Error(t, call(f))
			err := f.returned(t)
			require.ErrorIs(t, err, context.Canceled)
			require.Zero(t, advice(err))
			<-ended
		}
	})
}

// refusing is a worker's stream that takes no messages.
type refusing struct {
	*middleware.WrappedServerStream

	err error
}

func (r refusing) SetHeader(metadata.MD) error { return nil }
func (r refusing) SetTrailer(metadata.MD)      {}
func (r refusing) SendMsg(any) error           { return r.err }

func TestAMessageThatIsNotTakenEndsTheCall(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	f, _ := newFront(t, targettest.Config{NoHealth: true, Handle: withoutHealth(func(_ any, ss grpc.ServerStream) error {
		defer close(ended)
		for ss.Context().Err() == nil {
			if err := ss.SendMsg(message()); err != nil {
				return err
			}
		}
		return nil
	})})
	tooLarge := errors.New("too large")
	forwarder := &Forwarder{Target: f.target, Logger: slog.New(slog.DiscardHandler)}
	full := refusing{&middleware.WrappedServerStream{WrappedContext: task.NewContext(t.Context(), theTask, nil)}, tooLarge}
	require.Equal(t, tooLarge, forwarder.relay(stream, message(), full))
	<-ended
}

// TestATargetMayNoticeTheDeadlineFirst: a cancelled call would never be tried again, one
// whose time ran out is.
func TestATargetMayNoticeTheDeadlineFirst(t *testing.T) {
	t.Parallel()
	server := targettest.Start(t, targettest.Config{NoHealth: true, Handle: withoutHealth(func(_ any, ss grpc.ServerStream) error {
		deadline, _ := ss.Context().Deadline()
		early := time.NewTimer(time.Until(deadline) - deadlineSkew/2)
		defer early.Stop()
		<-early.C
		return status.Error(codes.Canceled, "the time is over")
	})})
	f := frontOf(t, dialTo(t, server), func(f *front) { f.limit = 300 * time.Millisecond })
	_, err := f.ask(t, nil)
	require.Error(t, err)
	require.ErrorIs(t, f.returned(t), context.DeadlineExceeded)
}
