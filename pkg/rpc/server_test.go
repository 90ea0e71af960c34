package rpc_test

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/telemetry/logtest"
)

// perCall is what differs between the lines of two calls.
var perCall = regexp.MustCompile(`(time|grpc\.start_time|grpc\.time_ms|peer\.address|grpc\.request\.deadline|grpc\.method|incident)=\S+ ?|as incident \w+`)

// TestInterceptorsInOrder: logging sees what the caller gets, with the cause of
// what recovery found within, and nothing differs between the kinds.
func TestInterceptorsInOrder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do     func() error
		id     string
		logged []string
	}{
		"panic":   {func() error { panic("ouch") }, id, []string{"level=ERROR", "grpc.code=Internal", `cause="panic: ouch\ngoroutine `}},
		"own":     {func() error { return ownError() }, id, []string{"grpc.code=NotFound"}},
		"outage":  {func() error { return rpc.Errorf(14, 0, "later").Because(errors.New("store down")) }, id, []string{"level=WARN", "grpc.code=Unavailable", `cause="store down"`}},
		"foreign": {func() error { return errors.New("from below") }, id, []string{"level=ERROR", "grpc.code=Internal", `cause="from below"`, "incident="}},
		"status":  {func() error { return status.Error(codes.Unknown, "from below") }, id, []string{"level=ERROR", "grpc.code=Internal", "from below", "incident="}},
		"invalid": {func() error { panic("not called") }, "x", []string{"level=INFO", "grpc.code=InvalidArgument", "task_id"}},
	} {
		t.Run(name, func(t *testing.T) {
			conn, log := serve(t, func(context.Context) error { return c.do() }, func(cfg *rpc.ServerConfig) {
				// NOT_FOUND is logged as well, for this test.
				cfg.Logger = debugging(cfg.Logger)
			})
			lines, answered := map[string]string{}, map[string]string{}
			for kind, call := range calls(conn) {
				answered[kind] = status.Code(call(t.Context(), c.id)).String()
				line := log.Take()
				require.Equal(t, 1, strings.Count(line, "\n"), "one line for each failed call: %s", line)
				for _, part := range append(c.logged, "grpc.service=warren.task.v1.TaskService", "grpc.code="+answered[kind]) {
					require.Contains(t, line, part)
				}
				line, _, _ = strings.Cut(line, `\ngoroutine `)
				lines[kind] = perCall.ReplaceAllString(line, "")
			}
			require.Equal(t, lines["unary"], lines["stream"])
			require.Equal(t, answered["unary"], answered["stream"])
		})
	}
}

func TestSuccessIsNotLogged(t *testing.T) {
	t.Parallel()
	conn, log := serve(t, func(context.Context) error { return nil })
	_, err := taskv1.NewTaskServiceClient(conn).GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: id})
	require.NoError(t, err)
	require.Empty(t, log.Take())
}

func TestHealthChecksAreNotLogged(t *testing.T) {
	t.Parallel()
	conn, log := serve(t, nil, func(cfg *rpc.ServerConfig) { cfg.Logger = debugging(cfg.Logger) })
	_, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "unknown"})
	require.Error(t, err)
	require.Equal(t, codes.NotFound, status.Code(err))
	require.Empty(t, status.Convert(err).Details(), "its errors are gRPC's")
	require.Empty(t, log.Take())
}

func TestDefaultDeadline(t *testing.T) {
	t.Parallel()
	var left time.Duration
	var has bool
	conn, _ := serve(t, func(ctx context.Context) error {
		var deadline time.Time
		deadline, has = ctx.Deadline()
		left = time.Until(deadline)
		return nil
	}, func(cfg *rpc.ServerConfig) { cfg.LongCalls = []string{taskv1.TaskService_WaitTask_FullMethodName} })
	tasks := taskv1.NewTaskServiceClient(conn)

	_, err := tasks.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: id})
	require.NoError(t, err)
	require.True(t, has)
	require.LessOrEqual(t, left, rpc.DefaultDeadline)
	require.Greater(t, left, rpc.DefaultDeadline-patience)

	for _, own := range []time.Duration{15 * time.Second, time.Hour} {
		ctx, cancel := context.WithTimeout(t.Context(), own)
		defer cancel()
		_, err = tasks.GetTask(ctx, &taskv1.GetTaskRequest{TaskId: id})
		require.NoError(t, err)
		require.True(t, has)
		require.LessOrEqual(t, left, own, "the caller's own counts")
		require.Greater(t, left, own-patience)
	}

	_, err = tasks.WaitTask(t.Context(), &taskv1.WaitTaskRequest{TaskId: id})
	require.NoError(t, err)
	require.False(t, has, "a long call bounds its own time")

	require.Error(t, calls(conn)["stream"](t.Context(), id), "EOF")
	require.False(t, has, "a stream may last")
}

func TestMessageLimits(t *testing.T) {
	t.Parallel()
	conn, log := serve(t, func(context.Context) error { return nil }, func(cfg *rpc.ServerConfig) { cfg.MaxMessageBytes, cfg.MaxPayloadBytes = 1000, 700 })
	submit := func(n int) error {
		_, err := taskv1.NewTaskServiceClient(conn).SubmitTask(t.Context(), &taskv1.SubmitTaskRequest{
			Type: "a.v1.A.B", Payload: &anypb.Any{Value: make([]byte, n)},
		})
		return err
	}
	require.NoError(t, submit(900))
	for _, n := range []int{1001, 5 << 20, 20 << 20} {
		err := submit(n)
		require.Equal(t, codes.ResourceExhausted, status.Code(err))
		info := requireInfo(t, err)
		require.Equal(t, "PAYLOAD_TOO_LARGE", info.Reason)
		require.Equal(t, map[string]string{"limit_bytes": "700"}, info.Metadata)
		require.ErrorContains(t, err, "700")
		require.Contains(t, log.Take(), "ResourceExhausted", "it is logged like all others")
	}
	require.Equal(t, codes.ResourceExhausted, status.Code(submit(33<<20)), "gRPC's own")

	stream, err := taskv1.NewTaskServiceClient(conn).WatchTask(t.Context(), &taskv1.WatchTaskRequest{TaskId: strings.Repeat("x", 2000)})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, "PAYLOAD_TOO_LARGE", requireInfo(t, err).Reason)
}

// raw sends bytes as they are.
type raw []byte

func (raw) Name() string { return "proto" }

func (r raw) Marshal(any) ([]byte, error) { return r, nil }

func (raw) Unmarshal([]byte, any) error { return nil }

func TestUndecodableRequests(t *testing.T) {
	t.Parallel()
	conn, _ := serve(t, func(context.Context) error { panic("not called") })
	for name, body := range map[string][]byte{
		"no message": {0x0a, 0x05, 'x'},
		"no UTF-8":   {0x0a, 0x02, 0xc3, 0x28},
	} {
		t.Run(name, func(t *testing.T) {
			codec := grpc.ForceCodec(raw(body))
			err := conn.Invoke(t.Context(), taskv1.TaskService_GetTask_FullMethodName, body, &body, codec)
			requireUndecodable(t, err, "warren.task.v1.GetTaskRequest")

			stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, taskv1.TaskService_WatchTask_FullMethodName, codec)
			require.NoError(t, err)
			require.NoError(t, stream.SendMsg(body))
			require.NoError(t, stream.CloseSend())
			requireUndecodable(t, stream.RecvMsg(&body), "warren.task.v1.WatchTaskRequest")
		})
	}
}

func requireUndecodable(t *testing.T, err error, message string) {
	t.Helper()
	require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
	require.Equal(t, "INVALID_REQUEST", requireInfo(t, err).Reason)
	require.ErrorContains(t, err, message)
}

// TestMistakesHaveAnIncident: what the caller is told leads to what the log has.
func TestMistakesHaveAnIncident(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func() error{
		"plain":  func() error { return errors.New("from below") },
		"status": func() error { return status.Error(codes.Internal, "from below") },
		"own":    func() error { return rpc.Internal(errors.New("from below")) },
		"panic":  func() error { panic("from below") },
	} {
		t.Run(name, func(t *testing.T) {
			conn, log := serve(t, func(context.Context) error { return do() })
			seen := map[string]bool{}
			for _, call := range calls(conn) {
				err := call(t.Context(), id)
				incident := requireInfo(t, err).Metadata["incident"]
				require.NotEmpty(t, incident)
				require.False(t, seen[incident])
				seen[incident] = true
				require.ErrorContains(t, err, incident)
				line := log.Take()
				require.Contains(t, line, "incident="+incident)
				require.Contains(t, line, "from below")
			}
		})
	}
}

// panicking is a health service with a mistake.
type panicking struct{ *health.Server }

func (panicking) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	panic("from below")
}

func TestMistakesInHealthAreLogged(t *testing.T) {
	t.Parallel()
	l := &logtest.Buffer{}
	s, err := rpc.NewServer(rpc.ServerConfig{Logger: slog.New(slog.NewTextHandler(l, nil)), MaxMessageBytes: 1000})
	require.NoError(t, err)
	grpc_health_v1.RegisterHealthServer(s, panicking{health.NewServer()})
	conn := serveOn(t, s)
	_, err = grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	require.Equal(t, "INTERNAL", requireInfo(t, err).Reason)
	require.Contains(t, l.Take(), "from below")
}
