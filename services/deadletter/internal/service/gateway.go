package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/telemetry"
)

// How a lost gateway is noticed and found again.
const (
	gatewayPing     = 15 * time.Second
	gatewayTimeout  = 5 * time.Second
	gatewayMaxDelay = 2 * time.Second
)

// dialGateway makes a connection, which is opened when it is first used.
func dialGateway(target string) (*grpc.ClientConn, error) {
	if target == "" {
		return nil, errors.New("--gateway is missing: give a gateway's HOST:PORT")
	}
	again := backoff.DefaultConfig
	again.BaseDelay, again.MaxDelay = 200*time.Millisecond, gatewayMaxDelay
	conn, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStatsHandler(telemetry.ClientHandler(otelgrpc.WithFilter(filters.Not(filters.HealthCheck())))),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: gatewayTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: gatewayPing, Timeout: gatewayTimeout, PermitWithoutStream: true}),
	)
	if err != nil {
		return nil, fmt.Errorf("--gateway %s: %w", target, err)
	}
	return conn, nil
}

// gatewayWorks asks the gateway for its health.
func gatewayWorks(ctx context.Context, conn grpc.ClientConnInterface) error {
	h, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: taskv1.TaskService_ServiceDesc.ServiceName})
	if err != nil {
		return fmt.Errorf("ask for the gateway's health: %w", err)
	}
	if h.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("the gateway is %s", h.Status)
	}
	return nil
}
