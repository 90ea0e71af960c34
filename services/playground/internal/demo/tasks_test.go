//go:build unix

package demo

import (
	"context"
	"image"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/playground/internal/pictures"
	"github.com/warrenmq/warren/services/playground/internal/show"
)

// gateway answers every call for one task.
type gateway struct {
	taskv1.UnimplementedTaskServiceServer
	events   []*taskv1.TaskEvent
	task     *taskv1.Task
	attempts []*taskv1.TaskAttempt

	refusals    int32 // how many submissions are refused first
	reason      string
	submissions atomic.Int32
}

func (g *gateway) SubmitTask(context.Context, *taskv1.SubmitTaskRequest) (*taskv1.SubmitTaskResponse, error) {
	if g.submissions.Add(1) <= g.refusals {
		return nil, refused(g.reason)
	}
	return &taskv1.SubmitTaskResponse{Task: &taskv1.Task{TaskId: g.task.GetTaskId()}}, nil
}

// refused is an error of the API.
func refused(reason string) error {
	refusal, err := status.New(codes.Unavailable, "refused").WithDetails(&errdetails.ErrorInfo{Domain: "warren", Reason: reason})
	if err != nil {
		return err
	}
	return refusal.Err()
}

func (g *gateway) GetTask(context.Context, *taskv1.GetTaskRequest) (*taskv1.GetTaskResponse, error) {
	return &taskv1.GetTaskResponse{Task: g.task}, nil
}

func (g *gateway) ListTaskAttempts(context.Context, *taskv1.ListTaskAttemptsRequest) (*taskv1.ListTaskAttemptsResponse, error) {
	return &taskv1.ListTaskAttemptsResponse{Attempts: g.attempts}, nil
}

func (g *gateway) WatchTask(_ *taskv1.WatchTaskRequest, stream grpc.ServerStreamingServer[taskv1.WatchTaskResponse]) error {
	for _, event := range g.events {
		if err := stream.Send(&taskv1.WatchTaskResponse{Update: &taskv1.WatchTaskResponse_Event{Event: event}}); err != nil {
			return err
		}
	}
	return nil
}

// sessionWith is a session with that gateway, and what it prints.
func sessionWith(t *testing.T, g *gateway) (*session, *strings.Builder) {
	t.Helper()
	return sessionWithDead(t, g, deadletterv1.UnimplementedDeadLetterServiceServer{})
}

// sessionWithDead has a dead-letter service too.
func sessionWithDead(t *testing.T, g taskv1.TaskServiceServer, dead deadletterv1.DeadLetterServiceServer) (*session, *strings.Builder) {
	t.Helper()
	server := grpc.NewServer()
	taskv1.RegisterTaskServiceServer(server, g)
	deadletterv1.RegisterDeadLetterServiceServer(server, dead)
	listener := bufconn.Listen(1 << 20)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///gateway",
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
	var out strings.Builder
	return &session{
		tasks: taskv1.NewTaskServiceClient(conn),
		dead:  deadletterv1.NewDeadLetterServiceClient(conn),
		print: show.NewPrinter(&out),
	}, &out
}

func history(numbers ...int64) []*taskv1.TaskEvent {
	var events []*taskv1.TaskEvent
	for _, n := range numbers {
		event := &taskv1.TaskEvent{Number: n, Kind: taskv1.EventKind_EVENT_KIND_STARTED, State: taskv1.TaskState_TASK_STATE_RUNNING}
		if n == 3 {
			event.Kind, event.State = taskv1.EventKind_EVENT_KIND_SUCCEEDED, taskv1.TaskState_TASK_STATE_SUCCEEDED
		}
		events = append(events, event)
	}
	return events
}

func TestWatchNoticesWhatIsMissing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		numbers []int64
		words   string
	}{
		"all of it":          {[]int64{1, 2, 3}, ""},
		"a gap":              {[]int64{1, 3}, "event 3 came where 2 was due"},
		"the first is gone":  {[]int64{2, 3}, "event 2 came where 1 was due"},
		"one of them twice":  {[]int64{1, 1, 2, 3}, "event 1 came where 2 was due"},
		"it ends too early":  {[]int64{1, 2}, "ended with the task RUNNING"},
		"nothing at all":     {nil, "ended with the task UNSPECIFIED"},
		"one in wrong order": {[]int64{2, 1, 3}, "event 2 came where 1 was due"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := sessionWith(t, &gateway{events: history(test.numbers...), task: &taskv1.Task{TaskId: "id"}})
			task, err := s.watch(t.Context(), &taskv1.Task{TaskId: "id"})
			if test.words != "" {
				require.ErrorContains(t, err, test.words)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "id", task.GetTaskId())
		})
	}
}

// The demo must not call a wrong picture right, whoever made it.
func TestTheThumbnailStepChecksThePicture(t *testing.T) {
	t.Parallel()
	palette := pictures.Palette(12)
	for name, test := range map[string]struct {
		quarters pictures.Quarters
		size     image.Point
		words    string
	}{
		"right":           {pictures.QuartersOf(palette, 0), image.Pt(240, 180), ""},
		"another picture": {pictures.QuartersOf(palette, 1), image.Pt(240, 180), "quarter at the top left"},
		"another size":    {pictures.QuartersOf(palette, 0), image.Pt(240, 240), "not (240,180)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			picture, err := pictures.Photograph(test.size, test.quarters)
			require.NoError(t, err)
			s, out := sessionWith(t, &gateway{events: history(1, 2, 3), attempts: tried(attempt{1, 1, true}), task: &taskv1.Task{
				TaskId: "id", State: taskv1.TaskState_TASK_STATE_SUCCEEDED,
				Result: packed(t, &demov1.ThumbnailResponse{
					Image: picture, Width: int32(test.size.X), Height: int32(test.size.Y),
				}),
			}})
			err = s.thumbnail(t.Context())
			if test.words != "" {
				require.ErrorContains(t, err, test.words)
				require.NotContains(t, out.String(), "right picture")
				return
			}
			require.NoError(t, err)
			require.Contains(t, out.String(), "right picture")
		})
	}
}

func TestTheFailureStepChecksTheFailure(t *testing.T) {
	t.Parallel()
	right := &taskv1.Task{
		TaskId: "id", State: taskv1.TaskState_TASK_STATE_DEAD_LETTERED, Cause: taskv1.Cause_CAUSE_PERMANENT_FAILURE, Attempt: 1,
		Failure: &taskv1.Failure{Code: 5, Message: "there is no picture burrow.jpg", Details: []*anypb.Any{
			packed(t, &errdetails.ErrorInfo{Reason: "PICTURE_MISSING", Domain: "demo"}),
		}},
	}
	for name, test := range map[string]struct {
		spoil func(*taskv1.Task)
		words string
	}{
		"right":               {func(*taskv1.Task) {}, ""},
		"it succeeded":        {func(task *taskv1.Task) { task.State = taskv1.TaskState_TASK_STATE_SUCCEEDED }, "not DEAD_LETTERED"},
		"without a cause":     {func(task *taskv1.Task) { task.Cause = taskv1.Cause_CAUSE_UNSPECIFIED }, "cause UNSPECIFIED, not PERMANENT_FAILURE"},
		"tried again":         {func(task *taskv1.Task) { task.Attempt = 2 }, "died in attempt 2"},
		"details were lost":   {func(task *taskv1.Task) { task.Failure.Details = nil }, "reason PICTURE_MISSING"},
		"the failure is gone": {func(task *taskv1.Task) { task.Failure = nil }, "no failure recorded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			task := proto.CloneOf(right)
			test.spoil(task)
			s, _ := sessionWith(t, &gateway{events: history(1, 2, 3), task: task})
			requireWords(t, s.failure(t.Context()), test.words)
		})
	}
}

// requireWords demands an error with the words, and none without.
func requireWords(t *testing.T, err error, words string) {
	t.Helper()
	if words == "" {
		require.NoError(t, err)
		return
	}
	require.ErrorContains(t, err, words)
}

func TestAnEventThatIsToldLateSaysSo(t *testing.T) {
	t.Parallel()
	what, text := describeEvent(&taskv1.TaskEvent{
		Kind: taskv1.EventKind_EVENT_KIND_QUEUED, State: taskv1.TaskState_TASK_STATE_RUNNING,
	})
	require.Equal(t, "QUEUED", what)
	require.Equal(t, "(told late, the task is RUNNING already)", text)
}

func TestARetryIsShownWithItsDecision(t *testing.T) {
	t.Parallel()
	what, text := describeEvent(&taskv1.TaskEvent{
		Kind: taskv1.EventKind_EVENT_KIND_RETRYING, State: taskv1.TaskState_TASK_STATE_RETRYING, Decision: "next in 1 s",
	})
	require.Equal(t, "RETRYING", what)
	require.Equal(t, "next in 1 s", text)
}

func packed(t *testing.T, message proto.Message) *anypb.Any {
	t.Helper()
	packed, err := anypb.New(message)
	require.NoError(t, err)
	return packed
}

// Only what was certainly not submitted may be submitted again.
func TestSubmitSubmitsAgainOnlyWhatWasNotSubmitted(t *testing.T) {
	t.Parallel()
	for reason, calls := range map[string]int{"NOT_SUBMITTED": 2, "SUBMISSION_UNKNOWN": 1, "STORE_UNAVAILABLE": 1} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			g := &gateway{task: &taskv1.Task{TaskId: "id"}, refusals: 1, reason: reason}
			s, _ := sessionWith(t, g)
			task, err := s.submit(t.Context(), demov1.FaultService_Fail_FullMethodName, &demov1.FailRequest{})
			require.EqualValues(t, calls, g.submissions.Load())
			if calls == 1 {
				require.ErrorContains(t, err, "refused")
				return
			}
			require.NoError(t, err)
			require.Equal(t, "id", task.GetTaskId())
		})
	}
}
