// Package rpc builds Warren's gRPC servers: interceptors in a fixed order,
// health, keepalive, limits, and errors that all carry one ErrorInfo.
package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	validator "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/protovalidate"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/selector"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// ServerConfig configures a server.
type ServerConfig struct {
	Logger *slog.Logger
	// MaxMessageBytes bounds a request and an answer.
	MaxMessageBytes int
	// LongCalls are full names of unary methods that bound their own time; all
	// others get DefaultDeadline unless the caller sends a deadline.
	LongCalls []string
}

// DefaultDeadline is that of unary calls that come without one.
const DefaultDeadline = 30 * time.Second

// Keepalive of all servers: dead peers are found within half a minute, and
// clients may ping as often as every 10 s.
const (
	keepalivePing    = 20 * time.Second
	keepaliveTimeout = 10 * time.Second
	keepaliveMin     = 10 * time.Second
)

// NewServer builds a server. The order of interceptors, from the outside, is
// logging, errors, recovery, deadline, validation, for unary calls and streams
// alike. Health checks and reflection are neither logged nor traced.
func NewServer(cfg ServerConfig) (*grpc.Server, error) {
	v, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("make a validator: %w", err)
	}
	onPanic := recovery.WithRecoveryHandlerContext(func(_ context.Context, p any) error {
		return Errorf(codes.Internal, taskv1.ErrorReason_ERROR_REASON_INTERNAL,
			"an internal error; the server's log has it, under this call's trace id").
			Because(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
	})
	logger, options := logAdapter(cfg.Logger), logOptions()
	observed := selector.MatchFunc(func(_ context.Context, c interceptors.CallMeta) bool { return !isPlumbing(c.Service) })
	short := selector.MatchFunc(func(_ context.Context, c interceptors.CallMeta) bool { return !contains(cfg.LongCalls, c.FullMethod()) })
	return grpc.NewServer(
		grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithFilter(filters.None(
			filters.ServiceName("grpc.health.v1.Health"),
			filters.ServicePrefix("grpc.reflection."),
		)))),
		grpc.ChainUnaryInterceptor(
			selector.UnaryServerInterceptor(logging.UnaryServerInterceptor(logger, options...), observed),
			errorsUnary,
			recovery.UnaryServerInterceptor(onPanic),
			selector.UnaryServerInterceptor(deadlineUnary, short),
			validator.UnaryServerInterceptor(v),
		),
		grpc.ChainStreamInterceptor(
			selector.StreamServerInterceptor(logging.StreamServerInterceptor(logger, options...), observed),
			errorsStream,
			recovery.StreamServerInterceptor(onPanic),
			validator.StreamServerInterceptor(v),
		),
		grpc.UnknownServiceHandler(unknownMethod),
		grpc.MaxRecvMsgSize(cfg.MaxMessageBytes),
		grpc.MaxSendMsgSize(cfg.MaxMessageBytes),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepalivePing, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMin, PermitWithoutStream: true}),
	), nil
}

// unknownMethod answers what grpc itself would, with a reason.
func unknownMethod(_ any, ss grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(ss)
	return Errorf(codes.Unimplemented, taskv1.ErrorReason_ERROR_REASON_METHOD_NOT_FOUND,
		"there is no method %s here; grpcurl's list and describe show what there is", method)
}

func isPlumbing(service string) bool {
	return service == "grpc.health.v1.Health" || strings.HasPrefix(service, "grpc.reflection.")
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func deadlineUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultDeadline)
		defer cancel()
	}
	return handler(ctx, req)
}
