package forward

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/frame"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/worker/internal/discovery"
	"github.com/warrenmq/warren/services/worker/internal/target"
	"github.com/warrenmq/warren/services/worker/internal/targettest"
)

func TestMain(m *testing.M) {
	// As a process sets it.
	otel.SetTextMapPropagator(propagation.TraceContext{})
	goleak.VerifyTestMain(m)
}

const (
	patience = 15 * time.Second
	unary    = "/" + targettest.Service + "/" + targettest.Unary
	stream   = "/" + targettest.Service + "/" + targettest.Stream
)

var (
	theTask  = task.Info{ID: "task-1", Run: 2, Attempt: 3}
	theTrace = trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1, 2}, SpanID: trace.SpanID{3}, TraceFlags: trace.FlagsSampled})
)

// dial connects to a server, and waits until it can be called.
func dial(t *testing.T, cfg target.Config) *target.Target {
	t.Helper()
	to, err := target.Dial(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { to.Watch(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		require.NoError(t, to.Close())
	})
	brokertest.Eventually(t, patience, func() error { return to.Trouble(t.Context()) })
	return to
}

// front plays the worker's part: it calls the forwarder's handlers for its callers,
// as those of a task, and keeps what they return.
type front struct {
	*grpc.ClientConn

	target *target.Target
	errs   chan error
	// limit bounds an attempt, as a worker does: not known to the caller. cut ends
	// it.
	limit time.Duration
	cut   <-chan struct{}
}

func newFront(t *testing.T, cfg targettest.Config) (*front, *targettest.Server) {
	t.Helper()
	server := targettest.Start(t, cfg)
	return frontOf(t, dial(t, target.Config{Names: []string{server.Addr}}), nil), server
}

func frontOf(t *testing.T, to *target.Target, edit func(*front)) *front {
	t.Helper()
	f := &front{target: to, errs: make(chan error, 100), limit: patience}
	if edit != nil {
		edit(f)
	}
	schema := &discovery.Schema{Services: []discovery.Service{{Name: targettest.Service, Methods: []discovery.Method{
		{Name: targettest.Unary}, {Name: targettest.Stream, ServerStreams: true}, {Name: targettest.Chat, ClientStreams: true, ServerStreams: true},
	}}}}
	listener := serve(t, f, schema)
	conn, err := grpc.NewClient(listener, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(frame.Codec()), grpc.MaxCallRecvMsgSize(64<<20)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	f.ClientConn = conn
	return f
}

func serve(t *testing.T, f *front, schema *discovery.Schema) (address string) {
	t.Helper()
	server := grpc.NewServer(grpc.ForceServerCodecV2(frame.Codec()), grpc.UnaryInterceptor(f.unary), grpc.StreamInterceptor(f.stream), grpc.MaxRecvMsgSize(64<<20))
	(&Forwarder{Target: f.target, Logger: slog.New(slog.DiscardHandler)}).Register(server, schema)
	listener := listen(t)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	return listener.Addr().String()
}

func (f *front) attempt(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = trace.ContextWithSpanContext(task.NewContext(ctx, theTask, nil), theTrace)
	ctx, cancel := context.WithTimeout(ctx, f.limit)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-f.cut:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		<-done
	}
}

func (f *front) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, cancel := f.attempt(ctx)
	defer cancel()
	answer, err := handler(ctx, req)
	f.errs <- err
	return answer, err
}

func (f *front) stream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, cancel := f.attempt(ss.Context())
	defer cancel()
	err := handler(srv, &middleware.WrappedServerStream{ServerStream: ss, WrappedContext: ctx})
	f.errs <- err
	return err
}

// returned is what the handler returned.
func (f *front) returned(t *testing.T) error {
	t.Helper()
	select {
	case err := <-f.errs:
		return err
	case <-time.After(patience):
		require.Fail(t, "the handler does not return")
		return nil
	}
}

// ask makes a unary call.
func (f *front) ask(t *testing.T, in []byte, opts ...grpc.CallOption) ([]byte, error) {
	t.Helper()
	out := &frame.Frame{}
	err := f.Invoke(t.Context(), unary, &frame.Frame{Bytes: in}, out, opts...)
	return out.Bytes, err
}

// follow makes a streaming call and gives what came, up to its end.
func (f *front) follow(ctx context.Context, in []byte, opts ...grpc.CallOption) (messages [][]byte, cs grpc.ClientStream, err error) {
	cs, err = f.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, stream, opts...)
	if err != nil {
		return nil, nil, err
	}
	if err := cs.SendMsg(&frame.Frame{Bytes: in}); err != nil {
		return nil, cs, err
	}
	for {
		message := &frame.Frame{}
		if err := cs.RecvMsg(message); errors.Is(err, io.EOF) {
			return messages, cs, nil
		} else if err != nil {
			return messages, cs, err
		}
		messages = append(messages, message.Bytes)
	}
}

func message() *frame.Frame { return &frame.Frame{} }
