// Package faults implements demo.v1.FaultService, which fails in known ways:
// an ordinary gRPC service that knows nothing of Warren.
package faults

import (
	"context"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
)

const (
	defaultDelay = time.Second
	maxExitCode  = 255
	maxKeyLength = 256
	errorDomain  = "demo"
)

// Service implements demo.v1.FaultService. It may be called from any number of
// goroutines.
type Service struct {
	demov1.UnimplementedFaultServiceServer

	exit func(code int)

	mu    sync.Mutex
	calls map[string]int32
}

// NewService returns the service. Exit calls exit, which is os.Exit but in
// tests.
func NewService(exit func(code int)) *Service {
	return &Service{exit: exit, calls: make(map[string]int32)}
}

// Fail implements demo.v1.FaultService. A code that is no google.rpc.Code is
// INVALID_ARGUMENT.
func (*Service) Fail(_ context.Context, req *demov1.FailRequest) (*demov1.FailResponse, error) {
	code := req.GetCode()
	if code < int32(codes.OK) || code > int32(codes.Unauthenticated) {
		return nil, status.Errorf(codes.InvalidArgument,
			"code: %d is not between 0 and %d", code, codes.Unauthenticated)
	}
	if codes.Code(code) == codes.OK {
		return &demov1.FailResponse{}, nil
	}
	st := status.New(codes.Code(code), req.GetMessage())
	if req.GetReason() == "" {
		return nil, st.Err()
	}
	detailed, err := st.WithDetails(&errdetails.ErrorInfo{Reason: req.GetReason(), Domain: errorDomain})
	if err != nil {
		return nil, status.Errorf(codes.Internal, "add the reason: %v", err)
	}
	return nil, detailed.Err()
}

// FailTimes implements demo.v1.FaultService. The counts live as long as the
// service; nothing forgets a key.
func (s *Service) FailTimes(_ context.Context, req *demov1.FailTimesRequest) (*demov1.FailTimesResponse, error) {
	if len(req.GetKey()) > maxKeyLength {
		return nil, status.Errorf(codes.InvalidArgument,
			"key: has %d bytes, at most %d are kept", len(req.GetKey()), maxKeyLength)
	}
	calls := s.count(req.GetKey())
	if calls <= req.GetTimes() {
		return nil, status.Errorf(codes.Unavailable,
			"call %d with key %q; the first %d fail", calls, req.GetKey(), req.GetTimes())
	}
	return &demov1.FailTimesResponse{Calls: calls}, nil
}

func (s *Service) count(key string) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[key]++
	return s.calls[key]
}

// Panic implements demo.v1.FaultService. Its caller sees what the server makes
// of a panic.
func (*Service) Panic(_ context.Context, req *demov1.PanicRequest) (*demov1.PanicResponse, error) {
	panic(req.GetMessage())
}

// Delay implements demo.v1.FaultService. A negative delay is INVALID_ARGUMENT.
func (*Service) Delay(ctx context.Context, req *demov1.DelayRequest) (*demov1.DelayResponse, error) {
	delay := defaultDelay
	if req.GetDelay() != nil {
		if err := req.GetDelay().CheckValid(); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "delay: %v", err)
		}
		delay = req.GetDelay().AsDuration()
	}
	if delay < 0 {
		return nil, status.Errorf(codes.InvalidArgument, "delay: %v is negative", delay)
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return &demov1.DelayResponse{}, nil
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// Exit implements demo.v1.FaultService. A code outside 0 to 255 is
// INVALID_ARGUMENT, and the process goes on.
func (s *Service) Exit(_ context.Context, req *demov1.ExitRequest) (*demov1.ExitResponse, error) {
	if code := req.GetCode(); code < 0 || code > maxExitCode {
		return nil, status.Errorf(codes.InvalidArgument, "code: %d is not between 0 and %d", code, maxExitCode)
	}
	s.exit(int(req.GetCode()))
	return nil, status.Error(codes.Internal, "the process did not exit")
}
