package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/tasktypes"
)

// maxRaces is how often an update without an etag is applied anew to what
// somebody else has stored meanwhile.
const maxRaces = 5

// UpdateTaskType implements warren.admin.v1.AdminService.
func (s *Service) UpdateTaskType(ctx context.Context, r *adminv1.UpdateTaskTypeRequest) (*adminv1.UpdateTaskTypeResponse, error) {
	for race := 1; ; race++ {
		t, err := s.fresh(ctx, r.Name)
		if err != nil {
			return nil, err
		}
		if r.Etag != "" && r.Etag != etagOf(&t.Override) {
			return nil, changed(t.Name, nil)
		}
		next, err := overridden(&t, r)
		if err != nil {
			return nil, err
		}
		if r.ValidateOnly {
			return &adminv1.UpdateTaskTypeResponse{TaskType: typeToProto(next)}, nil
		}
		err = s.put(ctx, next)
		switch {
		case err == nil:
			return s.updated(ctx, next), nil
		case !errors.Is(err, store.ErrChanged):
			return nil, storeError(err)
		case r.Etag != "" || race == maxRaces:
			return nil, changed(t.Name, err)
		}
	}
}

// overridden is the task type as it would be after the update.
func overridden(t *tasktypes.Type, r *adminv1.UpdateTaskTypeRequest) (*tasktypes.Type, error) {
	options, paths, err := policy.Override(t.Options, t.Override.Options, t.Override.Paths, r.GetOptions(), r.GetUpdateMask().GetPaths())
	if err != nil {
		return nil, badOptions(err)
	}
	next := *t
	next.Effective = policy.Effective(t.Options, options, paths)
	if next.Policy, err = policy.Compile(next.Effective); err != nil {
		return nil, badOptions(err)
	}
	next.Overridden = len(paths) > 0
	next.Override = tasktypes.Override{Version: t.Override.Version, Options: options, Paths: paths, Reason: t.Override.Reason, Time: t.Override.Time}
	if !r.ValidateOnly {
		next.Override.Version++
		next.Override.Reason, next.Override.Time = r.Reason, time.Now().UTC().Truncate(time.Microsecond)
	}
	return &next, nil
}

// badOptions names the field of the request that makes no sense.
func badOptions(err error) error {
	var bad *policy.FieldError
	if !errors.As(err, &bad) {
		return rpc.Internal(err)
	}
	field := "options." + bad.Field
	if bad.Field == "update_mask" {
		field = bad.Field
	}
	return rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "the request is not valid: %s: %s", field, bad.Problem).
		Field(field, bad.Problem)
}

func changed(name string, cause error) error {
	return rpc.Errorf(codes.Aborted, taskv1.ErrorReason_ERROR_REASON_ETAG_MISMATCH,
		"somebody else has overridden options of %s meanwhile: read it again, and update it with its etag then", name).Because(cause)
}

func (s *Service) put(ctx context.Context, t *tasktypes.Type) error {
	options, err := proto.Marshal(t.Override.Options)
	if err != nil {
		return fmt.Errorf("encode the override of %s: %w", t.Name, err)
	}
	return s.cfg.Store.PutOverride(ctx, store.Override{
		TaskType: t.Name, Version: t.Override.Version, Options: options, Paths: t.Override.Paths,
		Reason: t.Override.Reason, Time: t.Override.Time,
	})
}

// updated, which goes on when the caller hangs up, has this gateway and all workers go by what was stored. Whom it does
// not reach now learns it anyway: gateways when they read overrides, workers with
// their next heartbeat.
func (s *Service) updated(ctx context.Context, t *tasktypes.Type) *adminv1.UpdateTaskTypeResponse {
	ctx = context.WithoutCancel(ctx)
	log := s.cfg.Logger.With("task_type", t.Name, "version", t.Override.Version)
	log.InfoContext(ctx, "an operator has overridden options of a task type", "paths", t.Override.Paths, "reason", t.Override.Reason)
	if err := s.cfg.Types.Refresh(ctx); err != nil {
		log.WarnContext(ctx, "a new override is stored but not in force here yet", "error", err)
	} else if err := s.cfg.Workers.TellWorkers(ctx, t.Name); err != nil {
		log.WarnContext(ctx, "workers learn of a new override with their next heartbeat only", "error", err)
	}
	return &adminv1.UpdateTaskTypeResponse{TaskType: typeToProto(t)}
}
