package rpc_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/health"
	"github.com/warrenmq/warren/pkg/ops"
	"github.com/warrenmq/warren/pkg/rpc"
)

// atOnce is how a server stops in most tests.
var atOnce = rpc.Shutdown{Unready: func() {}, Grace: time.Second}

// served is a server under [rpc.Serve].
type served struct {
	server *grpc.Server
	conn   *grpc.ClientConn
	tasks  taskv1.TaskServiceClient
	stop   context.CancelFunc
	// unready and stopping are closed when it gets so far.
	unready, stopping chan struct{}
	ended             chan error
}

func serveFor(t *testing.T, down rpc.Shutdown, do func(context.Context) error) *served {
	t.Helper()
	s, _ := newServer(t, do)
	l, err := rpc.Listen(t.Context(), "listen", "127.0.0.1:0", false)
	require.NoError(t, err)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	out := &served{
		server: s, conn: conn, tasks: taskv1.NewTaskServiceClient(conn), stop: cancel,
		unready: make(chan struct{}), stopping: make(chan struct{}), ended: make(chan error, 1),
	}
	down.Unready, down.Stopping = func() { close(out.unready) }, func() { close(out.stopping) }
	go func() { out.ended <- rpc.Serve(ctx, s, l, down) }()
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
	s := serveFor(t, rpc.Shutdown{Grace: time.Hour}, func(ctx context.Context) error {
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
	receive(t, s.unready)
	receive(t, s.stopping)
	require.Empty(t, s.ended, "a call is under way")
	close(finish)
	require.NoError(t, receive(t, answered))
	require.NoError(t, receive(t, s.ended))
	_, err := s.tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: id})
	require.Equal(t, codes.Unavailable, status.Code(err), "nobody listens any more")
}

// TestServeTakesCallsForADelay: whoever has not seen yet that it is not ready is
// answered, and what is under way goes on.
func TestServeTakesCallsForADelay(t *testing.T) {
	t.Parallel()
	started, finish := make(chan struct{}, 2), make(chan struct{})
	s := serveFor(t, rpc.Shutdown{Delay: time.Hour, Grace: time.Hour}, func(context.Context) error {
		started <- struct{}{}
		<-finish
		return nil
	})
	before := s.call(t.Context())
	receive(t, started)
	s.stop()
	receive(t, s.unready)
	require.Empty(t, before)
	other, err := grpc.NewClient(s.conn.Target(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	late := (&served{tasks: taskv1.NewTaskServiceClient(other)}).call(t.Context())
	receive(t, started)
	close(finish)
	require.NoError(t, receive(t, before))
	require.NoError(t, receive(t, late), "also over a new connection")
	select {
	case <-s.stopping:
		t.Error("the delay has not passed")
	default:
	}
	s.server.Stop()
	require.NoError(t, receive(t, s.ended), "it waits for no delay any more")
}

func TestServeStopsAfterItsDelay(t *testing.T) {
	t.Parallel()
	const delay = 50 * time.Millisecond
	s := serveFor(t, rpc.Shutdown{Delay: delay, Grace: time.Hour}, nil)
	begin := time.Now()
	s.stop()
	receive(t, s.unready)
	receive(t, s.stopping)
	require.GreaterOrEqual(t, time.Since(begin), delay)
	require.NoError(t, receive(t, s.ended))
}

func TestServeCutsOffAfterTheGrace(t *testing.T) {
	t.Parallel()
	const grace = 50 * time.Millisecond
	started, cut := make(chan struct{}, 1), make(chan error, 1)
	s := serveFor(t, rpc.Shutdown{Grace: grace}, func(ctx context.Context) error {
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
	require.ErrorContains(t, rpc.Serve(t.Context(), s, l, atOnce), "serve gRPC")
}

func TestServeThatIsNotWantedAnyMore(t *testing.T) {
	t.Parallel()
	for range 50 {
		s, _ := newServer(t, nil)
		l, err := rpc.Listen(t.Context(), "listen", "127.0.0.1:0", false)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, rpc.Serve(ctx, s, l, atOnce))
	}
}

// TestReadinessDropsWhileCallsGoOn: whoever asks is told that the process stops, for
// as long as a call is under way.
func TestReadinessDropsWhileCallsGoOn(t *testing.T) {
	t.Parallel()
	started, finish := make(chan struct{}), make(chan struct{})
	server, _ := newServer(t, func(context.Context) error {
		close(started)
		<-finish
		return nil
	})
	log := slog.New(slog.DiscardHandler)
	healthy := health.New(log, "test", health.Check{Service: "a", Works: func(context.Context) error { return nil }})
	port := ops.Config{Ready: healthy.Trouble, Logger: log}.Handler()
	readyz := func() string {
		w := httptest.NewRecorder()
		port.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		return w.Body.String()
	}
	checking, stopChecking := context.WithCancel(t.Context())
	checked := make(chan struct{})
	go func() {
		defer close(checked)
		healthy.Run(checking)
	}()
	l, err := rpc.Listen(t.Context(), "listen", "127.0.0.1:0", false)
	require.NoError(t, err)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- rpc.Serve(ctx, server, l, rpc.Shutdown{Unready: healthy.Shutdown, Grace: time.Hour}) }()
	require.Eventually(t, func() bool { return readyz() == "ready\n" }, patience, time.Millisecond)
	answered := (&served{tasks: taskv1.NewTaskServiceClient(conn)}).call(t.Context())
	receive(t, started)

	stop()
	require.Eventually(t, func() bool { return readyz() == "this test is stopping\n" }, patience, time.Millisecond)
	require.Empty(t, answered)
	require.Empty(t, ended)
	close(finish)
	require.NoError(t, receive(t, answered))
	require.NoError(t, receive(t, ended))
	stopChecking()
	receive(t, checked)
}
