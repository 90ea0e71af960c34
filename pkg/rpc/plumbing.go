package rpc

import (
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// isPlumbing says whether a service is one of gRPC's own: health checks and
// reflection.
func isPlumbing(service string) bool {
	return service == "grpc.health.v1.Health" || strings.HasPrefix(service, "grpc.reflection.")
}

// serviceOf is the service of a method `/package.Service/Method`.
func serviceOf(method string) string {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return service
}

// endPlumbing ends streams of health and reflection when stopping is closed:
// clients keep them open for as long as the server lets them.
func endPlumbing(stopping <-chan struct{}) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if !isPlumbing(serviceOf(info.FullMethod)) {
			return handler(srv, ss)
		}
		ended := make(chan error, 1)
		// A handler that is left behind ends with the stream's context, or with
		// what it waits to receive from the stream; both end upon the answer.
		go func() { ended <- handler(srv, ss) }()
		select {
		case err := <-ended:
			return err
		case <-stopping:
			return status.Error(codes.Unavailable, "this server is stopping")
		}
	}
}
