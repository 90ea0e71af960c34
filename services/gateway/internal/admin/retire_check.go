package admin

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
)

// maxNamed is how many workers or schedules an answer names; it counts all.
const maxNamed = 5

// leftover is something of a task type that is left.
type leftover struct {
	// key is that of the ErrorInfo's metadata.
	key   string
	count int64
	// what says, after the count, what it is and what to do.
	what string
}

// requireFree fails unless nothing is left of a task type, with what is.
func (s *Service) requireFree(ctx context.Context, taskType string, ignoreDead bool) error {
	if !s.cfg.Control.Loaded() {
		return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE,
			"this gateway does not know the workers yet; call again")
	}
	left := s.liveWorkers(taskType)
	inQueue, err := s.messages(ctx, taskType)
	if err != nil {
		return err
	}
	left = append(left, inQueue...)
	tasks, err := s.unended(ctx, taskType, ignoreDead)
	if err != nil {
		return err
	}
	left = append(left, tasks...)
	schedules, err := s.schedulesOf(ctx, taskType)
	if err != nil {
		return err
	}
	return inUse(taskType, append(left, schedules...))
}

func inUse(taskType string, left []leftover) error {
	left = slices.DeleteFunc(left, func(l leftover) bool { return l.count == 0 })
	if len(left) == 0 {
		return nil
	}
	var texts []string
	for _, l := range left {
		texts = append(texts, fmt.Sprintf("%d %s", l.count, l.what))
	}
	e := rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_TASK_TYPE_IN_USE,
		"the task type %s is still in use, nothing was changed. There are: %s", taskType, strings.Join(texts, "; "))
	for _, l := range left {
		_ = e.With(l.key, strconv.FormatInt(l.count, 10))
	}
	return e
}

func (s *Service) liveWorkers(taskType string) []leftover {
	var ids []string
	for _, w := range s.cfg.Control.Workers() {
		serves := slices.ContainsFunc(w.Types, func(t *adminv1.WorkerType) bool { return t.TaskType == taskType })
		if serves && w.State != adminv1.WorkerState_WORKER_STATE_GONE {
			ids = append(ids, w.Identity.GetWorkerId())
		}
	}
	return []leftover{{"workers", int64(len(ids)), "workers that serve it (" + named(ids) + "): stop them"}}
}

// named lists the first few.
func named(names []string) string {
	if len(names) > maxNamed {
		return strings.Join(names[:maxNamed], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

func (s *Service) messages(ctx context.Context, taskType string) ([]leftover, error) {
	states, err := s.cfg.Queues.States(ctx, []string{taskType})
	if err != nil {
		return nil, queueError(ctx, err)
	}
	return []leftover{
		{"messages", int64(states[0].Ready), "messages in its queue: have them worked off, or see PurgeQueue"},
		{"consumers", int64(states[0].Consumers), "consumers of its queue: stop them"},
	}, nil
}

// unended are the tasks that have not ended, as far as anyone has said by now.
func (s *Service) unended(ctx context.Context, taskType string, ignoreDead bool) ([]leftover, error) {
	if err := s.cfg.Projection.CatchUp(ctx); err != nil {
		return nil, storeError(err)
	}
	counts, err := s.cfg.Store.CountUnended(ctx, taskType)
	if err != nil {
		return nil, storeError(err)
	}
	left := []leftover{
		{"scheduled", counts[task.StateScheduled], "tasks that are SCHEDULED: cancel them"},
		{"queued", counts[task.StateQueued], "tasks that are QUEUED: have them worked off, or see PurgeQueue"},
		{"running", counts[task.StateRunning], "tasks that are RUNNING: wait for them, or cancel them"},
		{"retrying", counts[task.StateRetrying], "tasks that are RETRYING: wait for them, or cancel them"},
	}
	if !ignoreDead {
		left = append(left, leftover{"dead_lettered", counts[task.StateDeadLettered],
			"tasks that are DEAD_LETTERED: replay their dead letters, or discard them and set ignore_dead_letters"})
	}
	return left, nil
}

// schedulesOf are the schedules that submit tasks of a type, paused ones too.
func (s *Service) schedulesOf(ctx context.Context, taskType string) ([]leftover, error) {
	var ids []string
	for after := ""; ; {
		found, err := s.cfg.Schedules.Store.ListSchedules(ctx, after, maxListed)
		if err != nil {
			return nil, storeError(err)
		}
		for i := range found {
			after = found[i].ID
			spec, err := decodeSchedule(&found[i])
			if err != nil {
				return nil, err
			}
			if catalogue.TypeName(spec.GetTask().GetType()) == taskType {
				ids = append(ids, after)
			}
		}
		if len(found) < maxListed {
			return []leftover{{"schedules", int64(len(ids)), "schedules that submit it (" + named(ids) + "): delete them"}}, nil
		}
	}
}
