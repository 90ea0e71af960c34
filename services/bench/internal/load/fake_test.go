package load_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/bench/internal/load"
	"github.com/warrenmq/warren/services/bench/internal/noop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a gateway and its worker: each task ends at once.
type fake struct {
	taskv1.UnimplementedTaskServiceServer
	reports io.Writer
	// state is how tasks end.
	state taskv1.TaskState
	// behind is how often each of the calls that read is told to call again.
	behind int
	// batch answers BatchSubmitTasks.
	batch func(*taskv1.BatchSubmitTasksRequest) (*taskv1.BatchSubmitTasksResponse, error)

	mu       sync.Mutex
	tasks    int
	batches  []int
	asked    map[string]int
	longest  int
	underWay int
}

func (f *fake) SubmitTask(_ context.Context, request *taskv1.SubmitTaskRequest) (*taskv1.SubmitTaskResponse, error) {
	f.enter()
	defer f.leave()
	return f.submit(request)
}

func (f *fake) enter() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.underWay++
	f.longest = max(f.longest, f.underWay)
}

func (f *fake) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.underWay--
}

func (f *fake) submit(request *taskv1.SubmitTaskRequest) (*taskv1.SubmitTaskResponse, error) {
	var payload wrapperspb.BytesValue
	if err := request.GetPayload().UnmarshalTo(&payload); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	batch, tasks := binary.BigEndian.Uint32(payload.GetValue()), binary.BigEndian.Uint32(payload.GetValue()[4:])
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tasks++
	id := fmt.Sprint("task-", f.tasks)
	switch {
	case tasks == 0:
		fmt.Fprintf(f.reports, "started %s %d\n", id, time.Now().UnixNano())
	case uint32(f.tasks) == tasks:
		fmt.Fprintf(f.reports, "all %d %s\n", batch, id)
	}
	return &taskv1.SubmitTaskResponse{Task: &taskv1.Task{TaskId: id, ResumeToken: "from-the-first"}}, nil
}

func (f *fake) BatchSubmitTasks(_ context.Context, request *taskv1.BatchSubmitTasksRequest) (*taskv1.BatchSubmitTasksResponse, error) {
	if f.batch != nil {
		return f.batch(request)
	}
	f.mu.Lock()
	f.batches = append(f.batches, len(request.GetRequests()))
	f.mu.Unlock()
	answer := &taskv1.BatchSubmitTasksResponse{}
	for _, r := range request.GetRequests() {
		one, err := f.submit(r)
		if err != nil {
			return nil, err
		}
		answer.Results = append(answer.Results, &taskv1.BatchSubmitTasksResult{Result: &taskv1.BatchSubmitTasksResult_Response{Response: one}})
	}
	return answer, nil
}

// again says whether a call for a task is told to be called again.
func (f *fake) again(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[id]++
	if f.asked[id] <= f.behind {
		return status.Error(codes.Unavailable, "behind")
	}
	return nil
}

func (f *fake) WaitTask(_ context.Context, request *taskv1.WaitTaskRequest) (*taskv1.WaitTaskResponse, error) {
	if err := f.again(request.GetTaskId()); err != nil {
		return nil, err
	}
	return &taskv1.WaitTaskResponse{Task: &taskv1.Task{TaskId: request.GetTaskId(), State: f.state}, Done: true}, nil
}

func (f *fake) WatchTask(request *taskv1.WatchTaskRequest, updates grpc.ServerStreamingServer[taskv1.WatchTaskResponse]) error {
	if err := f.again(request.GetTaskId()); err != nil {
		return err
	}
	if request.GetResumeToken() != "from-the-first" {
		return status.Error(codes.InvalidArgument, "another resume token")
	}
	for _, state := range []taskv1.TaskState{taskv1.TaskState_TASK_STATE_QUEUED, taskv1.TaskState_TASK_STATE_RUNNING, f.state} {
		event := &taskv1.TaskEvent{State: state}
		if err := updates.Send(&taskv1.WatchTaskResponse{Update: &taskv1.WatchTaskResponse_Event{Event: event}}); err != nil {
			return err
		}
	}
	return nil
}

// under is a load on the fake.
func under(t *testing.T, f *fake) *load.Load {
	t.Helper()
	in, out := io.Pipe()
	f.reports, f.asked = out, map[string]int{}
	reports, heard := noop.NewListener(), make(chan struct{})
	go func() {
		defer close(heard)
		reports.Listen(in)
	}()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	taskv1.RegisterTaskServiceServer(server, f)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:fake",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
	)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		server.Stop()
		require.NoError(t, <-served)
		require.NoError(t, out.Close())
		<-heard
	})
	client := taskv1.NewTaskServiceClient(conn)
	return &load.Load{Tasks: []taskv1.TaskServiceClient{client, client}, Reports: reports}
}
