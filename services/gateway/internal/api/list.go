package api

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// maxListBytes bounds a page of tasks, unless its first one is larger. It stays
	// below what gRPC clients receive by default, 4 MiB.
	maxListBytes = 4<<20 - 4<<10
	// searchTime is how long a page may be searched for.
	searchTime = time.Second
)

// ListTasks implements warren.task.v1.TaskService.
func (s *TaskService) ListTasks(ctx context.Context, r *taskv1.ListTasksRequest) (*taskv1.ListTasksResponse, error) {
	before, err := parseListToken(r)
	if err != nil {
		return nil, err
	}
	f, err := parseFilter(r.Filter)
	if err != nil {
		return nil, err
	}
	size := int(r.PageSize)
	if size == 0 {
		size = defaultPage
	}
	page, err := s.cfg.Store.List(ctx, store.Query{
		Filter: f, QueuePrefix: s.queuePrefix(), Before: before, Limit: min(size, maxPage), Time: timeToSearch(ctx),
	})
	if err != nil {
		return nil, readError(err)
	}
	out := &taskv1.ListTasksResponse{}
	bytes, next := 0, page.Next
	for i := range page.Tasks {
		m, err := s.showListed(ctx, page.Tasks[i], r.View)
		if err != nil {
			return nil, err
		}
		if m == nil {
			continue
		}
		if bytes += proto.Size(m) + 8; len(out.Tasks) > 0 && bytes > maxListBytes {
			next = out.Tasks[len(out.Tasks)-1].TaskId
			break
		}
		out.Tasks = append(out.Tasks, m)
	}
	if next != "" {
		out.NextPageToken = listToken(r, next)
	}
	return out, nil
}

// showListed renders a task of a list as the view asks; nil if it was purged
// meanwhile.
func (s *TaskService) showListed(ctx context.Context, t task.Task, view taskv1.TaskView) (*taskv1.Task, error) {
	m, err := s.show(ctx, t, view)
	if status.Code(err) == codes.NotFound {
		return nil, nil
	}
	return m, err
}

// timeToSearch is how long a search may take so that its answer reaches the caller
// before the caller's deadline does.
func timeToSearch(ctx context.Context) time.Duration {
	bounded, cancel := beforeDeadline(ctx, searchTime)
	defer cancel()
	end, _ := bounded.Deadline()
	return time.Until(end)
}

// queuePrefix is what the names of queues have before the task type.
func (s *TaskService) queuePrefix() string { return s.cfg.Names.Work("") }

func parseFilter(text string) (filter.Expr, error) {
	f, err := store.Fields.Parse(text)
	if err != nil {
		return nil, rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_FILTER_INVALID, "%s", err).Field("filter", err.Error())
	}
	return f, nil
}

func isFull(v taskv1.TaskView) bool { return v == taskv1.TaskView_TASK_VIEW_FULL }
