// Package intake takes in what dies: it moves the messages of the dead-letter
// queue into the store, each acknowledged after its commit.
//
// What a worker gave up, and what is no task, is stored at once. Of a task that
// the broker gave up by itself nobody has said yet that it has died, and perhaps
// it has not: another message of the task may hold its run. The gateway knows, but
// may be away; so such a message goes into the store's waiting room first, which
// keeps it from blocking the others, and is judged from there: claimed at the
// gateway, reported with a status event, and then taken in.
//
// A message comes in at least once. Of a task, (task, run) makes it one
// occurrence; one that is no task is there twice if its acknowledgement was lost.
package intake

import (
	"context"
	"fmt"
	"log/slog"

	"google.golang.org/grpc"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/retry"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Bounds of what is taken in with one commit, and of what the broker hands
// over meanwhile.
const (
	prefetch = 64
	maxBatch = 64
)

// Store is what the intake needs of the store.
type Store interface {
	Put(ctx context.Context, arrivals []store.Arrival) ([]store.Change, error)
	Hold(ctx context.Context, held []store.Held) error
	Held(ctx context.Context, after int64, limit int) ([]store.Held, error)
	Unhold(ctx context.Context, keys []string) error
	Check(ctx context.Context) error
}

// StatusWriter writes status events.
type StatusWriter interface {
	Write(ctx context.Context, e *task.Event) (*broker.Receipt, error)
}

// Tasks is the gateway's knowledge of tasks.
type Tasks interface {
	GetTask(ctx context.Context, r *taskv1.GetTaskRequest, opts ...grpc.CallOption) (*taskv1.GetTaskResponse, error)
}

// Claims is the gateway's knowledge of which message holds a run.
type Claims interface {
	ClaimTaskRun(ctx context.Context, r *adminv1.ClaimTaskRunRequest, opts ...grpc.CallOption) (*adminv1.ClaimTaskRunResponse, error)
}

// Config is what an intake needs.
type Config struct {
	Store  Store
	Status StatusWriter
	Tasks  Tasks
	Claims Claims
	// Notify says whether somebody is to be told of an arrival.
	Notify func(*store.Arrival) bool
	// Notified is called when a notification was enqueued.
	Notified func()
	Logger   *slog.Logger
}

// Intake takes dead letters in. Its subscription does not need Run, which
// judges what waits.
type Intake struct {
	cfg  Config
	log  *slog.Logger
	news chan struct{}
}

// New makes an intake.
func New(cfg Config) *Intake {
	return &Intake{cfg: cfg, log: cfg.Logger, news: make(chan struct{}, 1)}
}

// Subscription consumes the dead-letter queue, once a gateway has declared it.
func (i *Intake) Subscription(names broker.Names) broker.Subscription {
	return broker.Subscription{
		Queue: names.Dead(), Declare: (*broker.Topology).CheckDead,
		Prefetch: prefetch, MaxBatch: maxBatch, Handle: i.handle, Rescue: true,
	}
}

// handle returns when everything is in the store, or with the end of ctx.
func (i *Intake) handle(ctx context.Context, batch []broker.Delivery) error {
	var known []store.Arrival
	var waiting []store.Held
	for _, d := range batch {
		x := broker.DecodeDeadLetter(d)
		a := i.arrivalOf(&x)
		if !x.ByBroker() {
			known = append(known, a)
			continue
		}
		h, err := waitingOf(a, &x).held()
		if err != nil {
			return err
		}
		waiting = append(waiting, h)
	}
	if err := i.put(ctx, known); err != nil {
		return err
	}
	return i.hold(ctx, waiting)
}

func (i *Intake) hold(ctx context.Context, waiting []store.Held) error {
	if len(waiting) == 0 {
		return nil
	}
	err := retry.Until(ctx, i.log, "the store", func() error { return i.cfg.Store.Hold(ctx, waiting) })
	if err != nil {
		return fmt.Errorf("keep what the gateway is to judge: %w", err)
	}
	select {
	case i.news <- struct{}{}:
	default:
	}
	return nil
}
