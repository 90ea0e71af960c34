package rpc

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/warrenmq/warren/pkg/frame"
)

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
