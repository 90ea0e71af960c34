package cmd

import (
	"context"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/warrenmq/warren/pkg/rpc"
)

// maxRequestBytes is the largest payload that a Warren gateway can be told to
// accept, so that what works as a task works as a call.
const maxRequestBytes = 12 << 20

type serveCommand struct {
	Listen   string        `help:"Address of the gRPC server." default:"127.0.0.1:7075" placeholder:"ADDR"`
	Insecure bool          `help:"Allow addresses beyond this machine, without TLS or authentication."`
	Grace    time.Duration `help:"How long calls may go on after SIGTERM." default:"30s"`
}

// Run is called by kong. It returns once the server has stopped.
func (c *serveCommand) Run(ctx context.Context, log *slog.Logger) error {
	listener, err := rpc.Listen(ctx, "listen", c.Listen, c.Insecure)
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "serving gRPC", "address", listener.Addr().String())
	return c.serve(ctx, listener, log)
}

func (c *serveCommand) serve(ctx context.Context, listener net.Listener, log *slog.Logger) error {
	server := newServer(log)
	healthy := health.NewServer()
	for name := range server.GetServiceInfo() {
		healthy.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING)
	}
	healthpb.RegisterHealthServer(server, healthy)
	reflection.Register(server)
	return rpc.Serve(ctx, server, listener, rpc.Shutdown{Unready: healthy.Shutdown, Grace: c.Grace})
}

func newServer(log *slog.Logger) *grpc.Server {
	recovered := recovery.WithRecoveryHandlerContext(func(ctx context.Context, value any) error {
		log.ErrorContext(ctx, "a handler panicked", "value", value, "stack", string(debug.Stack()))
		return status.Errorf(codes.Internal, "the handler panicked: %v", value)
	})
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.StatsHandler(otelgrpc.NewServerHandler()),
		grpc.UnaryInterceptor(recovery.UnaryServerInterceptor(recovered)),
		grpc.StreamInterceptor(recovery.StreamServerInterceptor(recovered)),
	)
	register(server)
	return server
}
