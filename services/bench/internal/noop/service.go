package noop

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	pkg     = "bench.v1"
	service = "BenchService"
	method  = "Work"

	// TaskType is the method's.
	TaskType = pkg + "." + service + "." + method
)

// handler is a function that has the service's method.
type handler func(context.Context, *wrapperspb.BytesValue) (*emptypb.Empty, error)

// Register registers the service, whose handler reports to the reporter, and its
// descriptor, which this process may have once only.
func Register(s grpc.ServiceRegistrar, reporter *Reporter) error {
	if _, err := protoregistry.GlobalFiles.FindFileByPath(file().GetName()); errors.Is(err, protoregistry.NotFound) {
		described, err := protodesc.NewFile(file(), protoregistry.GlobalFiles)
		if err != nil {
			return fmt.Errorf("describe the service: %w", err)
		}
		if err := protoregistry.GlobalFiles.RegisterFile(described); err != nil {
			return fmt.Errorf("register the service's descriptor: %w", err)
		}
	}
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: pkg + "." + service,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: method, Handler: call}},
		Metadata:    file().GetName(),
	}, handler(reporter.work))
	return nil
}

// file describes the service as protoc would.
func file() *descriptorpb.FileDescriptorProto {
	return &descriptorpb.FileDescriptorProto{
		Name:       proto.String("bench/v1/bench_service.proto"),
		Package:    proto.String(pkg),
		Syntax:     proto.String("proto3"),
		Dependency: []string{"google/protobuf/empty.proto", "google/protobuf/wrappers.proto"},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: proto.String(service),
			Method: []*descriptorpb.MethodDescriptorProto{{
				Name:       proto.String(method),
				InputType:  proto.String(".google.protobuf.BytesValue"),
				OutputType: proto.String(".google.protobuf.Empty"),
			}},
		}},
	}
}

// call is what generated code has for a unary method.
func call(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // grpc's order
	request := new(wrapperspb.BytesValue)
	if err := decode(request); err != nil {
		return nil, err
	}
	work := srv.(handler)
	if interceptor == nil {
		return work(ctx, request)
	}
	info := &grpc.UnaryServerInfo{Server: srv, FullMethod: fullMethod}
	return interceptor(ctx, request, info, func(ctx context.Context, request any) (any, error) {
		return work(ctx, request.(*wrapperspb.BytesValue))
	})
}
