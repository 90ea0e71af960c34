package rpc_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/warrenmq/warren/pkg/rpc"
)

// TestStreamsOfPlumbingDoNotHoldUpAStop: a health watch and a reflection stream
// end when the server stops, long before the grace.
func TestStreamsOfPlumbingDoNotHoldUpAStop(t *testing.T) {
	t.Parallel()
	stopping := make(chan struct{})
	s, _ := newServer(t, nil, func(cfg *rpc.ServerConfig) { cfg.Stopping = stopping })
	reflection.Register(s)
	l, err := rpc.Listen(t.Context(), "listen", "127.0.0.1:0", false)
	require.NoError(t, err)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- rpc.Serve(ctx, s, l, rpc.Shutdown{Unready: func() {}, Stopping: func() { close(stopping) }, Grace: time.Hour})
	}()

	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
	require.NoError(t, err)
	_, err = watch.Recv()
	require.NoError(t, err)
	reflect, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	require.NoError(t, reflect.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}))
	_, err = reflect.Recv()
	require.NoError(t, err)

	stop()
	require.NoError(t, receive(t, ended))
	_, err = watch.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err))
	_, err = reflect.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err))
}
