package api

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// heartbeat is after how long without a message a watch of many tasks sends its
	// resume token alone.
	heartbeat = 10 * time.Second
	// pace is the least time between two looks at the feed by one watch that has
	// seen all of it: at many commits in a second it sees several at once.
	pace = 5 * time.Millisecond
	// maxEventBody bounds the body that an event of many tasks is sent with. With all
	// that is beside it, the message stays below what gRPC clients receive by default,
	// 4 MiB: one that could not be received would end each resumed watch anew.
	maxEventBody = 3 << 20
)

// WatchTasks implements warren.task.v1.TaskService.
func (s *TaskService) WatchTasks(r *taskv1.WatchTasksRequest, stream grpc.ServerStreamingServer[taskv1.WatchTasksResponse]) error {
	ctx := stream.Context()
	f, err := parseFilter(r.Filter)
	if err != nil {
		return err
	}
	sub := s.cfg.Hub.SubscribeAll()
	defer sub.Close()
	defer s.metrics.watching(ctx)()
	w := &feedWatcher{s: s, filter: f, view: r.View, send: stream.Send}
	if err := w.begin(ctx, r.ResumeToken); err != nil {
		return err
	}
	for {
		more, err := w.look(ctx)
		if err != nil {
			return err
		}
		if err := w.rest(ctx, more, sub.C); err != nil {
			return err
		}
	}
}

// feedWatcher follows the feed for one caller.
type feedWatcher struct {
	s      *TaskService
	filter filter.Expr
	view   taskv1.TaskView
	send   func(*taskv1.WatchTasksResponse) error

	position store.FeedPosition
	// sent is when the last message was sent, zero before the first.
	sent time.Time
}

// begin finds out where to begin.
func (w *feedWatcher) begin(ctx context.Context, token string) (err error) {
	if token != "" {
		w.position, err = parseFeedToken(token)
		return err
	}
	w.position, err = w.s.cfg.Store.FeedEnd(ctx)
	return readError(err)
}

// look sends what a page of the feed has, and says whether there is more.
func (w *feedWatcher) look(ctx context.Context) (more bool, err error) {
	full := isFull(w.view)
	page, err := w.s.cfg.Store.Feed(ctx, store.FeedQuery{
		From: w.position, Filter: w.filter, QueuePrefix: w.s.queuePrefix(), Limit: watchPage, Bodies: full,
	})
	if err != nil {
		return false, feedError(err)
	}
	// Only now it is known that the watch can begin there.
	if w.sent.IsZero() {
		if err := w.tell(&taskv1.WatchTasksResponse{}); err != nil {
			return false, err
		}
	}
	for i := range page.Entries {
		if err := w.sendEntry(&page.Entries[i]); err != nil {
			return false, err
		}
	}
	if w.position = page.Next; time.Since(w.sent) >= heartbeat {
		err = w.tell(&taskv1.WatchTasksResponse{})
	}
	return page.More, err
}

// sendEntry sends an event. In the FULL view too its task has no bodies: they
// would come again with every event.
func (w *feedWatcher) sendEntry(e *store.FeedEntry) error {
	m := eventToProto(&e.Event)
	if isFull(w.view) {
		taskType, err := w.s.typeOf(&e.Task)
		if err != nil {
			return err
		}
		addFull(m, &e.Event, taskType.Output)
		if len(e.Event.Message) > maxEventBody {
			m.Message, m.Result = nil, nil
		}
	}
	w.position = e.Next
	return w.tell(&taskv1.WatchTasksResponse{Task: w.s.basic(&e.Task), Event: m})
}

// tell sends a message with the token of the place that was reached.
func (w *feedWatcher) tell(m *taskv1.WatchTasksResponse) error {
	m.ResumeToken = feedToken(w.position)
	w.sent = time.Now()
	return w.send(m)
}

// rest waits until it is worth looking again.
func (w *feedWatcher) rest(ctx context.Context, more bool, news <-chan struct{}) error {
	if !more {
		timer := time.NewTimer(pace)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-w.s.stopping:
		case <-ctx.Done():
		}
		return w.s.await(ctx, news)
	}
	select {
	case <-w.s.stopping:
		return shuttingDown()
	default:
		return ctx.Err()
	}
}

func feedError(err error) error {
	switch {
	case errors.Is(err, store.ErrFeedPosition):
		return errFeedToken()
	case errors.Is(err, store.ErrFeedTrimmed):
		return rpc.Errorf(codes.OutOfRange, taskv1.ErrorReason_ERROR_REASON_RESUME_TOKEN_EXPIRED,
			"events after the resume token are not kept any more; list the tasks, and watch from now on").
			Field("resume_token", "events after it are not kept any more")
	}
	return readError(err)
}
