package api

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// watchPage is how many events are read at once.
const watchPage = 100

// WatchTask implements warren.task.v1.TaskService.
func (s *TaskService) WatchTask(r *taskv1.WatchTaskRequest, stream grpc.ServerStreamingServer[taskv1.WatchTaskResponse]) error {
	ctx := stream.Context()
	sub := s.cfg.Hub.Subscribe(strings.ToLower(r.TaskId))
	defer sub.Close()
	defer s.metrics.watching(ctx)()
	w := &watcher{s: s, view: r.View, send: stream.Send}
	if err := w.begin(ctx, r); err != nil {
		return err
	}
	for {
		ended, err := w.catchUp(ctx)
		if ended || err != nil {
			return err
		}
		if err := s.await(ctx, sub.C); err != nil {
			return err
		}
	}
}

// watcher follows one task for one caller. What it has sent is all it knows;
// the store has the rest.
type watcher struct {
	s    *TaskService
	view taskv1.TaskView
	send func(*taskv1.WatchTaskResponse) error

	id string
	// output is what the task's messages are, for the FULL view.
	output   protoreflect.MessageDescriptor
	number   int64
	progress task.Key
}

// begin finds the task and where to go on, and sends a snapshot if the caller
// has nothing yet.
func (w *watcher) begin(ctx context.Context, r *taskv1.WatchTaskRequest) error {
	t, err := w.s.read(ctx, r.TaskId)
	if err != nil {
		return err
	}
	w.id = t.ID
	if w.view == taskv1.TaskView_TASK_VIEW_FULL {
		taskType, err := w.s.typeOf(&t)
		if err != nil {
			return err
		}
		w.output = taskType.Output
	}
	if r.ResumeToken != "" {
		w.number, err = parseResumeToken(t.ID, r.ResumeToken)
		if err == nil && w.number > t.Version {
			err = errResumeToken()
		}
		return err
	}
	snapshot, err := w.s.show(ctx, t, w.view)
	if err != nil {
		return err
	}
	w.number, w.progress = t.Version, t.ProgressKey
	return w.send(&taskv1.WatchTaskResponse{
		Update:      &taskv1.WatchTaskResponse_Snapshot{Snapshot: snapshot},
		ResumeToken: snapshot.ResumeToken,
	})
}

// catchUp sends everything that the store has, and says whether that ends the
// watch.
func (w *watcher) catchUp(ctx context.Context) (bool, error) {
	for {
		t, err := w.s.cfg.Store.Task(ctx, w.id)
		if err != nil {
			return false, readError(err)
		}
		if w.number >= t.Version {
			return t.State.Terminal(), w.sendProgress(&t)
		}
		if err := w.sendEvents(ctx); err != nil {
			return false, err
		}
	}
}

func (w *watcher) sendEvents(ctx context.Context) error {
	full := w.output != nil
	events, err := w.s.cfg.Store.Events(ctx, w.id, w.number, watchPage, full)
	if err != nil {
		return readError(err)
	}
	for i := range events {
		e := &events[i]
		m := eventToProto(e)
		if full {
			addFull(m, e, w.output)
		}
		err := w.send(&taskv1.WatchTaskResponse{
			Update:      &taskv1.WatchTaskResponse_Event{Event: m},
			ResumeToken: resumeToken(w.id, e.Number),
		})
		if err != nil {
			return err
		}
		w.number = e.Number
	}
	return nil
}

// sendProgress sends the latest progress of a task that has not ended, once.
func (w *watcher) sendProgress(t *task.Task) error {
	if t.Progress == nil || t.State.Terminal() || t.ProgressKey.Compare(w.progress) <= 0 {
		return nil
	}
	w.progress = t.ProgressKey
	return w.send(&taskv1.WatchTaskResponse{
		Update:      &taskv1.WatchTaskResponse_Progress{Progress: progressToProto(t)},
		ResumeToken: resumeToken(w.id, w.number),
	})
}
