package admin

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/tasktypes"
)

// maxRetire bounds a retirement, whatever its caller's deadline.
const maxRetire = time.Minute

// Retirer forgets task types, as registry.Registry does.
type Retirer interface {
	Retire(ctx context.Context, r store.Retirement, free func(context.Context) error) (bool, error)
}

// RetireTaskType implements warren.admin.v1.AdminService.
func (s *Service) RetireTaskType(ctx context.Context, r *adminv1.RetireTaskTypeRequest) (*adminv1.RetireTaskTypeResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, maxRetire)
	defer cancel()
	t, err := s.fresh(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	if r.Etag != "" && r.Etag != etagOf(&t.Override) {
		return nil, changed(t.Name, nil)
	}
	free := func(ctx context.Context) error { return s.requireFree(ctx, t.Name, r.IgnoreDeadLetters) }
	if err := free(ctx); err != nil || r.ValidateOnly {
		return &adminv1.RetireTaskTypeResponse{}, err
	}
	// An operator who hangs up must not leave a queue that is half gone.
	ctx = context.WithoutCancel(ctx)
	ctx, stop := context.WithTimeout(ctx, maxRetire)
	defer stop()
	found, err := s.cfg.Retirer.Retire(ctx, store.Retirement{
		TaskType: t.Name, Version: t.Override.Version, Reason: r.Reason, Time: time.Now().UTC().Truncate(time.Microsecond),
	}, free)
	switch {
	case err != nil:
		return nil, retireError(t.Name, err)
	case !found:
		return nil, s.goneMeanwhile(t.Name)
	}
	s.retired(ctx, &t, r.Reason)
	return &adminv1.RetireTaskTypeResponse{}, nil
}

// goneMeanwhile is the answer for a type that somebody else has retired since the call
// began.
func (s *Service) goneMeanwhile(name string) error {
	if _, err := s.known(name, "name"); err != nil {
		return err
	}
	return changed(name, nil)
}

func retireError(name string, err error) error {
	var answer *rpc.Error
	switch {
	case errors.As(err, &answer):
		return answer
	case errors.Is(err, store.ErrChanged):
		return changed(name, err)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, projection.ErrBehind):
		return storeError(err)
	case errors.Is(err, store.ErrInUse):
		return rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_TASK_TYPE_IN_USE,
			"the task type %s is still in use: a task of it was SCHEDULED meanwhile. Nothing was changed; cancel it, and call again", name).Because(err)
	case errors.Is(err, broker.ErrInUse):
		return rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_TASK_TYPE_IN_USE,
			"the task type %s is still in use: its queue has messages or consumers. Nothing was changed; look at GetQueue, and call again", name).Because(err)
	}
	return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_QUEUE_UNAVAILABLE,
		"RabbitMQ does not let the queue of %s go now, the task type stays as it was; call again", name).Because(err)
}

// retired sets back what operators have set of a type that is gone, and has this gateway
// know that it is: what is left of it there would be in force if it came back.
func (s *Service) retired(ctx context.Context, t *tasktypes.Type, reason string) {
	log := s.cfg.Logger.With("task_type", t.Name, "reason", reason)
	log.InfoContext(ctx, "an operator has retired a task type")
	if err := s.cfg.Types.Refresh(ctx); err != nil {
		log.WarnContext(ctx, "what is kept of a retired task type can't be shown yet", "error", err)
	}
	set := s.cfg.Control.TypeControl(t.Name, "")
	var errs []error
	if set.GetPaused() {
		_, err := s.cfg.Control.SetPause(ctx, t.Name, nil, reason)
		errs = append(errs, err)
	}
	if set.GetConcurrency() != 0 || set.GetAutoscale() != nil {
		_, err := s.cfg.Control.SetConcurrency(ctx, t.Name, "", 0, nil, reason)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		log.WarnContext(ctx, "what operators have set of a retired task type is in force again if a worker brings it back", "error", err)
	}
}
