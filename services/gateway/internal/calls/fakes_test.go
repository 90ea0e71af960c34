package calls

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/reflect/protoregistry"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/api"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// taskID is that of every task here.
const taskID = "0199d0c4-0000-7000-8000-000000000001"

// step is one event of a task, and the task as it was when the event was read.
type step struct {
	task  task.Task
	event task.Event
}

// tasks is a task service in which tasks go as they are told to.
type tasks struct {
	submitErr error
	// steps are what Follow sees; the last is what AwaitOutcome gives. With none the
	// task goes on for ever.
	steps []step

	mu        sync.Mutex
	submitted []*taskv1.SubmitTaskRequest
	cancelled chan *taskv1.CancelTaskRequest
	// followed says that Follow was called: another call finds the task as it is last.
	followed bool
}

func (f *tasks) Stopping() bool { return false }

func (f *tasks) SubmitCall(_ context.Context, r *taskv1.SubmitTaskRequest, _ api.Answer) (string, *watch.End, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.submitted = append(f.submitted, r)
	if f.submitErr != nil {
		return "", nil, f.submitErr
	}
	return taskID, nil, nil
}

func (f *tasks) submissions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.submitted)
}

func (f *tasks) AwaitOutcome(ctx context.Context, _ string, _ *watch.End) (watch.Outcome, error) {
	if len(f.steps) == 0 {
		<-ctx.Done()
		return watch.Outcome{}, ctx.Err()
	}
	last := f.steps[len(f.steps)-1]
	return watch.Outcome{State: last.task.State, Event: &last.event}, nil
}

func (f *tasks) Follow(ctx context.Context, _ string, see func(*task.Task, *task.NumberedEvent) (bool, error)) error {
	f.mu.Lock()
	again := f.followed
	f.followed = true
	f.mu.Unlock()
	for _, s := range f.steps {
		if again {
			s.task = f.steps[len(f.steps)-1].task
		}
		if enough, err := see(&s.task, &task.NumberedEvent{Event: s.event}); enough || err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

func (f *tasks) CancelTask(_ context.Context, r *taskv1.CancelTaskRequest) (*taskv1.CancelTaskResponse, error) {
	f.cancelled <- r
	return &taskv1.CancelTaskResponse{}, nil
}

// serve is a client of a server that has no services but the handler's.
func serve(t *testing.T, f *tasks, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	f.cancelled = make(chan *taskv1.CancelTaskRequest, 10)
	a, err := catalogue.Collect(protoregistry.GlobalFiles, "demo.v1.FaultService", "demo.v1.ImageService")
	require.NoError(t, err)
	bundle, err := catalogue.Build(a, catalogue.Limits{})
	require.NoError(t, err)
	known := catalogue.New()
	_, err = known.Put(bundle, time.Now())
	require.NoError(t, err)
	log := slog.New(slog.DiscardHandler)
	h := New(Config{Catalogue: known, CatalogueLoaded: func() bool { return true }, Tasks: f, Logger: log})
	// A server that is stopped does not wait for its calls' ends.
	var handling sync.WaitGroup
	handle := func(srv any, ss grpc.ServerStream) error {
		handling.Add(1)
		defer handling.Done()
		return h.Handle(srv, ss)
	}
	server, err := rpc.NewServer(rpc.ServerConfig{Logger: log, MaxMessageBytes: 1 << 20, Unknown: handle, Known: h.Known})
	require.NoError(t, err)
	listener := bufconn.Listen(1 << 16)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	conn, err := grpc.NewClient("passthrough:///calls", append(options, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))...)
	require.NoError(t, err)
	t.Cleanup(func() {
		conn.Close()
		server.Stop()
		serving.Wait()
		handling.Wait()
	})
	return conn
}

func faults(c *grpc.ClientConn) demov1.FaultServiceClient { return demov1.NewFaultServiceClient(c) }
