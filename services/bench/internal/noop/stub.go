package noop

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// fullMethod is the method as gRPC names it.
const fullMethod = "/" + pkg + "." + service + "/" + method

// Call calls the method as generated code does: of a gateway, which makes a task of
// it, or of a server that has the service.
func Call(ctx context.Context, conn grpc.ClientConnInterface, order Order, opts ...grpc.CallOption) error {
	return conn.Invoke(ctx, fullMethod, order.Payload(), new(emptypb.Empty), opts...)
}
