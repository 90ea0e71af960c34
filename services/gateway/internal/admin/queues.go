package admin

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/gateway/internal/queues"
	"github.com/warrenmq/warren/services/gateway/internal/tasktypes"
)

// queuesAfter marks page tokens of ListQueues.
const queuesAfter = "queues after "

// ListQueues implements warren.admin.v1.AdminService.
func (s *Service) ListQueues(ctx context.Context, r *adminv1.ListQueuesRequest) (*adminv1.ListQueuesResponse, error) {
	after, err := placeOf(queuesAfter, r.PageToken)
	if err != nil {
		return nil, err
	}
	size, finished := pageSize(r.PageSize), s.finished()
	out := &adminv1.ListQueuesResponse{}
	var page []queues.Type
	for _, t := range s.cfg.Types.All() {
		if t.Name <= after {
			continue
		}
		if len(page) == size {
			out.NextPageToken = tokenOf(queuesAfter, page[size-1].Name)
			break
		}
		page = append(page, finished.of(&t))
	}
	if out.Queues, err = s.cfg.Queues.List(ctx, page); err != nil {
		return nil, queueError(ctx, err)
	}
	for _, q := range out.Queues {
		q.Control = s.cfg.Control.TypeControl(q.TaskType, "")
	}
	return out, nil
}

// GetQueue implements warren.admin.v1.AdminService.
func (s *Service) GetQueue(ctx context.Context, r *adminv1.GetQueueRequest) (*adminv1.GetQueueResponse, error) {
	t, err := s.known(r.TaskType, "task_type")
	if err != nil {
		return nil, err
	}
	q, err := s.cfg.Queues.Get(ctx, s.finished().of(&t))
	if err != nil {
		return nil, queueError(ctx, err)
	}
	q.Control = s.cfg.Control.TypeControl(t.Name, "")
	return &adminv1.GetQueueResponse{Queue: q}, nil
}

// rates are how many handlers end per second, by task type; nil while this gateway
// does not know its workers.
type rates map[string]float64

// finished counts what workers of each type end, well or not. A retry counts too.
func (s *Service) finished() rates {
	if !s.cfg.Control.Loaded() {
		return nil
	}
	out := rates{}
	for _, w := range s.cfg.Control.Workers() {
		if w.State == adminv1.WorkerState_WORKER_STATE_GONE || w.State == adminv1.WorkerState_WORKER_STATE_SILENT {
			continue
		}
		for _, t := range w.Types {
			out[t.GetTaskType()] += t.GetSucceededRate() + t.GetFailedRate()
		}
	}
	return out
}

func (r rates) of(t *tasktypes.Type) queues.Type {
	out := queues.Type{Name: t.Name, MaxLength: t.Effective.GetQueueLimit().GetMaxLength()}
	if r != nil {
		rate := r[t.Name]
		out.Finished = &rate
	}
	return out
}

// queueError makes an answer of what the broker says.
func queueError(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return ctx.Err()
	}
	return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_QUEUE_UNAVAILABLE,
		"RabbitMQ does not say how it stands with the queue; call again").Because(err)
}
