// Package api is the gateway's public gRPC API.
package api

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// scope names the instrumentation in traces.
const scope = "github.com/warrenmq/warren/services/gateway"

// Publisher puts tasks into their queues, or among the dead letters.
type Publisher interface {
	Ready() error
	AwaitReady(ctx context.Context) error
	PublishTasks(ctx context.Context, ms []*broker.TaskMessage, outcome func(i int, err error), checks ...broker.Check)
	PublishDead(ctx context.Context, m *broker.TaskMessage, death broker.Death, check ...broker.Check) error
}

// Types says what is in force for a task type; false for one that is not known.
type Types interface {
	Effective(taskType string) (*taskv1.TaskOptions, policy.Policy, bool)
}

// Depth knows how long queues with a limit are, as depth.Gauge does.
type Depth interface {
	Enter(taskType string, limit int64) (leave func(published bool), ok bool)
	AtLimit(taskType string, limit int64) bool
}

// StatusWriter writes status events.
type StatusWriter interface {
	Write(ctx context.Context, e *task.Event) (*broker.Receipt, error)
}

// Projection lets reads wait until the store has caught up.
type Projection interface {
	CatchUp(ctx context.Context) error
}

// Config is what the task service needs.
type Config struct {
	Names     broker.Names
	Catalogue *catalogue.Catalogue
	// CatalogueLoaded says whether task types of earlier days are known.
	CatalogueLoaded func() bool
	Types           Types
	Depth           Depth
	Publisher       Publisher
	Status          StatusWriter
	Store           store.Store
	Hub             *watch.Hub
	Projection      Projection
	Control         Control
	Fleet           Fleet
	Queues          Queues
	// Redeclare declares the queue of a known task type anew. It fails with
	// [store.ErrRetired] if the type is not known any more.
	Redeclare func(ctx context.Context, taskType string) error
	// Later is told of each task that was put into the store for later, and when it is
	// due; nil is nobody.
	Later func(at time.Time)
	// Clock tells the time by which tasks for later are. Default: time.Now.
	Clock func() time.Time
	// MaxPayloadBytes bounds a payload.
	MaxPayloadBytes int
	TracerProvider  trace.TracerProvider
	// MeterProvider is where submissions and watchers are counted; nil is otel's
	// global one.
	MeterProvider metric.MeterProvider
	Logger        *slog.Logger
}

// TaskService implements warren.task.v1.TaskService.
type TaskService struct {
	taskv1.UnimplementedTaskServiceServer

	cfg     Config
	tracer  trace.Tracer
	metrics *metrics
	// exchange is that of tasks, as spans say.
	exchange string
	// redeclaring has one call of Redeclare for all who miss the same queue.
	redeclaring singleflight.Group
	keys        *keyDesk
	// intake bounds the bytes of all streams that are read and not submitted yet.
	intake *semaphore.Weighted
	// stopping is closed when waits and watches are to end.
	stopping chan struct{}
}

// NewTaskService makes the service.
func NewTaskService(cfg Config) *TaskService {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	s := &TaskService{
		cfg: cfg, tracer: cfg.TracerProvider.Tracer(scope), exchange: cfg.Names.Tasks(),
		stopping: make(chan struct{}), intake: semaphore.NewWeighted(maxIntakeBytes),
	}
	s.keys, s.metrics = newKeyDesk(&s.cfg), newMetrics(&s.cfg)
	return s
}

// Stop ends waits and watches, which callers resume elsewhere. Call it once.
func (s *TaskService) Stop() { close(s.stopping) }

func shuttingDown() error {
	return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN,
		"this gateway is stopping; call again, with the last resume token if it was a watch")
}

// read gives a task, and NOT_FOUND only for one that was never accepted: a task
// that the store does not have yet may be in the status queue.
func (s *TaskService) read(ctx context.Context, id string) (task.Task, error) {
	t, err := s.cfg.Store.Task(ctx, id)
	if !errors.Is(err, store.ErrNotFound) {
		return t, readError(err)
	}
	if err := s.cfg.Projection.CatchUp(ctx); err != nil {
		if errors.Is(err, projection.ErrBehind) {
			return t, rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_PROJECTION_BEHIND,
				"the task %s is not in the store, which has not caught up with the status queue; call again", id).Because(err)
		}
		return t, err
	}
	t, err = s.cfg.Store.Task(ctx, id)
	return t, readError(err)
}

func readError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound):
		return rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_TASK_NOT_FOUND,
			"no such task was accepted, or its retention has ended; check the id")
	case errors.Is(err, store.ErrUnavailable):
		return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE,
			"the gateway's store does not answer; call again").Because(err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return rpc.Internal(err)
}

// answerTime is kept of a caller's deadline, so that the answer still arrives.
const answerTime = 100 * time.Millisecond

// beforeDeadline bounds work so that its outcome reaches the caller before the
// caller's deadline does, and by atMost in any case.
func beforeDeadline(ctx context.Context, atMost time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, untilAnswer(ctx, atMost))
}

func untilAnswer(ctx context.Context, atMost time.Duration) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		return min(atMost, left-min(answerTime, left/5))
	}
	return atMost
}
