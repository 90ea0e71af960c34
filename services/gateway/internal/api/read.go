package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
)

const (
	defaultWait = 30 * time.Second
	maxWait     = 5 * time.Minute
	// recheck is how long a waiter trusts that it is woken: a wake-up that was
	// lost with another process costs no more.
	recheck = 5 * time.Second

	defaultPage = 50
	maxPage     = 500
	// maxPageBytes bounds a page of attempts, but for a single one: they carry
	// failures and metadata, and gRPC's clients take no more than 4 MiB unless
	// told so.
	maxPageBytes = 2 << 20
)

// GetTask implements warren.task.v1.TaskService.
func (s *TaskService) GetTask(ctx context.Context, r *taskv1.GetTaskRequest) (*taskv1.GetTaskResponse, error) {
	t, err := s.read(ctx, r.TaskId)
	if err != nil {
		return nil, err
	}
	m, err := s.show(ctx, t, r.View)
	if err != nil {
		return nil, err
	}
	return &taskv1.GetTaskResponse{Task: m}, nil
}

// WaitTask implements warren.task.v1.TaskService.
func (s *TaskService) WaitTask(ctx context.Context, r *taskv1.WaitTaskRequest) (*taskv1.WaitTaskResponse, error) {
	timeout := defaultWait
	if r.Timeout != nil {
		timeout = min(r.Timeout.AsDuration(), maxWait)
	}
	wait, cancel := beforeDeadline(ctx, timeout)
	defer cancel()
	t, err := s.awaitEnd(ctx, wait, strings.ToLower(r.TaskId))
	if err != nil {
		return nil, err
	}
	m, err := s.show(ctx, t, r.View)
	if err != nil {
		return nil, err
	}
	return &taskv1.WaitTaskResponse{Task: m, Done: t.State.Terminal()}, nil
}

// awaitEnd gives the task when it has ended, or as it is when wait ends.
func (s *TaskService) awaitEnd(ctx, wait context.Context, id string) (task.Task, error) {
	sub := s.cfg.Hub.Subscribe(id)
	defer sub.Close()
	for {
		t, err := s.read(ctx, id)
		if err != nil || t.State.Terminal() || wait.Err() != nil {
			return t, err
		}
		if err := s.await(wait, sub.C); err != nil && wait.Err() == nil {
			return t, err
		}
	}
}

// await waits for news, at most until recheck.
func (s *TaskService) await(ctx context.Context, news <-chan struct{}) error {
	timer := time.NewTimer(recheck)
	defer timer.Stop()
	select {
	case <-news:
	case <-timer.C:
	case <-s.stopping:
		return shuttingDown()
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// ListTaskAttempts implements warren.task.v1.TaskService.
func (s *TaskService) ListTaskAttempts(ctx context.Context, r *taskv1.ListTaskAttemptsRequest) (*taskv1.ListTaskAttemptsResponse, error) {
	after, err := parsePageToken(r.TaskId, r.PageToken)
	if err != nil {
		return nil, err
	}
	t, err := s.read(ctx, r.TaskId)
	if err != nil {
		return nil, err
	}
	history, err := s.cfg.Store.History(ctx, t.ID)
	if err != nil {
		return nil, readError(err)
	}
	records := task.Records(history)
	if after != nil {
		records = slices.DeleteFunc(records, func(r task.Record) bool { return r.Key.Compare(*after) <= 0 })
	}
	return attemptsPage(r, records), nil
}

// attemptsPage is the page that begins with these executions.
func attemptsPage(r *taskv1.ListTaskAttemptsRequest, records []task.Record) *taskv1.ListTaskAttemptsResponse {
	size := int(r.PageSize)
	if size == 0 {
		size = defaultPage
	}
	size = min(size, maxPage)
	out := &taskv1.ListTaskAttemptsResponse{}
	bytes := 0
	for i := range records {
		m := attemptToProto(&records[i])
		bytes += proto.Size(m)
		if i == size || i > 0 && bytes > maxPageBytes {
			out.NextPageToken = pageToken(r.TaskId, records[i-1].Key)
			break
		}
		out.Attempts = append(out.Attempts, m)
	}
	return out
}

// show renders a task as the view asks.
func (s *TaskService) show(ctx context.Context, t task.Task, view taskv1.TaskView) (*taskv1.Task, error) {
	m := s.basic(&t)
	if view != taskv1.TaskView_TASK_VIEW_FULL {
		return m, nil
	}
	taskType, err := s.typeOf(&t)
	if err != nil {
		return nil, err
	}
	if t.PayloadNumber != 0 && !t.PayloadOmitted {
		body, err := s.cfg.Store.Body(ctx, t.ID, t.PayloadNumber)
		if err != nil {
			return nil, readError(err)
		}
		m.Payload = anyOf(taskType.Input, body)
	}
	if err := s.addEnd(ctx, m, &t, taskType); err != nil {
		return nil, err
	}
	return m, nil
}

// addEnd adds what the call that ended a task answered.
func (s *TaskService) addEnd(ctx context.Context, m *taskv1.Task, t *task.Task, taskType catalogue.TaskType) error {
	if t.State != task.StateSucceeded && t.State != task.StateDeadLettered {
		return nil
	}
	end, err := s.cfg.Store.Event(ctx, t.ID, t.Decided)
	if err != nil {
		return readError(err)
	}
	if t.State == task.StateSucceeded {
		m.Result = anyOf(taskType.Output, end.Message)
	}
	m.ResponseHeaders, m.ResponseTrailers = metadataToProto(end.Headers), metadataToProto(end.Trailers)
	return nil
}

// typeOf gives the type that an accepted task's messages have. It is unknown
// only while the gateway can't load it from its store. Of one that was retired there
// are the names of its messages, which is all that a google.protobuf.Any needs.
func (s *TaskService) typeOf(t *task.Task) (catalogue.TaskType, error) {
	taskType, ok := s.cfg.Catalogue.Type(t.Type)
	if !ok {
		taskType, ok = s.cfg.Catalogue.Retired(t.Type)
	}
	if !ok {
		return taskType, rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE,
			"this gateway has not loaded the task type %s from its store, so that it can't show the task's messages; ask for the BASIC view, or call again", t.Type)
	}
	return taskType, nil
}
