package client_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/callmeta"
	"github.com/warrenmq/warren/pkg/ports"
)

// gateway stands for one: it keeps tasks in memory and carries out ImageService's. It
// can be cut off and started again.
type gateway struct {
	taskv1.UnimplementedTaskServiceServer
	Target string

	mu       sync.Mutex
	server   *grpc.Server
	listener net.Listener
	conns    map[net.Conn]bool
	tasks    map[string]*fakeTask
	keys     map[string]string
	// asked are the submissions and calls that arrived, in their order; waits counts
	// the calls of WaitTask.
	asked []request
	waits int

	hooks hooks
}

// request is what a submission or a call asked for.
type request struct {
	options callmeta.Options
	md      metadata.MD
	submit  *taskv1.SubmitTaskRequest
}

// hooks interfere. All may be nil; n counts from 1.
type hooks struct {
	// refuse answers a submission or call before anything is submitted.
	refuse func(n int) error
	// accepted is called when a task is submitted, before that is answered; with an
	// error that is the answer.
	accepted func(n int, id string) error
	// begun is called when a call has its header sent, before the answer.
	begun func(n int) error
	// hold has tasks stay QUEUED.
	hold bool
	// fail has tasks fail.
	fail *status.Status
	// read answers a read before its time.
	read func(n int) error
	// watched is called before each message of a watch.
	watched func(send func(*taskv1.WatchTaskResponse) error, m *taskv1.WatchTaskResponse) (skip bool, err error)
}

type fakeTask struct {
	task   *taskv1.Task
	events []*taskv1.TaskEvent
	// news is closed when something is new.
	news chan struct{}
}

func startGateway() *gateway { return startGatewayWith(hooks{}) }

func startGatewayWith(h hooks) *gateway {
	g := &gateway{conns: map[net.Conn]bool{}, tasks: map[string]*fakeTask{}, keys: map[string]string{}, hooks: h}
	l, err := ports.Listen(context.Background())
	if err != nil {
		panic(err)
	}
	g.start(l)
	return g
}

// start serves.
func (g *gateway) start(l net.Listener) {
	server := grpc.NewServer(grpc.UnknownServiceHandler(g.call))
	taskv1.RegisterTaskServiceServer(server, g)
	g.mu.Lock()
	g.server, g.listener, g.Target = server, l, l.Addr().String()
	g.mu.Unlock()
	go func() { _ = server.Serve(&cuttable{Listener: l, g: g}) }()
}

// Close ends it.
func (g *gateway) Close() {
	g.mu.Lock()
	server, l := g.server, g.listener
	g.mu.Unlock()
	server.Stop()
	// A server that had not begun to serve does not close it at once.
	l.Close()
}

// restart ends it and starts it anew, with what it knows.
func (g *gateway) restart() {
	g.Close()
	l, err := net.Listen("tcp", g.Target)
	if err != nil {
		panic(err)
	}
	g.start(l)
}

// cut cuts all connections.
func (g *gateway) cut() {
	g.mu.Lock()
	conns := g.conns
	g.conns = map[net.Conn]bool{}
	g.mu.Unlock()
	for c := range maps.Keys(conns) {
		c.Close()
	}
}

// cuttable is a listener that notes its connections.
type cuttable struct {
	net.Listener

	g *gateway
}

func (l *cuttable) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.g.mu.Lock()
		l.g.conns[c] = true
		l.g.mu.Unlock()
	}
	return c, err
}

// ended is a status event of a task's end.
func ended(st *status.Status) *taskv1.TaskEvent {
	if st == nil {
		return &taskv1.TaskEvent{Kind: taskv1.EventKind_EVENT_KIND_SUCCEEDED, State: taskv1.TaskState_TASK_STATE_SUCCEEDED}
	}
	p := st.Proto()
	return &taskv1.TaskEvent{
		Kind: taskv1.EventKind_EVENT_KIND_DEAD_LETTERED, State: taskv1.TaskState_TASK_STATE_DEAD_LETTERED,
		Cause: taskv1.Cause_CAUSE_ATTEMPTS_EXHAUSTED, Failure: &taskv1.Failure{Code: p.Code, Message: p.Message, Details: p.Details},
	}
}

var started = &taskv1.TaskEvent{Kind: taskv1.EventKind_EVENT_KIND_STARTED, State: taskv1.TaskState_TASK_STATE_RUNNING}

// add adds events to a task.
func (g *gateway) add(id string, events ...*taskv1.TaskEvent) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.addLocked(g.tasks[id], events...)
}

func (g *gateway) addLocked(t *fakeTask, events ...*taskv1.TaskEvent) {
	for _, e := range events {
		e = proto.CloneOf(e)
		e.Number = int64(len(t.events)) + 1
		t.events = append(t.events, e)
		t.task.Version, t.task.State = e.Number, e.State
		t.task.ResumeToken = token(t.task.TaskId, e.Number)
		if e.Failure != nil {
			t.task.Failure, t.task.Cause = e.Failure, e.Cause
		}
	}
	close(t.news)
	t.news = make(chan struct{})
}

// update changes a task and wakes those who wait for it.
func (g *gateway) update(id string, f func(*taskv1.Task)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tasks[id]
	f(t.task)
	close(t.news)
	t.news = make(chan struct{})
}

func token(id string, number int64) string { return id + "/" + strconv.FormatInt(number, 10) }

func terminal(s taskv1.TaskState) bool { return s >= taskv1.TaskState_TASK_STATE_SUCCEEDED }

// submit notes what arrives and makes a task of it, or finds the key's.
func (g *gateway) submit(r request) (t *taskv1.Task, known bool, n int, err error) {
	g.mu.Lock()
	g.asked = append(g.asked, r)
	n = len(g.asked)
	g.mu.Unlock()
	if g.hooks.refuse != nil {
		if err := g.hooks.refuse(n); err != nil {
			return nil, false, n, err
		}
	}
	t, known = g.accept(r.submit)
	if g.hooks.accepted != nil {
		err = g.hooks.accepted(n, t.TaskId)
	}
	return t, known, n, err
}

func (g *gateway) accept(r *taskv1.SubmitTaskRequest) (*taskv1.Task, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	id := r.TaskId
	if r.IdempotencyKey != "" {
		id = g.keys[r.IdempotencyKey]
	}
	if t := g.tasks[id]; t != nil {
		return proto.CloneOf(t.task), true
	}
	if id == "" {
		id = uuid.NewString()
	}
	g.keys[r.IdempotencyKey] = id
	t := &fakeTask{task: &taskv1.Task{TaskId: id, Type: r.Type, Payload: r.Payload}, news: make(chan struct{})}
	g.tasks[id] = t
	g.addLocked(t, &taskv1.TaskEvent{Kind: taskv1.EventKind_EVENT_KIND_QUEUED, State: taskv1.TaskState_TASK_STATE_QUEUED})
	t.task.ResumeToken = token(id, 0)
	accepted := proto.CloneOf(t.task)
	if !g.hooks.hold {
		g.carryOut(t)
	}
	return accepted, false
}

// carryOut does what ImageService does.
func (g *gateway) carryOut(t *fakeTask) {
	if g.hooks.fail == nil {
		var r demov1.ThumbnailRequest
		if err := t.task.Payload.UnmarshalTo(&r); err == nil {
			t.task.Result, _ = anypb.New(&demov1.ThumbnailResponse{Width: r.MaxWidth})
		} else {
			t.task.Result, _ = anypb.New(&demov1.ContactSheetResponse{Placed: 2, Total: 2})
		}
	}
	g.addLocked(t, started, ended(g.hooks.fail))
}

// SubmitTask implements TaskService.
func (g *gateway) SubmitTask(ctx context.Context, r *taskv1.SubmitTaskRequest) (*taskv1.SubmitTaskResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	t, known, _, err := g.submit(request{md: md, submit: r})
	if err != nil {
		return nil, err
	}
	return &taskv1.SubmitTaskResponse{Task: t, AlreadySubmitted: known}, nil
}

// call is the handler of users' methods.
func (g *gateway) call(_ any, ss grpc.ServerStream) error {
	md, _ := metadata.FromIncomingContext(ss.Context())
	options, err := callmeta.Parse(md)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	method, _ := grpc.MethodFromServerStream(ss)
	var in proto.Message = &demov1.ThumbnailRequest{}
	if strings.HasSuffix(method, "ContactSheet") {
		in = &demov1.ContactSheetRequest{}
	}
	if err := ss.RecvMsg(in); err != nil {
		return err
	}
	payload, err := anypb.New(in)
	if err != nil {
		return err
	}
	t, _, n, err := g.submit(request{options, md, options.Request(method, payload, time.Now())})
	if err != nil {
		return err
	}
	return g.answer(ss, t.TaskId, n, options)
}

func (g *gateway) answer(ss grpc.ServerStream, id string, n int, options callmeta.Options) error {
	header := metadata.Pairs(callmeta.KeyTaskID, id)
	late := options.LateHeaders || options.IdempotencyKey != ""
	if !late {
		if err := ss.SendHeader(header); err != nil {
			return err
		}
	}
	if g.hooks.begun != nil {
		if err := g.hooks.begun(n); err != nil {
			return err
		}
	}
	if options.Mode == callmeta.ModeAsync {
		return ss.SendMsg(&demov1.ThumbnailResponse{})
	}
	t, err := g.await(ss.Context(), id)
	if err != nil {
		return err
	}
	if late {
		_ = ss.SetHeader(header)
	}
	ss.SetTrailer(metadata.Pairs("x-trailer", "1"))
	if t.Failure != nil {
		return status.FromProto(&spb.Status{Code: t.Failure.Code, Message: t.Failure.Message, Details: t.Failure.Details}).Err()
	}
	result, err := t.Result.UnmarshalNew()
	if err != nil {
		return err
	}
	return ss.SendMsg(result)
}

// await waits for a task's end.
func (g *gateway) await(ctx context.Context, id string) (*taskv1.Task, error) {
	for {
		g.mu.Lock()
		t := g.tasks[id]
		if t == nil {
			g.mu.Unlock()
			return nil, reason(codes.NotFound, "TASK_NOT_FOUND", "")
		}
		news, now := t.news, proto.CloneOf(t.task)
		g.mu.Unlock()
		if terminal(now.State) {
			return now, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return now, status.FromContextError(ctx.Err()).Err()
		}
	}
}

// GetTask implements TaskService.
func (g *gateway) GetTask(_ context.Context, r *taskv1.GetTaskRequest) (*taskv1.GetTaskResponse, error) {
	if err := g.interfere(); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tasks[r.TaskId]
	if t == nil {
		return nil, reason(codes.NotFound, "TASK_NOT_FOUND", "")
	}
	return &taskv1.GetTaskResponse{Task: proto.CloneOf(t.task)}, nil
}

func (g *gateway) interfere() error {
	g.mu.Lock()
	g.waits++
	n := g.waits
	g.mu.Unlock()
	if g.hooks.read == nil {
		return nil
	}
	return g.hooks.read(n)
}

// WaitTask implements TaskService.
func (g *gateway) WaitTask(ctx context.Context, r *taskv1.WaitTaskRequest) (*taskv1.WaitTaskResponse, error) {
	if err := g.interfere(); err != nil {
		if errors.Is(err, errNotDone) {
			return &taskv1.WaitTaskResponse{Task: &taskv1.Task{TaskId: r.TaskId}}, nil
		}
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout.AsDuration())
	defer cancel()
	t, err := g.await(ctx, r.TaskId)
	if err != nil {
		return nil, err
	}
	return &taskv1.WaitTaskResponse{Task: t, Done: terminal(t.State)}, nil
}

// CancelTask implements TaskService.
func (g *gateway) CancelTask(_ context.Context, r *taskv1.CancelTaskRequest) (*taskv1.CancelTaskResponse, error) {
	g.update(r.TaskId, func(t *taskv1.Task) {
		t.State, t.CancelReason = taskv1.TaskState_TASK_STATE_CANCELLED, r.Reason
	})
	return &taskv1.CancelTaskResponse{Outcome: taskv1.CancelOutcome_CANCEL_OUTCOME_CANCELLED}, nil
}

// WatchTask implements TaskService.
func (g *gateway) WatchTask(r *taskv1.WatchTaskRequest, stream grpc.ServerStreamingServer[taskv1.WatchTaskResponse]) error {
	if err := g.interfere(); err != nil {
		return err
	}
	send := func(m *taskv1.WatchTaskResponse) error {
		if g.hooks.watched != nil {
			if skip, err := g.hooks.watched(stream.Send, m); skip || err != nil {
				return err
			}
		}
		return stream.Send(m)
	}
	number := int64(-1)
	if r.ResumeToken != "" {
		id, n, _ := strings.Cut(r.ResumeToken, "/")
		var err error
		if number, err = strconv.ParseInt(n, 10, 64); err != nil || id != r.TaskId {
			return reason(codes.InvalidArgument, "RESUME_TOKEN_INVALID", "")
		}
	}
	var progress *taskv1.Progress
	for {
		g.mu.Lock()
		t := g.tasks[r.TaskId]
		if t == nil {
			g.mu.Unlock()
			return reason(codes.NotFound, "TASK_NOT_FOUND", "")
		}
		now, events, news := proto.CloneOf(t.task), t.events[max(0, min(number, int64(len(t.events)))):], t.news
		g.mu.Unlock()
		if number < 0 {
			number, events, progress = now.Version, nil, now.Progress
			if err := send(&taskv1.WatchTaskResponse{Update: &taskv1.WatchTaskResponse_Snapshot{Snapshot: now}, ResumeToken: token(r.TaskId, number)}); err != nil {
				return err
			}
		}
		for _, e := range events {
			number = e.Number
			if err := send(&taskv1.WatchTaskResponse{Update: &taskv1.WatchTaskResponse_Event{Event: e}, ResumeToken: token(r.TaskId, number)}); err != nil {
				return err
			}
		}
		if terminal(now.State) {
			return nil
		}
		if now.Progress != nil && !proto.Equal(now.Progress, progress) {
			progress = now.Progress
			if err := send(&taskv1.WatchTaskResponse{Update: &taskv1.WatchTaskResponse_Progress{Progress: progress}, ResumeToken: token(r.TaskId, number)}); err != nil {
				return err
			}
		}
		select {
		case <-news:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// errNotDone has a wait answered before its time.
var errNotDone = errors.New("not done yet")

// reason is an error as the gateway's are.
func reason(code codes.Code, name, taskID string) error {
	info := &errdetails.ErrorInfo{Domain: "warren", Reason: name}
	if taskID != "" {
		info.Metadata = map[string]string{"task_id": taskID}
	}
	st, err := status.New(code, fmt.Sprintf("because of %s", name)).WithDetails(info)
	if err != nil {
		panic(err)
	}
	return st.Err()
}

// requests are those that arrived so far, and the ids of all tasks.
func (g *gateway) requests() (asked []request, tasks []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id := range g.tasks {
		tasks = append(tasks, id)
	}
	return append(asked, g.asked...), tasks
}
