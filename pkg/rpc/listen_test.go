package rpc_test

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
)

// debugging logs everything to where log does.
func debugging(log *slog.Logger) *slog.Logger { return slog.New(everything{log.Handler()}) }

type everything struct{ slog.Handler }

func (everything) Enabled(context.Context, slog.Level) bool { return true }

func TestListenRefusesToBeReachable(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "10.0.0.1:7070", "[2001:db8::1]:0", "[::ffff:10.0.0.1]:0",
		"example.com:0", "localhost.example.com:0", "127.0.0.1.example.com:0",
	} {
		_, err := rpc.Listen(t.Context(), "metrics-listen", address, false)
		require.ErrorContains(t, err, "--metrics-listen "+address)
		require.ErrorContains(t, err, "--insecure")
	}
}

func TestListenOnLoopback(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:0", "localhost:0", "127.1.2.3:0"} {
		l, err := rpc.Listen(t.Context(), "listen", address, false)
		require.NoError(t, err, address)
		require.True(t, l.Addr().(*net.TCPAddr).IP.IsLoopback())
		_, err = rpc.Listen(t.Context(), "listen", l.Addr().String(), false)
		require.ErrorContains(t, err, "--listen", "in use")
		require.NoError(t, l.Close())
	}
}

func TestListenAnywhereIfMeant(t *testing.T) {
	t.Parallel()
	l, err := rpc.Listen(t.Context(), "listen", "0.0.0.0:0", true)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestListenNeedsAnAddress(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "7070", "127.0.0.1", "127.0.0.1:http-ish:1"} {
		_, err := rpc.Listen(t.Context(), "listen", address, true)
		require.ErrorContains(t, err, "--listen", address)
	}
}

// served is a server under [rpc.Serve].
type served struct {
	tasks    taskv1.TaskServiceClient
	stop     context.CancelFunc
	stopping chan struct{}
	ended    chan error
}

func serveFor(t *testing.T, grace time.Duration, do func(context.Context) error) *served {
	t.Helper()
	s, _ := newServer(t, do)
	l, err := rpc.Listen(t.Context(), "listen", "127.0.0.1:0", false)
	require.NoError(t, err)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	out := &served{tasks: taskv1.NewTaskServiceClient(conn), stop: cancel, stopping: make(chan struct{}), ended: make(chan error, 1)}
	go func() { out.ended <- rpc.Serve(ctx, s, l, grace, func() { close(out.stopping) }) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, conn.Close())
	})
	return out
}

func (s *served) call(ctx context.Context) <-chan error {
	answered := make(chan error, 1)
	go func() {
		_, err := s.tasks.GetTask(ctx, &taskv1.GetTaskRequest{TaskId: id}, grpc.WaitForReady(true))
		answered <- err
	}()
	return answered
}

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func TestServeLetsCallsFinish(t *testing.T) {
	t.Parallel()
	started, finish := make(chan struct{}, 1), make(chan struct{})
	s := serveFor(t, time.Hour, func(ctx context.Context) error {
		started <- struct{}{}
		select {
		case <-finish:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	answered := s.call(t.Context())
	receive(t, started)
	s.stop()
	receive(t, s.stopping)
	require.Empty(t, s.ended, "a call is under way")
	close(finish)
	require.NoError(t, receive(t, answered))
	require.NoError(t, receive(t, s.ended))
	_, err := s.tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: id})
	require.Equal(t, codes.Unavailable, status.Code(err), "nobody listens any more")
}

func TestServeCutsOffAfterTheGrace(t *testing.T) {
	t.Parallel()
	const grace = 50 * time.Millisecond
	started, cut := make(chan struct{}, 1), make(chan error, 1)
	s := serveFor(t, grace, func(ctx context.Context) error {
		started <- struct{}{}
		<-ctx.Done()
		cut <- ctx.Err()
		return ctx.Err()
	})
	answered := s.call(t.Context())
	receive(t, started)
	begin := time.Now()
	s.stop()
	require.Error(t, receive(t, answered))
	require.NoError(t, receive(t, s.ended))
	require.ErrorIs(t, receive(t, cut), context.Canceled)
	require.GreaterOrEqual(t, time.Since(begin), grace)
}

func TestServeSaysWhyItCantServe(t *testing.T) {
	t.Parallel()
	s, _ := newServer(t, nil)
	l, err := rpc.Listen(t.Context(), "listen", "127.0.0.1:0", false)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.ErrorContains(t, rpc.Serve(t.Context(), s, l, time.Second, func() {}), "serve gRPC")
}

func TestServeThatIsNotWantedAnyMore(t *testing.T) {
	t.Parallel()
	for range 50 {
		s, _ := newServer(t, nil)
		l, err := rpc.Listen(t.Context(), "listen", "127.0.0.1:0", false)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, rpc.Serve(ctx, s, l, time.Second, func() {}))
	}
}
