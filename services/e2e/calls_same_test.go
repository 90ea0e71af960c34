package e2e

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	"github.com/warrenmq/warren/pkg/frame"
)

// payloadLimit is the gateway's default.
const payloadLimit = 4 << 20

// sameCall is a call that a server and a gateway before it answer alike.
type sameCall struct {
	name string
	call func(ctx context.Context, t *testing.T, conn *grpc.ClientConn) ([]proto.Message, error)
	code codes.Code
	// codeOnly: the text is of who answers.
	codeOnly bool
}

// one is the answer of a unary call.
func one[T proto.Message](r T, err error) ([]proto.Message, error) {
	if err != nil {
		return nil, err
	}
	return []proto.Message{r}, nil
}

// every is the answer of a server-streaming call.
func every[T any, P interface {
	*T
	proto.Message
}](s grpc.ServerStreamingClient[T], err error) (all []proto.Message, _ error) {
	for err == nil {
		var m *T
		if m, err = s.Recv(); err == nil {
			all = append(all, P(m))
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return all, err
}

// dial connects to a server.
func dial(t testing.TB, address string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, options...)...)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func faults(c grpc.ClientConnInterface) demov1.FaultServiceClient {
	return demov1.NewFaultServiceClient(c)
}
func images(c grpc.ClientConnInterface) demov1.ImageServiceClient {
	return demov1.NewImageServiceClient(c)
}

// with gives calls metadata.
func with(ctx context.Context, pairs ...string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// The demo's generated client gets the same from the demo server and from a gateway
// before it.
func TestCallAnswersAsTheServerDoes(t *testing.T) {
	t.Parallel()
	f := forward(t, demoTarget, []string{"--concurrency", "16"})
	f.awaitReady(t, typeFail)
	f.awaitReady(t, typeStream)
	// Their messages may be as large as their limits.
	direct, gateway := dial(t, f.address), dial(t, f.platform.address)
	for _, c := range sameCalls(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(with(t.Context(), "warren-max-attempts", "1"), 30*time.Second)
			defer cancel()
			want, wantErr := c.call(ctx, t, direct)
			got, err := c.call(ctx, t, gateway)
			require.Equal(t, c.code, status.Code(wantErr), "the server: %v", wantErr)
			require.Equal(t, c.code, status.Code(err), "the gateway: %v", err)
			if !c.codeOnly {
				requireSame(t, status.Convert(wantErr).Proto(), status.Convert(err).Proto())
			}
			require.Len(t, got, len(want))
			for i := range want {
				requireSame(t, want[i], got[i])
			}
		})
	}
}

func requireSame(t testing.TB, want, got proto.Message) {
	t.Helper()
	require.True(t, proto.Equal(want, got), "%.500v\nis not\n%.500v", got, want)
}

func sameCalls(t testing.TB) []sameCall {
	// Its header is that of a picture.
	broken := picture(t)[:40]
	mixed := pictures(t, 5)
	mixed.Images[3] = broken
	calls := []sameCall{
		thumbnailCall("result", &demov1.ThumbnailRequest{Image: picture(t), MaxWidth: 2, Format: demov1.ImageFormat_IMAGE_FORMAT_JPEG}, codes.OK),
		thumbnailCall("compressed", &demov1.ThumbnailRequest{Image: picture(t)}, codes.OK, grpc.UseCompressor(gzip.Name)),
		thumbnailCall("bad width", &demov1.ThumbnailRequest{Image: picture(t), MaxWidth: -1}, codes.InvalidArgument),
		thumbnailCall("no picture", &demov1.ThumbnailRequest{Image: []byte("€ is no picture")}, codes.InvalidArgument),
		thumbnailCall("nothing at all", &demov1.ThumbnailRequest{}, codes.InvalidArgument),
		sheetCall("stream", pictures(t, 20), codes.OK),
		sheetCall("compressed stream", pictures(t, 3), codes.OK, grpc.UseCompressor(gzip.Name)),
		sheetCall("stream fails in the middle", mixed, codes.InvalidArgument),
		sheetCall("stream refused", &demov1.ContactSheetRequest{}, codes.InvalidArgument),
		failingCall("no failure", &demov1.FailRequest{}, codes.OK),
		failingCall("request as large as may be", filled(t), codes.OK),
		failingCall("refused code", &demov1.FailRequest{Code: 17}, codes.InvalidArgument),
		failingCall("no message", &demov1.FailRequest{Code: int32(codes.NotFound)}, codes.NotFound),
		failingCall("long message", &demov1.FailRequest{Code: int32(codes.NotFound), Message: strings.Repeat("größer ", 500)}, codes.NotFound),
		{name: "panic", code: codes.Internal, call: func(ctx context.Context, _ *testing.T, conn *grpc.ClientConn) ([]proto.Message, error) {
			return one(faults(conn).Panic(ctx, &demov1.PanicRequest{Message: "oh\nné"}))
		}},
		{name: "deadline", code: codes.DeadlineExceeded, codeOnly: true, call: func(ctx context.Context, _ *testing.T, conn *grpc.ClientConn) ([]proto.Message, error) {
			ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			defer cancel()
			return one(faults(conn).Delay(ctx, delay(2*time.Second)))
		}},
		{name: "cancelled", code: codes.Canceled, codeOnly: true, call: func(ctx context.Context, _ *testing.T, conn *grpc.ClientConn) ([]proto.Message, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer time.AfterFunc(200*time.Millisecond, cancel).Stop()
			return one(faults(conn).Delay(ctx, delay(2*time.Second)))
		}},
		rawCall("unknown method", "/demo.v1.FaultService/Nothing", codes.Unimplemented, true, &demov1.FailRequest{}),
		rawCall("unknown service", "/demo.v1.NoService/Fail", codes.Unimplemented, true, &demov1.FailRequest{}),
		rawCall("no request", demov1.FaultService_Fail_FullMethodName, codes.Internal, false),
		rawCall("two requests", demov1.FaultService_Fail_FullMethodName, codes.Internal, false, &demov1.FailRequest{}, &demov1.FailRequest{}),
		rawCall("two requests of a stream", demov1.ImageService_ContactSheet_FullMethodName, codes.Internal, false, pictures(t, 1), pictures(t, 1)),
	}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		calls = append(calls, failingCall(code.String(), &demov1.FailRequest{Code: int32(code), Message: "nicht möglich: 100 %\nüberhaupt nicht", Reason: "BROKEN"}, code))
	}
	return calls
}

func thumbnailCall(name string, r *demov1.ThumbnailRequest, code codes.Code, options ...grpc.CallOption) sameCall {
	return sameCall{name: name, code: code, call: func(ctx context.Context, _ *testing.T, conn *grpc.ClientConn) ([]proto.Message, error) {
		return one(images(conn).Thumbnail(ctx, r, options...))
	}}
}

func sheetCall(name string, r *demov1.ContactSheetRequest, code codes.Code, options ...grpc.CallOption) sameCall {
	return sameCall{name: name, code: code, call: func(ctx context.Context, _ *testing.T, conn *grpc.ClientConn) ([]proto.Message, error) {
		return every(images(conn).ContactSheet(ctx, r, options...))
	}}
}

func failingCall(name string, r *demov1.FailRequest, code codes.Code) sameCall {
	return sameCall{name: name, code: code, call: func(ctx context.Context, _ *testing.T, conn *grpc.ClientConn) ([]proto.Message, error) {
		return one(faults(conn).Fail(ctx, r))
	}}
}

// rawCall sends messages that no generated client would send, and receives nothing.
func rawCall(name, method string, code codes.Code, codeOnly bool, messages ...proto.Message) sameCall {
	return sameCall{name: name, code: code, codeOnly: codeOnly, call: func(ctx context.Context, t *testing.T, conn *grpc.ClientConn) ([]proto.Message, error) {
		s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
		require.NoError(t, err)
		for _, m := range messages {
			// Once the server has answered, that is io.EOF.
			if err := s.SendMsg(m); err != nil {
				require.ErrorIs(t, err, io.EOF)
			}
		}
		require.NoError(t, s.CloseSend())
		var answer frame.Frame
		return nil, s.RecvMsg(&answer)
	}}
}

// filled is a request as large as the gateway's limit.
func filled(t testing.TB) *demov1.FailRequest {
	r := &demov1.FailRequest{Message: strings.Repeat("m", payloadLimit-1000)}
	r.Message += strings.Repeat("m", payloadLimit-proto.Size(r))
	require.Equal(t, payloadLimit, proto.Size(r))
	return r
}

// metadataCall is a call whose handler sets headers and trailers.
type metadataCall struct {
	name, method string
	md           []string
	code         codes.Code
	messages     int
	options      []grpc.CallOption
}

// metadataAnswer is what a call was answered.
type metadataAnswer struct {
	messages        [][]byte
	header, trailer metadata.MD
	err             error
}

func (c *metadataCall) do(ctx context.Context, t *testing.T, conn *grpc.ClientConn) (a metadataAnswer) {
	t.Helper()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, c.method, c.options...)
	require.NoError(t, err)
	require.NoError(t, s.SendMsg(wrapperspb.Bytes([]byte("\x00ü"))))
	require.NoError(t, s.CloseSend())
	for a.err == nil {
		var m wrapperspb.BytesValue
		if a.err = s.RecvMsg(&m); a.err == nil {
			a.messages = append(a.messages, m.Value)
		}
	}
	if errors.Is(a.err, io.EOF) {
		a.err = nil
	}
	a.header, err = s.Header()
	require.NoError(t, err)
	a.trailer = s.Trailer()
	return a
}

// ofHandler is what of metadata a handler has set.
func ofHandler(md metadata.MD) metadata.MD {
	return metadata.Join(withPrefix(md, prefixEcho), withPrefix(md, prefixTrail))
}

// A handler's headers and trailers come back as it has set them, if the caller waits
// for them; else its headers are trailers, and the header is the task's id.
func TestCallHeadersAndTrailers(t *testing.T) {
	t.Parallel()
	f := forward(t, goTarget, nil)
	f.awaitReady(t, typeEcho)
	direct, gateway := dial(t, f.address), dial(t, f.platform.address)
	set := []string{
		prefixEcho + "one", "a", prefixEcho + "one", "b", prefixEcho + "raw-bin", "\x00\xff", prefixTrail + "two", "c d", prefixTrail + "raw-bin", "",
	}
	answerLimit := payloadLimit - proto.Size(wrapperspb.Bytes(make([]byte, payloadLimit-10))) + payloadLimit - 10
	for _, c := range []metadataCall{
		{name: "result", method: methodEcho, messages: 1},
		{name: "answer as large as may be", method: methodEcho, md: []string{keyAnswerBytes, strconv.Itoa(answerLimit)}, messages: 1},
		{name: "compressed", method: methodEcho, messages: 1, options: []grpc.CallOption{grpc.UseCompressor(gzip.Name)}},
		{name: "failure", method: methodEcho, md: []string{keyFailCode, "9"}, code: codes.FailedPrecondition},
		{name: "empty stream", method: methodRepeat},
		{name: "stream that fails first", method: methodRepeat, md: []string{keyFailCode, "9"}, code: codes.FailedPrecondition},
		{name: "stream", method: methodRepeat, md: []string{keyMessages, "40"}, messages: 40},
		{name: "stream that fails later", method: methodRepeat, md: []string{keyMessages, "9", keyFailAfter, "2", keyFailCode, "9"}, code: codes.FailedPrecondition, messages: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(with(with(t.Context(), set...), c.md...), 30*time.Second)
			defer cancel()
			want := c.do(ctx, t, direct)
			require.Len(t, want.messages, c.messages)
			require.Equal(t, c.code, status.Code(want.err), "%v", want.err)
			require.Len(t, ofHandler(want.header), 2)
			require.Len(t, ofHandler(want.trailer), 2)
			both := metadata.Join(ofHandler(want.header), ofHandler(want.trailer))

			for _, late := range []bool{false, true} {
				ctx := with(ctx, "warren-max-attempts", "1")
				if late {
					ctx = with(ctx, "warren-headers", "late")
				}
				got := c.do(ctx, t, gateway)
				require.Equal(t, want.messages, got.messages)
				requireSame(t, status.Convert(want.err).Proto(), status.Convert(got.err).Proto())
				id := got.header.Get("warren-task-id")
				require.Len(t, id, 1)
				if late {
					require.Equal(t, ofHandler(want.header), ofHandler(got.header))
					require.Equal(t, ofHandler(want.trailer), ofHandler(got.trailer))
					delete(got.header, "warren-task-id")
					require.Equal(t, want.header, got.header, "nothing else")
				} else {
					// The header was sent before there was a handler.
					require.Empty(t, ofHandler(got.header))
					require.Equal(t, both, ofHandler(got.trailer))
				}
				f.await(t, id[0])
			}
		})
	}
}

// A method that can't be a task says so at once, before anything is sent, and the
// others of its service work.
func TestCallOfARefusedMethod(t *testing.T) {
	t.Parallel()
	f := forward(t, goTarget, nil)
	f.awaitReady(t, typeEcho)
	direct, gateway := dial(t, f.address), dial(t, f.platform.address)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for method, kind := range map[string]string{methodUpload: "client stream", methodChat: "bidirectional stream"} {
		desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
		s, err := gateway.NewStream(ctx, desc, method)
		require.NoError(t, err)
		err = s.RecvMsg(new(wrapperspb.BytesValue))
		require.Equal(t, codes.Unimplemented, status.Code(err), "%v", err)
		requireReason(t, err, "METHOD_NOT_FOUND")
		require.Contains(t, err.Error(), method)
		require.Contains(t, err.Error(), kind)

		s, err = direct.NewStream(ctx, desc, method)
		require.NoError(t, err)
		require.NoError(t, s.SendMsg(wrapperspb.Bytes([]byte("direct"))))
		require.NoError(t, s.RecvMsg(new(wrapperspb.BytesValue)), "the server has it")
	}
	var answer wrapperspb.BytesValue
	require.NoError(t, gateway.Invoke(ctx, methodEcho, wrapperspb.Bytes([]byte("durable")), &answer))
	require.Equal(t, "durable", string(answer.Value))
}

// jsonCodec says that its messages are JSON.
type jsonCodec struct{ encoding.CodecV2 }

// Name implements [encoding.CodecV2].
func (jsonCodec) Name() string { return "json" }

// Bodies that are not protobuf are refused, and not taken for it.
func TestCallOfAnotherContentType(t *testing.T) {
	t.Parallel()
	f := forward(t, demoTarget, nil)
	f.awaitReady(t, typeFail)
	_, err := faults(f.conn).Fail(t.Context(), &demov1.FailRequest{}, grpc.ForceCodecV2(jsonCodec{frame.Codec()}))
	require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
	requireReason(t, err, "INVALID_REQUEST")
	require.Contains(t, err.Error(), "application/grpc+json")
	_, err = faults(f.conn).Fail(t.Context(), &demov1.FailRequest{}, grpc.CallContentSubtype("proto"))
	require.NoError(t, err)
}

// wireSizes sees how large messages were on the wire.
type wireSizes struct {
	stats.Handler

	received func(*stats.InPayload)
}

// TagRPC implements [stats.Handler].
func (wireSizes) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// TagConn implements [stats.Handler].
func (wireSizes) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements [stats.Handler].
func (wireSizes) HandleConn(context.Context, stats.ConnStats) {}

// HandleRPC implements [stats.Handler].
func (w wireSizes) HandleRPC(_ context.Context, s stats.RPCStats) {
	if p, ok := s.(*stats.InPayload); ok {
		w.received(p)
	}
}

// An answer is compressed as its request was, and on the way by nobody else.
func TestCallIsAnsweredCompressed(t *testing.T) {
	t.Parallel()
	f := forward(t, goTarget, nil)
	f.awaitReady(t, typeEcho)
	sizes := make(chan *stats.InPayload, 10)
	conn := dial(t, f.platform.address, grpc.WithStatsHandler(wireSizes{received: func(p *stats.InPayload) { sizes <- p }}))
	ctx := with(t.Context(), keyAnswerBytes, "100000")
	for _, options := range [][]grpc.CallOption{{grpc.UseCompressor(gzip.Name)}, nil} {
		var answer wrapperspb.BytesValue
		require.NoError(t, conn.Invoke(ctx, methodEcho, new(wrapperspb.BytesValue), &answer, options...))
		require.Len(t, answer.Value, 100_000)
		size := <-sizes
		require.Equal(t, options != nil, size.CompressedLength < 10_000, "%d bytes on the wire", size.CompressedLength)
	}
}
