package rpc

import (
	"sync"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/warrenmq/warren/pkg/frame"
)

// tracedMethods says which calls of a server are traced and measured: those of
// registered services, gRPC's own aside, and those that are known besides.
func tracedMethods(server func() *grpc.Server, known func(string) bool) otelgrpc.Filter {
	// Asked for the first time by a call, when all services are registered.
	registered := sync.OnceValue(func() map[string]bool {
		all := map[string]bool{}
		for service, info := range server().GetServiceInfo() {
			for _, m := range info.Methods {
				all["/"+service+"/"+m.Name] = !isPlumbing(service)
			}
		}
		return all
	})
	return func(info *stats.RPCTagInfo) bool {
		return registered()[info.FullMethodName] || known != nil && known(info.FullMethodName)
	}
}

// pastFrames lets an interceptor see no frames, which it could make nothing of.
func pastFrames(interceptor grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return interceptor(srv, ss, info, func(srv any, wrapped grpc.ServerStream) error {
			return handler(srv, &framesPast{wrapped, ss})
		})
	}
}

type framesPast struct {
	grpc.ServerStream

	bare grpc.ServerStream
}

// RecvMsg implements [grpc.ServerStream].
func (s *framesPast) RecvMsg(m any) error {
	if _, ok := m.(*frame.Frame); ok {
		return s.bare.RecvMsg(m)
	}
	return s.ServerStream.RecvMsg(m)
}

// AnswerError is an error that passes to the caller as it is: the status of somebody for
// whom this server answers.
type AnswerError struct{ Status *status.Status }

// Error implements error.
func (a *AnswerError) Error() string { return a.Status.Err().Error() }

// GRPCStatus is what the caller gets.
func (a *AnswerError) GRPCStatus() *status.Status { return a.Status }
