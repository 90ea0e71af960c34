package forward

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/warrenmq/warren/pkg/frame"
)

func (f *Forwarder) unary(method string) grpc.MethodHandler {
	call := func(ctx context.Context, in any) (any, error) { return f.invoke(ctx, method, in) }
	return func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		in := &frame.Frame{}
		if err := decode(in); err != nil {
			return nil, err
		}
		if interceptor == nil {
			return call(ctx, in)
		}
		return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: method}, call)
	}
}

func (f *Forwarder) invoke(ctx context.Context, method string, in any) (any, error) {
	out := &frame.Frame{}
	var header, trailer metadata.MD
	outgoing, departure := f.outgoing(ctx)
	err := f.Target.Invoke(outgoing, method, in, out, options(grpc.Header(&header), grpc.Trailer(&trailer))...)
	f.giveBack(ctx, "header", header, func(md metadata.MD) error { return grpc.SetHeader(ctx, md) })
	f.giveBack(ctx, "trailer", trailer, func(md metadata.MD) error { return grpc.SetTrailer(ctx, md) })
	if err != nil {
		return nil, f.outcome(ctx, departure, err)
	}
	return out, nil
}
