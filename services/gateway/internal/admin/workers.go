package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/gateway/internal/control"
)

// ListWorkers implements warren.admin.v1.AdminService. It shows what this gateway has
// heard, also while its store does not answer.
func (s *Service) ListWorkers(_ context.Context, r *adminv1.ListWorkersRequest) (*adminv1.ListWorkersResponse, error) {
	taskType := catalogue.TypeName(r.TaskType)
	kind := fmt.Sprintf("workers of %q, gone %t, below ", taskType, r.ShowGone)
	below, err := placeOf(kind, r.PageToken)
	if err != nil {
		return nil, err
	}
	size := pageSize(r.PageSize)
	out := &adminv1.ListWorkersResponse{}
	for _, w := range s.cfg.Control.Workers() {
		id := w.Identity.GetWorkerId()
		if below != "" && id >= below || !r.ShowGone && w.State == adminv1.WorkerState_WORKER_STATE_GONE || !serves(&w, taskType) {
			continue
		}
		if len(out.Workers) == size {
			out.NextPageToken = tokenOf(kind, out.Workers[size-1].WorkerId)
			break
		}
		out.Workers = append(out.Workers, workerToProto(&w))
	}
	return out, nil
}

// serves says whether a worker serves a task type; empty is any.
func serves(w *control.Worker, taskType string) bool {
	return taskType == "" || slices.ContainsFunc(w.Types, func(t *adminv1.WorkerType) bool { return t.GetTaskType() == taskType })
}

// GetWorker implements warren.admin.v1.AdminService.
func (s *Service) GetWorker(_ context.Context, r *adminv1.GetWorkerRequest) (*adminv1.GetWorkerResponse, error) {
	w, err := s.worker(r.WorkerId)
	if err != nil {
		return nil, err
	}
	return &adminv1.GetWorkerResponse{Worker: w}, nil
}

// worker shows a worker and what it runs.
func (s *Service) worker(id string) (*adminv1.Worker, error) {
	w, ok := s.cfg.Control.Worker(id)
	if !ok {
		return nil, s.noWorker(id)
	}
	m := workerToProto(&w)
	for _, r := range w.Beat.GetRunning() {
		m.RunningTasks = append(m.RunningTasks, &adminv1.RunningTask{
			TaskId: r.TaskId, TaskType: r.Type, Run: r.Run, Attempt: r.Attempt, StartTime: r.StartTime,
		})
	}
	return m, nil
}

func (s *Service) noWorker(id string) error {
	problem := "no such worker has been heard of in the last hour; ListWorkers has those that are known"
	if !s.cfg.Control.Loaded() {
		problem = "this gateway has not heard of the worker yet and was started a moment ago; call again"
	}
	return rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_WORKER_NOT_FOUND, "worker %s: %s", id, problem).
		Field("worker_id", "unknown worker")
}

// DrainWorker implements warren.admin.v1.AdminService.
func (s *Service) DrainWorker(ctx context.Context, r *adminv1.DrainWorkerRequest) (*adminv1.DrainWorkerResponse, error) {
	w, err := s.worker(r.WorkerId)
	if err != nil {
		return nil, err
	}
	err = s.cfg.Control.Drain(ctx, w.WorkerId, r.Reason)
	switch {
	case errors.Is(err, control.ErrNoWorker):
		return nil, s.notLive(w.WorkerId)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil, err
	case err != nil:
		return nil, rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_NOT_SUBMITTED,
			"worker %s may not have been told: RabbitMQ does not take messages now; call again", w.WorkerId).Because(err)
	}
	s.cfg.Logger.InfoContext(ctx, "an operator drains a worker", "worker_id", w.WorkerId, "host", w.Host, "reason", r.Reason)
	return &adminv1.DrainWorkerResponse{Worker: w}, nil
}

// notLive says that nothing can be asked of a worker, because it is gone or not known.
func (s *Service) notLive(id string) error {
	if _, known := s.cfg.Control.Worker(id); !known {
		return s.noWorker(id)
	}
	return rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_WORKER_NOT_FOUND, "worker %s is gone", id).
		Field("worker_id", "the worker is gone")
}

func workerToProto(w *control.Worker) *adminv1.Worker {
	m := &adminv1.Worker{
		WorkerId: w.Identity.GetWorkerId(), State: w.State, Note: w.Note, Host: w.Identity.GetHost(), Pid: w.Identity.GetPid(),
		Version: w.Identity.GetVersion(), StartTime: w.Identity.GetStartTime(), Types: w.Types,
	}
	if !w.Seen.IsZero() {
		m.LastSeenTime = timestamppb.New(w.Seen)
	}
	return m
}
