package faults_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	"github.com/warrenmq/warren/services/demo/internal/faults"
)

// dial serves the service over a real gRPC connection in memory. Its exits are
// sent into the channel.
func dial(t *testing.T) (demov1.FaultServiceClient, <-chan int) {
	t.Helper()
	exits := make(chan int, 1)
	server := grpc.NewServer()
	demov1.RegisterFaultServiceServer(server, faults.NewService(func(code int) { exits <- code }))
	listener := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///faults",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return listener.DialContext(ctx)
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		server.Stop()
		require.NoError(t, <-served)
	})
	return demov1.NewFaultServiceClient(conn), exits
}

func TestFailAnswersWithTheStatusAskedFor(t *testing.T) {
	t.Parallel()
	client, _ := dial(t)
	for name, test := range map[string]struct {
		request *demov1.FailRequest
		code    codes.Code
		message string
	}{
		"OK":               {&demov1.FailRequest{}, codes.OK, ""},
		"not found":        {&demov1.FailRequest{Code: 5, Message: "no such picture"}, codes.NotFound, "no such picture"},
		"the last code":    {&demov1.FailRequest{Code: 16}, codes.Unauthenticated, ""},
		"no code":          {&demov1.FailRequest{Code: 17}, codes.InvalidArgument, "code: 17 is not between 0 and 16"},
		"no code, below 0": {&demov1.FailRequest{Code: -1}, codes.InvalidArgument, "code: -1 is not between 0 and 16"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := client.Fail(t.Context(), test.request)
			require.Equal(t, test.code, status.Code(err))
			require.Equal(t, test.message, status.Convert(err).Message())
			require.Empty(t, status.Convert(err).Details())
		})
	}
}

func TestFailCarriesItsReason(t *testing.T) {
	t.Parallel()
	client, _ := dial(t)
	_, err := client.Fail(t.Context(), &demov1.FailRequest{Code: 9, Message: "not now", Reason: "CLOSED"})
	details := status.Convert(err).Details()
	require.Len(t, details, 1)
	info, ok := details[0].(*errdetails.ErrorInfo)
	require.True(t, ok, "%T", details[0])
	require.Equal(t, "CLOSED", info.GetReason())
	require.Equal(t, "demo", info.GetDomain())
}

func TestFailTimesCountsEachKeyByItself(t *testing.T) {
	t.Parallel()
	client, _ := dial(t)
	for _, key := range []string{"a", "b"} {
		for range 2 {
			_, err := client.FailTimes(t.Context(), &demov1.FailTimesRequest{Key: key, Times: 2})
			require.Equal(t, codes.Unavailable, status.Code(err))
		}
		answer, err := client.FailTimes(t.Context(), &demov1.FailTimesRequest{Key: key, Times: 2})
		require.NoError(t, err)
		require.EqualValues(t, 3, answer.GetCalls())
	}
}

func TestFailTimesRefusesALongKey(t *testing.T) {
	t.Parallel()
	client, _ := dial(t)
	_, err := client.FailTimes(t.Context(), &demov1.FailTimesRequest{Key: string(make([]byte, 257))})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
}

func TestDelay(t *testing.T) {
	t.Parallel()
	client, _ := dial(t)
	for name, test := range map[string]struct {
		delay *durationpb.Duration
		code  codes.Code
	}{
		"none":        {durationpb.New(0), codes.OK},
		"a short one": {durationpb.New(time.Millisecond), codes.OK},
		"negative":    {durationpb.New(-time.Second), codes.InvalidArgument},
		"not valid":   {&durationpb.Duration{Seconds: 1, Nanos: -1}, codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := client.Delay(t.Context(), &demov1.DelayRequest{Delay: test.delay})
			require.Equal(t, test.code, status.Code(err))
		})
	}
}

func TestDelayEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := faults.NewService(func(int) {}).Delay(ctx, &demov1.DelayRequest{Delay: durationpb.New(time.Hour)})
	require.Equal(t, codes.Canceled, status.Code(err))
}

func TestPanicPanicsWithTheMessage(t *testing.T) {
	t.Parallel()
	require.PanicsWithValue(t, "boom", func() {
		_, _ = faults.NewService(func(int) {}).Panic(t.Context(), &demov1.PanicRequest{Message: "boom"})
	})
}

func TestExit(t *testing.T) {
	t.Parallel()
	client, exits := dial(t)
	_, err := client.Exit(t.Context(), &demov1.ExitRequest{Code: 256})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.Empty(t, exits)
	_, err = client.Exit(t.Context(), &demov1.ExitRequest{Code: 3})
	require.Equal(t, codes.Internal, status.Code(err))
	require.Equal(t, 3, <-exits)
}
