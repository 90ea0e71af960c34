package api

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
)

// BatchGetTasks implements warren.task.v1.TaskService.
func (s *TaskService) BatchGetTasks(ctx context.Context, r *taskv1.BatchGetTasksRequest) (*taskv1.BatchGetTasksResponse, error) {
	ids := named(r.TaskIds)
	found, err := s.readAll(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := &taskv1.BatchGetTasksResponse{}
	left := maxListBytes
	for _, id := range ids {
		left -= len(id) + 2 // which is what it takes to tell that it is missing, or was left out
	}
	for _, id := range ids {
		t, ok := found[strings.ToLower(id)]
		if !ok {
			out.MissingTaskIds = append(out.MissingTaskIds, id)
			continue
		}
		m := s.basic(&t)
		if left -= proto.Size(m) + 8; left < 0 && len(out.Tasks) > 0 {
			out.UnreadTaskIds = append(out.UnreadTaskIds, id)
			continue
		}
		out.Tasks = append(out.Tasks, m)
	}
	return out, nil
}

// named gives each of the ids once, in their order, as it is spelled first.
func named(ids []string) []string {
	seen := make(map[string]bool, len(ids))
	once := make([]string, 0, len(ids))
	for _, id := range ids {
		if lower := strings.ToLower(id); !seen[lower] {
			seen[lower] = true
			once = append(once, id)
		}
	}
	return once
}

// readAll gives those of the tasks that were accepted, by their ids in the canonical
// spelling. As with read, those that the store does not have yet may be in the status
// queue; one wait is for all of them.
func (s *TaskService) readAll(ctx context.Context, ids []string) (map[string]task.Task, error) {
	found := make(map[string]task.Task, len(ids))
	missing, err := s.readInto(ctx, found, ids)
	if err != nil || len(missing) == 0 {
		return found, err
	}
	if err := s.cfg.Projection.CatchUp(ctx); err != nil {
		if errors.Is(err, projection.ErrBehind) {
			return nil, rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_PROJECTION_BEHIND,
				"%d of the tasks are not in the store, which has not caught up with the status queue, %s among them; call again",
				len(missing), missing[0]).Because(err)
		}
		return nil, err
	}
	_, err = s.readInto(ctx, found, missing)
	return found, err
}

// readInto adds the tasks that the store has, and tells which it has not.
func (s *TaskService) readInto(ctx context.Context, found map[string]task.Task, ids []string) (missing []string, err error) {
	tasks, err := s.cfg.Store.Tasks(ctx, ids)
	if err != nil {
		return nil, readError(err)
	}
	for i := range tasks {
		found[tasks[i].ID] = tasks[i]
	}
	for _, id := range ids {
		if _, ok := found[strings.ToLower(id)]; !ok {
			missing = append(missing, id)
		}
	}
	return missing, nil
}
