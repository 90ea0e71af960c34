// Package admin is the gateway's gRPC API for operators.
package admin

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/control"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/queues"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/tasktypes"
)

// Control knows the workers and what operators have set, changes it, and cancels
// tasks, as control.Control does.
type Control interface {
	Loaded() bool
	Workers() []control.Worker
	Worker(id string) (control.Worker, bool)
	TypeControl(taskType, workerID string) *adminv1.TypeControl
	SetPause(ctx context.Context, taskType string, p *brokerv1.Pause, reason string) (*adminv1.TypeControl, error)
	SetConcurrency(ctx context.Context, taskType, workerID string, n int, a *brokerv1.Autoscale, reason string) (*adminv1.TypeControl, error)
	Drain(ctx context.Context, workerID, reason string) error
	Cancel(ctx context.Context, taskIDs []string, reason string) ([]store.CancelAnswer, error)
	AwaitCancelled(ctx context.Context, taskIDs []string)
}

// Queues reads the queues of task types, as queues.Reader does.
type Queues interface {
	States(ctx context.Context, taskTypes []string) ([]queues.State, error)
	List(ctx context.Context, types []queues.Type) ([]*adminv1.Queue, error)
	Get(ctx context.Context, t queues.Type) (*adminv1.Queue, error)
}

// Store keeps overrides, claims and tasks, as store.Store says.
type Store interface {
	PutOverride(ctx context.Context, o store.Override) error
	ClaimRun(ctx context.Context, id string, run int, c task.Copy) (held, ended bool, err error)
	Task(ctx context.Context, id string) (task.Task, error)
	List(ctx context.Context, q store.Query) (store.Page, error)
	Queued(ctx context.Context, taskType string) (retrying int64, oldest time.Time, known bool, err error)
	CountUnended(ctx context.Context, taskType string) (map[task.State]int64, error)
}

// Workers tells all workers of a task type the policy in force.
type Workers interface {
	TellWorkers(ctx context.Context, taskType string) error
}

// Projection lets reads wait until the store has caught up.
type Projection interface {
	CatchUp(ctx context.Context) error
}

// Topology checks what is declared in RabbitMQ.
type Topology interface {
	Check(ctx context.Context) (*adminv1.CheckTopologyResponse, error)
}

// Config is what the admin service needs.
type Config struct {
	Types *tasktypes.Types
	// CatalogueLoaded says whether task types of earlier days are known.
	CatalogueLoaded func() bool
	Store           Store
	Workers         Workers
	Projection      Projection
	Topology        Topology
	Control         Control
	Queues          Queues
	Status          StatusWriter
	Schedules       Schedules
	Retirer         Retirer
	// OpenTaker opens a taker of a task type's queue, which ends with ctx.
	OpenTaker func(ctx context.Context, taskType string) (Taker, error)
	// Info says what this gateway is.
	Info   func() *adminv1.ServerInfo
	Logger *slog.Logger
}

// Service implements warren.admin.v1.AdminService.
type Service struct {
	adminv1.UnimplementedAdminServiceServer

	cfg Config
}

// New makes the service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// CheckTopology implements warren.admin.v1.AdminService.
func (s *Service) CheckTopology(ctx context.Context, _ *adminv1.CheckTopologyRequest) (*adminv1.CheckTopologyResponse, error) {
	return s.cfg.Topology.Check(ctx)
}

// ClaimTaskRun implements warren.admin.v1.AdminService. What was said of the task
// before the call must be in the store first.
func (s *Service) ClaimTaskRun(ctx context.Context, r *adminv1.ClaimTaskRunRequest) (*adminv1.ClaimTaskRunResponse, error) {
	if err := s.cfg.Projection.CatchUp(ctx); err != nil {
		return nil, storeError(err)
	}
	held, ended, err := s.cfg.Store.ClaimRun(ctx, r.TaskId, int(r.Run), task.Copy(r.Copy))
	if err != nil {
		return nil, storeError(err)
	}
	return &adminv1.ClaimTaskRunResponse{Held: held, Ended: ended}, nil
}

// storeError makes an answer of what the store or the projection says.
func storeError(err error) error {
	switch {
	case errors.Is(err, projection.ErrBehind):
		return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_PROJECTION_BEHIND,
			"the gateway's store has not caught up with the status queue; call again").Because(err)
	case errors.Is(err, store.ErrUnavailable):
		return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE,
			"the gateway's store does not answer; call again").Because(err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return rpc.Internal(err)
}
