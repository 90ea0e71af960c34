// Package rpc builds Warren's gRPC servers: interceptors in a fixed order,
// health, keepalive, limits, and errors that all carry one ErrorInfo.
package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"buf.build/go/protovalidate"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	validator "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/protovalidate"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/selector"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // for clients that compress
	"google.golang.org/grpc/keepalive"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/frame"
	"github.com/warrenmq/warren/pkg/telemetry"
)

// ServerConfig configures a server.
type ServerConfig struct {
	Logger *slog.Logger
	// MaxMessageBytes bounds a request and an answer.
	MaxMessageBytes int
	// MaxPayloadBytes is the limit that is named to who sends a larger request.
	// Defaults to MaxMessageBytes.
	MaxPayloadBytes int
	// LongCalls are full names of unary methods that bound their own time; all
	// others get DefaultDeadline unless the caller sends a deadline.
	LongCalls []string
	// Unknown handles calls of methods that no registered service has. It receives and
	// sends messages as they are, each a [frame.Frame]. Default: [UnknownMethod].
	Unknown grpc.StreamHandler
	// Known says which methods Unknown carries out. Calls of others are not traced, and
	// measured all as one: their names are the callers', and without bound. Default: none.
	Known func(fullMethod string) bool
	// MeterProvider gets the metric rpc.server.call.duration of each method and code.
	// Default: otel.GetMeterProvider().
	MeterProvider metric.MeterProvider
	// Stopping, when it is closed, ends the streams of health and reflection,
	// which no graceful stop would outlast. Defaults to never.
	Stopping <-chan struct{}
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

// streamWorkers is how many goroutines are kept for calls; more calls get their own.
const streamWorkers = 256

// NewServer builds a server; it has goroutines until it is stopped. The order of interceptors, from the outside, is
// logging, errors, recovery, deadline, decoding, validation, for unary calls and
// streams alike. Health checks and reflection are neither traced nor measured, and
// logged only when a mistake of ours shows in them.
func NewServer(cfg ServerConfig) (*grpc.Server, error) {
	onPanic := recovery.WithRecoveryHandlerContext(func(_ context.Context, p any) error {
		return Internal(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
	})
	requests := decoder{frame.Codec(), cfg.MaxMessageBytes, cfg.MaxPayloadBytes}
	if requests.limit == 0 {
		requests.limit = cfg.MaxMessageBytes
	}
	logger, options := logAdapter(cfg.Logger), logOptions()
	plumbing := selector.MatchFunc(func(_ context.Context, c interceptors.CallMeta) bool { return isPlumbing(c.Service) })
	ours := selector.MatchFunc(func(_ context.Context, c interceptors.CallMeta) bool { return !isPlumbing(c.Service) })
	short := selector.MatchFunc(func(_ context.Context, c interceptors.CallMeta) bool {
		return !slices.Contains(cfg.LongCalls, c.FullMethod())
	})
	unknown := cfg.Unknown
	if unknown == nil {
		unknown = UnknownMethod
	}
	var server *grpc.Server
	known := newMethods(func() *grpc.Server { return server }, cfg.Known)
	measured, err := measure(cfg.MeterProvider, known)
	if err != nil {
		return nil, err
	}
	server = grpc.NewServer(
		grpc.StatsHandler(telemetry.ServerHandler(otelgrpc.WithFilter(known.traced))),
		measured,
		grpc.ChainUnaryInterceptor(
			selector.UnaryServerInterceptor(logging.UnaryServerInterceptor(logger, options...), ours),
			selector.UnaryServerInterceptor(logging.UnaryServerInterceptor(onlyMistakes(logger), options...), plumbing),
			errorsUnary,
			recovery.UnaryServerInterceptor(onPanic),
			selector.UnaryServerInterceptor(deadlineUnary, short),
			requests.unary,
			validator.UnaryServerInterceptor(protovalidate.GlobalValidator),
		),
		grpc.ChainStreamInterceptor(
			endPlumbing(cfg.Stopping),
			selector.StreamServerInterceptor(logging.StreamServerInterceptor(logger, options...), ours),
			selector.StreamServerInterceptor(logging.StreamServerInterceptor(onlyMistakes(logger), options...), plumbing),
			errorsStream,
			recovery.StreamServerInterceptor(onPanic),
			requests.stream,
			pastFrames(validator.StreamServerInterceptor(protovalidate.GlobalValidator)),
		),
		// Goroutines that have handled calls have the stack for the next.
		grpc.NumStreamWorkers(streamWorkers),
		grpc.UnknownServiceHandler(unknown),
		grpc.ForceServerCodecV2(requests),
		grpc.MaxRecvMsgSize(max(cfg.MaxMessageBytes, maxRefusedBytes)),
		grpc.MaxSendMsgSize(cfg.MaxMessageBytes),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepalivePing, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMin, PermitWithoutStream: true}),
	)
	return server, nil
}

// UnknownMethod answers what grpc itself would, with a reason.
func UnknownMethod(_ any, ss grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(ss)
	return Errorf(codes.Unimplemented, taskv1.ErrorReason_ERROR_REASON_METHOD_NOT_FOUND,
		"there is no method %s here; grpcurl's list and describe show what there is", method)
}

func deadlineUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultDeadline)
		defer cancel()
	}
	return handler(ctx, req)
}
