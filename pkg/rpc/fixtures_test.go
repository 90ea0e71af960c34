package rpc_test

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/telemetry/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long anything may take.
const patience = 10 * time.Second

// service answers every call with what a test says.
type service struct {
	taskv1.UnimplementedTaskServiceServer
	do func(context.Context) error
}

func (s *service) SubmitTask(ctx context.Context, _ *taskv1.SubmitTaskRequest) (*taskv1.SubmitTaskResponse, error) {
	return &taskv1.SubmitTaskResponse{}, s.do(ctx)
}

func (s *service) GetTask(ctx context.Context, _ *taskv1.GetTaskRequest) (*taskv1.GetTaskResponse, error) {
	return &taskv1.GetTaskResponse{}, s.do(ctx)
}

func (s *service) WaitTask(ctx context.Context, _ *taskv1.WaitTaskRequest) (*taskv1.WaitTaskResponse, error) {
	return &taskv1.WaitTaskResponse{}, s.do(ctx)
}

func (s *service) WatchTask(_ *taskv1.WatchTaskRequest, ss grpc.ServerStreamingServer[taskv1.WatchTaskResponse]) error {
	return s.do(ss.Context())
}

func newServer(t testing.TB, do func(context.Context) error, edit ...func(*rpc.ServerConfig)) (*grpc.Server, *logtest.Buffer) {
	t.Helper()
	l := &logtest.Buffer{}
	cfg := rpc.ServerConfig{Logger: slog.New(slog.NewTextHandler(l, nil)), MaxMessageBytes: 4 << 20}
	for _, f := range edit {
		f(&cfg)
	}
	s, err := rpc.NewServer(cfg)
	require.NoError(t, err)
	t.Cleanup(s.Stop) // also of a server that has never served
	taskv1.RegisterTaskServiceServer(s, &service{do: do})
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	return s, l
}

// serve serves over a real gRPC connection in memory.
func serve(t testing.TB, do func(context.Context) error, edit ...func(*rpc.ServerConfig)) (*grpc.ClientConn, *logtest.Buffer) {
	t.Helper()
	s, l := newServer(t, do, edit...)
	return serveOn(t, s), l
}

func serveOn(t testing.TB, s *grpc.Server) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///warren", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		s.Stop()
		require.NoError(t, <-served)
	})
	return conn
}

// id is a valid task id.
const id = "01890a5d-ac96-774b-bcce-b302099a8057"

// calls are one call of each kind.
func calls(conn *grpc.ClientConn) map[string]func(ctx context.Context, id string) error {
	tasks := taskv1.NewTaskServiceClient(conn)
	return map[string]func(context.Context, string) error{
		"unary": func(ctx context.Context, id string) error {
			_, err := tasks.GetTask(ctx, &taskv1.GetTaskRequest{TaskId: id})
			return err
		},
		"stream": func(ctx context.Context, id string) error {
			stream, err := tasks.WatchTask(ctx, &taskv1.WatchTaskRequest{TaskId: id})
			if err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		},
	}
}

// requireInfo demands exactly one ErrorInfo, of Warren's, and gives it.
func requireInfo(t testing.TB, err error) *errdetails.ErrorInfo {
	t.Helper()
	require.Error(t, err)
	var infos []*errdetails.ErrorInfo
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			infos = append(infos, info)
		}
	}
	require.Len(t, infos, 1, "ErrorInfos in: %v", err)
	require.Equal(t, "warren", infos[0].Domain)
	return infos[0]
}

// violations are the fields that a BadRequest in the error names.
func violations(t testing.TB, err error) []string {
	t.Helper()
	var fields []string
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.FieldViolations {
				require.NotEmpty(t, v.Description)
				fields = append(fields, v.Field)
			}
		}
	}
	return fields
}
