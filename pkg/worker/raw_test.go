package worker

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/frame"
	"github.com/warrenmq/warren/pkg/task"
)

// Task types of a service that this program knows by its descriptor alone.
const (
	typeSay   = "acme.v1.Echo.Say"
	typeCount = "acme.v1.Echo.Count"
)

// echoFile describes acme.v1.Echo.
func echoFile(t testing.TB) []byte {
	t.Helper()
	method := func(name string, streams bool) *descriptorpb.MethodDescriptorProto {
		return &descriptorpb.MethodDescriptorProto{Name: &name, InputType: proto.String(".acme.v1.Text"), OutputType: proto.String(".acme.v1.Text"), ServerStreaming: &streams}
	}
	b, err := proto.Marshal(&descriptorpb.FileDescriptorProto{
		Name: proto.String("acme/v1/echo.proto"), Package: proto.String("acme.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Text")}},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: proto.String("Echo"), Method: []*descriptorpb.MethodDescriptorProto{method("Say", false), method("Count", true)},
		}},
	})
	require.NoError(t, err)
	return b
}

// echoDesc is that service by hand: its handlers pass messages on as bytes.
func echoDesc(say func(context.Context, []byte) ([]byte, error), count func([]byte, func([]byte) error) error) *grpc.ServiceDesc {
	unary := func(_ any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		var in frame.Frame
		if err := decode(&in); err != nil {
			return nil, err
		}
		handle := func(ctx context.Context, req any) (any, error) {
			out, err := say(ctx, req.(*frame.Frame).Bytes)
			return &frame.Frame{Bytes: out}, err
		}
		if interceptor == nil {
			return handle(ctx, &in)
		}
		return interceptor(ctx, &in, &grpc.UnaryServerInfo{FullMethod: "/acme.v1.Echo/Say"}, handle)
	}
	stream := func(_ any, ss grpc.ServerStream) error {
		var in frame.Frame
		if err := ss.RecvMsg(&in); err != nil {
			return err
		}
		return count(in.Bytes, func(b []byte) error { return ss.SendMsg(&frame.Frame{Bytes: b}) })
	}
	return &grpc.ServiceDesc{
		ServiceName: "acme.v1.Echo",
		Methods:     []grpc.MethodDesc{{MethodName: "Say", Handler: unary}},
		Streams:     []grpc.StreamDesc{{StreamName: "Count", ServerStreams: true, Handler: stream}},
	}
}

func TestMessagesPassAsBytes(t *testing.T) {
	t.Parallel()
	intercepted := 0
	w := newWorker(t, Config{UnaryInterceptors: []grpc.UnaryServerInterceptor{
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			intercepted++
			return next(ctx, req)
		},
	}})
	w.RegisterService(echoDesc(
		func(_ context.Context, in []byte) ([]byte, error) { return append(in, '!'), nil },
		func(in []byte, send func([]byte) error) error {
			buffer := []byte("1")
			for _, c := range in {
				buffer[0] = c
				if err := send(buffer); err != nil {
					return err
				}
			}
			return nil
		}), nil)
	for _, input := range []string{"", "\xff\x00", "no protobuf"} {
		given := []byte(input)
		o := invoke(t.Context(), w, typeSay, given, nil)
		require.NoError(t, o.err)
		require.Equal(t, input+"!", string(o.reply))
		require.Equal(t, input, string(given), "a handler may change what it gets, not what others have")

		o = invoke(t.Context(), w, typeCount, given, nil)
		require.NoError(t, o.err)
		require.Len(t, o.messages, len(input))
		for i, m := range o.messages {
			require.Equal(t, input[i:i+1], string(m), "a buffer may be used again after it was sent")
		}
	}
	require.Equal(t, 3, intercepted)
}

// echoPlace is a gateway that knows acme.v1.Echo, and a worker of it.
func echoPlace(t testing.TB, desc *grpc.ServiceDesc) *gateway {
	t.Helper()
	b := brokertest.VHost(t)
	g := startGateway(t, b, typeSay, typeCount)
	w := newWorker(t, Config{AMQPURLs: []string{b.URL}, Logger: quiet(), Descriptors: [][]byte{echoFile(t)}})
	w.RegisterService(desc, nil)
	serve(t, w)
	return g
}

func TestTasksOfADescriptionByHand(t *testing.T) {
	t.Parallel()
	g := echoPlace(t, echoDesc(
		func(_ context.Context, in []byte) ([]byte, error) { return append(in, in...), nil },
		func(in []byte, send func([]byte) error) error {
			for i := range in {
				if err := send(in[:i+1]); err != nil {
					return err
				}
			}
			return nil
		}))
	payload := func(m *broker.TaskMessage) { m.Payload = []byte("\xfe\xff") }
	end := g.Await(t, g.Submit(t, typeSay, payload), task.PhaseSucceeded)
	require.Equal(t, "\xfe\xff\xfe\xff", string(end.Message))

	id := g.Submit(t, typeCount, payload)
	end = g.Await(t, id, task.PhaseSucceeded)
	require.Equal(t, "\xfe\xff", string(end.Message), "the last one is the result")
	messages := g.Of(id, task.PhaseMessage)
	require.Len(t, messages, 2)
	require.Equal(t, "\xfe", string(messages[0].Message))
	require.Equal(t, "\xfe\xff", string(messages[1].Message))

	requests, _ := g.Snapshot()
	require.Equal(t, []string{"acme.v1.Echo"}, requests[0].GetRegistration().Services)
	require.Equal(t, [][]byte{echoFile(t)}, requests[0].GetRegistration().Files)
}

// A stream that has sent something has begun, whatever its handler says.
func TestStreamThatHasBegunIsNotGivenBack(t *testing.T) {
	t.Parallel()
	g := echoPlace(t, echoDesc(nil, func(_ []byte, send func([]byte) error) error {
		if err := send(nil); err != nil {
			return err
		}
		return task.NotBegun(status.Error(codes.NotFound, "gone"))
	}))
	id := g.Submit(t, typeCount)
	dead := g.Await(t, id, task.PhaseDeadLettered)
	require.EqualValues(t, codes.NotFound, dead.Failure.Code)
	require.Empty(t, g.Of(id, task.PhaseReleased))
}

func TestStreamThatHasNotBegunIsGivenBack(t *testing.T) {
	t.Parallel()
	calls := 0
	g := echoPlace(t, echoDesc(nil, func(_ []byte, send func([]byte) error) error {
		if calls++; calls == 1 {
			return task.NotBegun(status.Error(codes.Unavailable, "no connection"))
		}
		return send([]byte("x"))
	}))
	id := g.Submit(t, typeCount)
	end := g.Await(t, id, task.PhaseSucceeded)
	require.Equal(t, "x", string(end.Message))
	require.Len(t, g.Of(id, task.PhaseReleased), 1)
	require.Equal(t, 1, end.Key.Attempt)
}

func TestHeadersOfARawCall(t *testing.T) {
	t.Parallel()
	g := echoPlace(t, echoDesc(func(ctx context.Context, in []byte) ([]byte, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		return in, grpc.SetHeader(ctx, md)
	}, nil))
	id := g.Submit(t, typeSay, func(m *broker.TaskMessage) {
		m.Metadata = map[string][][]byte{"x-tenant": {[]byte("a"), []byte("b")}, "x-raw-bin": {{0, 255}}}
	})
	end := g.Await(t, id, task.PhaseSucceeded)
	require.Equal(t, task.Metadata{"x-tenant": {"a", "b"}, "x-raw-bin": {"\x00\xff"}}, end.Headers)
	require.Nil(t, end.Trailers)
}
