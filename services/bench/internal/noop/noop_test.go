package noop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// registrar keeps what is registered.
type registrar struct {
	desc *grpc.ServiceDesc
	impl any
}

func (r *registrar) RegisterService(desc *grpc.ServiceDesc, impl any) { r.desc, r.impl = desc, impl }

// call calls the method for a task as a worker does.
func (r *registrar) call(id string, payload proto.Message, interceptor grpc.UnaryServerInterceptor) (any, error) {
	return r.attempt(context.Background(), task.Info{ID: id, Attempt: 1}, payload, interceptor)
}

func (r *registrar) attempt(ctx context.Context, info task.Info, payload proto.Message, interceptor grpc.UnaryServerInterceptor) (any, error) {
	ctx = task.NewContext(ctx, info, nil)
	return r.desc.Methods[0].Handler(r.impl, ctx, func(v any) error {
		encoded, err := proto.Marshal(payload)
		if err != nil {
			return err
		}
		return proto.Unmarshal(encoded, v.(proto.Message))
	}, interceptor)
}

func registered(t *testing.T, out io.Writer, keep int) *registrar {
	t.Helper()
	r := &registrar{}
	require.NoError(t, Register(r, NewReporter(out, keep)))
	return r
}

func TestTheServiceIsATaskType(t *testing.T) {
	r := registered(t, io.Discard, 1)
	registered(t, io.Discard, 1)
	require.Equal(t, TaskType, r.desc.ServiceName+"."+r.desc.Methods[0].MethodName)
	announced, err := catalogue.Collect(protoregistry.GlobalFiles, protoreflect.FullName(r.desc.ServiceName))
	require.NoError(t, err)
	require.Len(t, announced.Files, 3)
}

func TestReportsReachTheListener(t *testing.T) {
	in, out := io.Pipe()
	r, l, ended := registered(t, out, 2), NewListener(), make(chan struct{})
	go func() {
		defer close(ended)
		l.Listen(in)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()

	for batch := range uint32(2) {
		payload := Order{Batch: batch + 1, Tasks: 5}.Payload()
		for i := range 5 {
			_, err := r.call(fmt.Sprintf("task-%d-%d", batch, i), payload, nil)
			require.NoError(t, err)
		}
		last, err := l.AwaitAll(ctx, batch+1)
		require.NoError(t, err)
		require.ElementsMatch(t, []string{fmt.Sprintf("task-%d-3", batch), fmt.Sprintf("task-%d-4", batch)}, last)
	}

	before := time.Now()
	_, err := r.call("timed", Order{Batch: 3}.Payload(), nil)
	require.NoError(t, err)
	at, err := l.AwaitStart(ctx, "timed")
	require.NoError(t, err)
	require.WithinRange(t, at, before.Round(0), time.Now())

	require.NoError(t, out.Close())
	<-ended
	_, err = l.AwaitAll(ctx, 9)
	require.ErrorIs(t, err, io.EOF, "nobody waits for a worker that is gone")
	_, err = r.call("timed", Order{Batch: 3}.Payload(), nil)
	require.Equal(t, codes.Internal, status.Code(err), "a worker whose reports are not heard fails")
}

func TestOfRepeatedStartsTheFirstCounts(t *testing.T) {
	l := NewListener()
	l.Listen(strings.NewReader("started a 100\nstarted a 200\n"))
	at, err := l.AwaitStart(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, time.Unix(0, 100), at)
}

func TestWaitsEndWithTheirContext(t *testing.T) {
	why := errors.New("no time")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	_, err := NewListener().AwaitAll(ctx, 1)
	require.ErrorIs(t, err, why)
	_, err = NewListener().AwaitStart(ctx, "a")
	require.ErrorIs(t, err, why)
}

func TestNonsenseEndsTheListening(t *testing.T) {
	for _, line := range []string{"", "all", "all x a b", "reached", "reached 1 2", "reached x 2 3", "reached 1 x 3", "reached 1 2 x", "started a", "started a b", "started a 1 2", "other a 1"} {
		l := NewListener()
		l.Listen(strings.NewReader(line + "\nall 1 a\n"))
		_, err := l.AwaitAll(t.Context(), 1)
		require.ErrorContains(t, err, "the worker reports", "%q", line)
	}
}

func FuzzReports(f *testing.F) {
	f.Add("reached 1 2 100\nall 1 a b\nstarted a 100\n")
	f.Fuzz(func(_ *testing.T, text string) { NewListener().Listen(strings.NewReader(text)) })
}

func TestForeignPayloadsAreRefused(t *testing.T) {
	r := registered(t, io.Discard, 1)
	_, err := r.call("a", wrapperspb.Bytes([]byte("x")), nil)
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	_, err = r.call("a", wrapperspb.Double(1), nil)
	require.Error(t, err)
}

func TestInterceptorsSeeTheMethod(t *testing.T) {
	r := registered(t, io.Discard, 1)
	var seen string
	_, err := r.call("a", Order{}.Payload(), func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		seen = info.FullMethod
		return next(ctx, req)
	})
	require.NoError(t, err)
	require.Equal(t, "/bench.v1.BenchService/Work", seen)
}

func TestCallsAreThoseOfGeneratedCode(t *testing.T) {
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer()
	reports := &strings.Builder{}
	require.NoError(t, Register(server, NewReporter(reports, 1)))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:server", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	require.NoError(t, err)
	require.NoError(t, Call(t.Context(), conn, Order{Batch: 7, Tasks: 1}))
	require.NoError(t, conn.Close())
	server.Stop()
	require.NoError(t, <-served)
	require.Contains(t, reports.String(), "all 7 ")
}
