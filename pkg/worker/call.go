package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/warrenmq/warren/pkg/frame"
)

// call runs a method's handler on an encoded input, outside a grpc.Server. It
// uses what grpc-go calls experimental: NewContextWithServerTransportStream and
// the package mem.
type call struct {
	method *method
	input  []byte
	// send takes a message of a response stream; it may refuse it.
	send func(message []byte) error
	// sent has the headers and trailers that the handler sets.
	sent *transportStream
}

// errUndecodable marks an input that is not of the method's type: no handler
// has seen it.
var errUndecodable = errors.New("the payload can't be decoded")

// run answers with the encoded reply of a unary method, nil for a stream.
func (c *call) run(ctx context.Context, w *Worker, md metadata.MD) ([]byte, error) {
	ctx = metadata.NewIncomingContext(ctx, md)
	ctx = peer.NewContext(ctx, &peer.Peer{Addr: queueAddr{}})
	ctx = grpc.NewContextWithServerTransportStream(ctx, c.sent)
	if c.method.stream != nil {
		return nil, c.runStream(ctx, w)
	}
	reply, err := c.method.unary.Handler(c.method.impl, ctx, c.decode, w.unary)
	if err != nil {
		return nil, err
	}
	return encode(reply)
}

func (c *call) runStream(ctx context.Context, w *Worker) error {
	ss := &serverStream{ctx: ctx, call: c}
	if w.stream == nil {
		return c.method.stream.Handler(c.method.impl, ss)
	}
	info := &grpc.StreamServerInfo{FullMethod: c.method.fullMethod, IsServerStream: true}
	return w.stream(c.method.impl, ss, info, c.method.stream.Handler)
}

func (c *call) decode(v any) error {
	if err := frame.Codec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(c.input)}, v); err != nil {
		return fmt.Errorf("%w: %w", errUndecodable, err)
	}
	return nil
}

func encode(v any) ([]byte, error) {
	data, err := frame.Codec().Marshal(v)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "encode the reply: %v", err)
	}
	defer data.Free()
	return data.Materialize(), nil
}

// serverStream is the stream of a server-streaming method: its request arrives
// once, its messages go to send, encoded at once since handlers reuse them.
type serverStream struct {
	ctx      context.Context
	call     *call
	received bool
}

func (s *serverStream) Context() context.Context { return s.ctx }

func (s *serverStream) RecvMsg(v any) error {
	if s.received {
		return io.EOF
	}
	s.received = true
	return s.call.decode(v)
}

func (s *serverStream) SendMsg(v any) error {
	if err := s.ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	b, err := encode(v)
	if err != nil {
		return err
	}
	s.call.sent.sendFirst()
	return s.call.send(b)
}

func (s *serverStream) SetHeader(md metadata.MD) error  { return grpc.SetHeader(s.ctx, md) }
func (s *serverStream) SendHeader(md metadata.MD) error { return grpc.SendHeader(s.ctx, md) }
func (s *serverStream) SetTrailer(md metadata.MD)       { _ = grpc.SetTrailer(s.ctx, md) }

// queueAddr is the peer's address as handlers see it.
type queueAddr struct{}

var _ net.Addr = queueAddr{}

func (queueAddr) Network() string { return "amqp" }
func (queueAddr) String() string  { return "warren" }

// chainUnary makes one interceptor of many, nil of none.
func chainUnary(all []grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	if len(all) == 0 {
		return nil
	}
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		for i := len(all) - 1; i >= 0; i-- {
			next, interceptor := handler, all[i]
			handler = func(ctx context.Context, req any) (any, error) { return interceptor(ctx, req, info, next) }
		}
		return handler(ctx, req)
	}
}

// chainStream is [chainUnary] for streams.
func chainStream(all []grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	if len(all) == 0 {
		return nil
	}
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		for i := len(all) - 1; i >= 0; i-- {
			next, interceptor := handler, all[i]
			handler = func(srv any, ss grpc.ServerStream) error { return interceptor(srv, ss, info, next) }
		}
		return handler(srv, ss)
	}
}
