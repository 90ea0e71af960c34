package client

import (
	"context"
	"errors"
	"io"
	"iter"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// Update is one step of a watch; exactly one of its first three fields is set.
type Update struct {
	// Snapshot is the task as of now: the first update of a watch from now on.
	Snapshot *taskv1.Task
	// Event is the next status event.
	Event *taskv1.TaskEvent
	// Progress is the latest progress; what came between may be left out.
	Progress *taskv1.Progress
	// ResumeToken goes on after this update, with [FromToken].
	ResumeToken string
}

// WatchOption is an option of a watch.
type WatchOption func(*taskv1.WatchTaskRequest)

// FromToken goes on where an earlier watch, or a task's resume token, ended, with the
// events after it. Default is a snapshot of the task and the events after that.
func FromToken(resumeToken string) WatchOption {
	return func(r *taskv1.WatchTaskRequest) { r.ResumeToken = resumeToken }
}

// FullView has the updates contain messages, results and metadata.
func FullView() WatchOption {
	return func(r *taskv1.WatchTaskRequest) { r.View = taskv1.TaskView_TASK_VIEW_FULL }
}

// Watch follows a task to its end: its status events in the order of their numbers,
// each once and none left out, and the latest progress beside them. A lost connection
// or a gateway that stops is no end: it goes on, for as long as ctx does, where it
// was. An error comes last and alone: ctx's end, or one of TaskService.WatchTask that
// going on can't cure. Ranging over it again watches again.
func (c *Client) Watch(ctx context.Context, taskID string, opts ...WatchOption) iter.Seq2[*Update, error] {
	return func(yield func(*Update, error) bool) {
		w := watch{tasks: c.tasks, request: &taskv1.WatchTaskRequest{TaskId: taskID}, yield: yield}
		for _, o := range opts {
			o(w.request)
		}
		if err := w.run(ctx); err != nil {
			yield(nil, ended(ctx, err))
		}
	}
}

// errLeft says that whoever ranges over a watch has left.
var errLeft = errors.New("the watch was left")

// watch is one watch, across its connections.
type watch struct {
	tasks taskv1.TaskServiceClient
	// request goes on after what has been seen.
	request *taskv1.WatchTaskRequest
	yield   func(*Update, error) bool
	// number is the last event's, once one is known.
	number   int64
	numbered bool
	progress *taskv1.Progress
	patience patience
}

// run returns nil when the task has ended, or when nobody watches any more.
func (w *watch) run(ctx context.Context) error {
	for {
		err := w.connection(ctx)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, errLeft):
			return nil
		case !w.patience.allows(err), !w.patience.pause(ctx):
			return err
		}
	}
}

// connection watches until that ends, for a reason that it returns.
func (w *watch) connection(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := w.tasks.WatchTask(ctx, w.request, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := w.see(m); err != nil {
			return err
		}
		w.patience.reset()
	}
}

// see shows what is new in a message.
func (w *watch) see(m *taskv1.WatchTaskResponse) error {
	u := &Update{Snapshot: m.GetSnapshot(), Event: m.GetEvent(), Progress: m.GetProgress(), ResumeToken: m.ResumeToken}
	switch {
	case u.Event != nil:
		if w.numbered && u.Event.Number <= w.number {
			return nil
		}
		if w.numbered && u.Event.Number > w.number+1 {
			return status.Errorf(codes.Internal, "the gateway left out events of task %s: number %d came after %d", w.request.TaskId, u.Event.Number, w.number)
		}
		w.number, w.numbered = u.Event.Number, true
	case u.Progress != nil:
		// A new connection begins with the latest, which may have been shown.
		if proto.Equal(u.Progress, w.progress) {
			return nil
		}
		w.progress = u.Progress
	case u.Snapshot != nil:
		w.number, w.numbered, w.progress = u.Snapshot.Version, true, u.Snapshot.Progress
	default:
		// Of a kind that is not known here.
		return nil
	}
	w.request.ResumeToken = m.ResumeToken
	if !w.yield(u, nil) {
		return errLeft
	}
	return nil
}
