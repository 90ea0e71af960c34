package cmd

import (
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
)

var discard = slog.New(slog.DiscardHandler)

func TestServe(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- (&serveCommand{Grace: time.Minute}).serve(ctx, listener, discard) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()

	for _, service := range []string{"", "demo.v1.ImageService", "demo.v1.FaultService"} {
		answer, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		require.NoError(t, err)
		require.Equal(t, healthpb.HealthCheckResponse_SERVING, answer.GetStatus(), service)
	}
	require.Subset(t, listed(t, conn), []string{"demo.v1.FaultService", "demo.v1.ImageService"})

	faults := demov1.NewFaultServiceClient(conn)
	_, err = faults.Panic(t.Context(), &demov1.PanicRequest{Message: "boom"})
	require.Equal(t, codes.Internal, status.Code(err), "a panic must not end the server")

	stop()
	require.NoError(t, <-served)
	_, err = faults.Delay(t.Context(), &demov1.DelayRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err))
}

func listed(t *testing.T, conn *grpc.ClientConn) []string {
	t.Helper()
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{},
	}))
	answer, err := stream.Recv()
	require.NoError(t, err)
	require.NoError(t, stream.CloseSend())
	var names []string
	for _, service := range answer.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	slices.Sort(names)
	return names
}

func TestServeRefusesToListenBeyondLoopback(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, (&serveCommand{Listen: "0.0.0.0:0"}).Run(t.Context(), discard), "--insecure")
}

func TestRunRefusesWhatItDoesNotKnow(t *testing.T) {
	for name, arguments := range map[string][]string{
		"no command":  {},
		"a command":   {"sleep"},
		"a flag":      {"serve", "--lisen=127.0.0.1:1"},
		"a log level": {"serve", "--log-level=loud"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Error(t, Run(t.Context(), arguments, io.Discard))
		})
	}
	t.Run("a variable", func(t *testing.T) {
		t.Setenv("WARREN_LISEN", "127.0.0.1:1")
		require.ErrorContains(t, Run(t.Context(), []string{"serve"}, io.Discard), "WARREN_LISEN")
	})
}

func TestRunServesUntilItsContextEnds(t *testing.T) {
	t.Setenv("WARREN_LISTEN", "127.0.0.1:0")
	ctx, stop := context.WithCancel(t.Context())
	stop()
	require.NoError(t, Run(ctx, []string{"serve"}, io.Discard))
}
