package load_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/bench/internal/load"
	"github.com/warrenmq/warren/services/bench/internal/noop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a gateway: each task ends at once.
type fake struct {
	taskv1.UnimplementedTaskServiceServer
	worker *fakeWorker
	// state is how tasks end.
	state taskv1.TaskState
	// behind is how often each of the calls that read is told to call again.
	behind int
	// batch answers BatchSubmitTasks, and stream the messages of SubmitTasks.
	batch  func(*taskv1.BatchSubmitTasksRequest) (*taskv1.BatchSubmitTasksResponse, error)
	stream func(*taskv1.SubmitTasksResponse) (*taskv1.SubmitTasksResponse, error)
	// call answers a call of the worker's method, when its task has ended.
	call func() error
	// backlog is how many tasks of a batch the worker leaves waiting. Each CRITICAL
	// task lets overtaken of them go.
	backlog, overtaken int

	mu       sync.Mutex
	tasks    int
	batches  []int
	asked    map[string]int
	longest  int
	directly int
	underWay int
	later    map[string]order
	waiting  []order
}

// order is a task that waits.
type order struct {
	id      string
	payload *wrapperspb.BytesValue
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
	o := order{payload: new(wrapperspb.BytesValue)}
	if err := request.GetPayload().UnmarshalTo(o.payload); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	asks, err := noop.OrderOf(o.payload)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tasks++
	o.id = fmt.Sprint("task-", f.tasks)
	switch {
	case request.GetScheduleTime() != nil:
		f.later[o.id] = o
		f.worker.later(request.GetScheduleTime().AsTime(), func() { _ = f.release(o.id) })
	case request.GetPriority() == taskv1.Priority_PRIORITY_CRITICAL:
		f.worker.run(o)
		f.drain()
	case asks.Tasks > 0 && len(f.waiting) < f.backlog:
		f.waiting = append(f.waiting, o)
	default:
		f.worker.run(o)
	}
	return &taskv1.SubmitTaskResponse{Task: &taskv1.Task{TaskId: o.id, ResumeToken: "from-the-first"}}, nil
}

// drain starts what was overtaken, and all of it when little is left.
func (f *fake) drain() {
	n := f.overtaken
	if len(f.waiting) <= 2*n {
		n = len(f.waiting)
	}
	for _, o := range f.waiting[:n] {
		f.worker.run(o)
	}
	f.waiting = f.waiting[n:]
}

// release starts a task that waits for its time, and says whether there was one.
func (f *fake) release(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, ok := f.later[id]
	delete(f.later, id)
	if ok {
		f.worker.run(o)
	}
	return ok
}

func (f *fake) RunTaskNow(_ context.Context, request *taskv1.RunTaskNowRequest) (*taskv1.RunTaskNowResponse, error) {
	if !f.release(request.GetTaskId()) {
		return nil, status.Error(codes.FailedPrecondition, "it is not SCHEDULED")
	}
	return &taskv1.RunTaskNowResponse{Task: &taskv1.Task{TaskId: request.GetTaskId()}}, nil
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

func (f *fake) SubmitTasks(stream grpc.BidiStreamingServer[taskv1.SubmitTasksRequest, taskv1.SubmitTasksResponse]) error {
	f.enter()
	defer f.leave()
	for number := int64(1); ; number++ {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		one, err := f.submit(request.GetRequest())
		if err != nil {
			return err
		}
		answer := &taskv1.SubmitTasksResponse{Number: number, Result: &taskv1.SubmitTasksResponse_Response{Response: one}}
		if f.stream != nil {
			if answer, err = f.stream(answer); err != nil || answer == nil {
				return err
			}
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

// work answers calls of the worker's method as tasks, as a gateway does.
func (f *fake) work(_ any, stream grpc.ServerStream) error {
	f.enter()
	defer f.leave()
	payload := new(wrapperspb.BytesValue)
	if err := stream.RecvMsg(payload); err != nil {
		return err
	}
	encoded, err := anypb.New(payload)
	if err != nil {
		return err
	}
	if _, err := f.submit(&taskv1.SubmitTaskRequest{Payload: encoded}); err != nil {
		return err
	}
	if f.call != nil {
		if err := f.call(); err != nil {
			return err
		}
	}
	return stream.SendMsg(new(emptypb.Empty))
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
	f.worker, f.asked, f.later = newFakeWorker(t, out), map[string]int{}, map[string]order{}
	reports, heard := noop.NewListener(), make(chan struct{})
	go func() {
		defer close(heard)
		reports.Listen(in)
	}()
	server := grpc.NewServer(grpc.UnknownServiceHandler(f.work))
	taskv1.RegisterTaskServiceServer(server, f)
	t.Cleanup(func() {
		f.worker.stop()
		require.NoError(t, out.Close())
		<-heard
	})
	conn := connected(t, server)
	client := taskv1.NewTaskServiceClient(conn)
	return &load.Load{
		Tasks: []taskv1.TaskServiceClient{client, client}, Reports: reports,
		Conns: []grpc.ClientConnInterface{conn, conn}, Direct: connected(t, f.direct(t)),
	}
}

// direct is a server that has the worker's method itself, and counts its calls.
func (f *fake) direct(t *testing.T) *grpc.Server {
	t.Helper()
	server := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		f.mu.Lock()
		f.directly++
		f.mu.Unlock()
		return next(ctx, request)
	}))
	require.NoError(t, noop.Register(server, noop.NewReporter(io.Discard, 1)))
	return server
}

// connected serves until the test ends.
func connected(t *testing.T, server *grpc.Server) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
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
	})
	return conn
}
