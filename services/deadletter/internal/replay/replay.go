// Package replay begins the next run of dead letters' tasks, once each, and
// learns how they end.
//
// A replay is an intent in the store before anything else happens. Whoever finds
// one that is pending publishes the task, then its QUEUED event, both confirmed,
// and marks that: after a crash or an unknown confirm all of this is done again.
// Each publish has a copy id of its own, so that the start permit, which every
// run after the first needs, starts one of them and drops the others.
package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// scope names the instrumentation in traces.
const scope = "github.com/warrenmq/warren/services/deadletter"

// Why a replay is not begun, besides what the store answers.
var (
	// ErrGateway: the gateway does not say how the task stands.
	ErrGateway = errors.New("the gateway does not answer")
	// ErrAlive: a later run of the task has not ended.
	ErrAlive = errors.New("the task is alive")
)

// Store is what replays need of the store.
type Store interface {
	Get(ctx context.Context, id string, full bool) (store.DeadLetter, error)
	List(ctx context.Context, q store.Query) (store.Page, error)
	Payload(ctx context.Context, sequence int64, revision int) ([]byte, bool, error)
	Put(ctx context.Context, arrivals []store.Arrival) ([]store.Change, error)
	BeginReplay(ctx context.Context, r store.ReplayRequest) (store.DeadLetter, store.Intent, error)
	ResolveNow(ctx context.Context, r store.ResolveRequest) (store.DeadLetter, error)
	Intents(ctx context.Context, state store.IntentState, after int64, limit int) ([]store.Intent, error)
	MarkPublishing(ctx context.Context, intentID string) (store.Intent, error)
	MarkPublished(ctx context.Context, intentID string) error
	MarkUnroutable(ctx context.Context, intentID string) error

	Replay(ctx context.Context, id string) (store.Replay, error)
	Replays(ctx context.Context, q store.ReplayQuery) ([]store.Replay, error)
	ReplayMembers(ctx context.Context, id string) ([]store.Member, error)
	StartReplay(ctx context.Context, id string) (store.Replay, error)
	Candidates(ctx context.Context, members []store.Member) ([]store.Candidate, error)
	BeginItems(ctx context.Context, b store.Begin) ([]bool, store.Replay, error)
	MarkSent(ctx context.Context, sent []store.Sent) error
	ResolveAll(ctx context.Context, ended []store.Ended) ([]bool, error)
	Holder(ctx context.Context, id string) (store.Holder, error)
}

// Publisher puts tasks into their queues.
type Publisher interface {
	PublishTask(ctx context.Context, m *broker.TaskMessage) error
	PublishTasks(ctx context.Context, ms []*broker.TaskMessage, outcome func(i int, err error), checks ...broker.Check)
}

// StatusWriter writes status events.
type StatusWriter interface {
	Write(ctx context.Context, e *task.Event) (*broker.Receipt, error)
}

// Tasks is the gateway's knowledge of tasks.
type Tasks interface {
	GetTask(ctx context.Context, r *taskv1.GetTaskRequest, opts ...grpc.CallOption) (*taskv1.GetTaskResponse, error)
	BatchGetTasks(ctx context.Context, r *taskv1.BatchGetTasksRequest, opts ...grpc.CallOption) (*taskv1.BatchGetTasksResponse, error)
}

// Claims is the gateway's knowledge of which message holds a run.
type Claims interface {
	ClaimTaskRun(ctx context.Context, r *adminv1.ClaimTaskRunRequest, opts ...grpc.CallOption) (*adminv1.ClaimTaskRunResponse, error)
}

// Config is what a replayer needs.
type Config struct {
	Names     broker.Names
	Store     Store
	Publisher Publisher
	Status    StatusWriter
	Tasks     Tasks
	Claims    Claims
	// Workers says who serves a task type; nil is not known.
	Workers Workers
	// Checker checks payloads; nil takes every one.
	Checker Checker
	// Notify says whether somebody is to be told of a run that died unroutable.
	Notify         func(*store.Arrival) bool
	TracerProvider trace.TracerProvider
	Logger         *slog.Logger
}

// Replayer replays dead letters.
type Replayer struct {
	cfg      Config
	log      *slog.Logger
	tracer   trace.Tracer
	news     chan struct{}
	bell     *bell
	follower *follower

	mu sync.Mutex
	// busy are intents that a drive publishes at this moment.
	busy map[string]bool
	// sent are messages that are confirmed and whose QUEUED event is not, by
	// intent: they need not be published again.
	sent map[string]*broker.TaskMessage
}

// New makes a replayer, which publishes and follows while Run does.
func New(cfg Config) *Replayer {
	r := &Replayer{
		cfg: cfg, log: cfg.Logger, tracer: cfg.TracerProvider.Tracer(scope),
		news: make(chan struct{}, 1), bell: newBell(), sent: map[string]*broker.TaskMessage{}, busy: map[string]bool{},
	}
	r.follower = newFollower(r)
	return r
}

// Wake has the replayer look at replays that have changed. It never blocks.
func (r *Replayer) Wake() { r.bell.ring() }

// Run publishes what was begun, and follows it, until ctx ends.
func (r *Replayer) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { r.publishAll(ctx) })
	wg.Go(func() { r.follower.run(ctx) })
	wg.Go(func() { r.driveAll(ctx) })
	wg.Go(func() { r.correct(ctx) })
	wg.Wait()
}

// Begun is what became of a request for a replay.
type Begun struct {
	// DeadLetter is as it is then: IN_REPLAY, or RESOLVED if its task had ended
	// well after all.
	DeadLetter store.DeadLetter
	// Run is the one that was begun; 0 if RESOLVED.
	Run int
}

// gatewayTimeout bounds a question to the gateway.
const gatewayTimeout = 10 * time.Second

// Begin begins the next run of a dead letter's task, whose number is above all
// that are known; that of the request is not used. Errors: [ErrGateway] and
// [ErrAlive], with nothing begun; those of the store's BeginReplay.
func (r *Replayer) Begin(ctx context.Context, req store.ReplayRequest) (Begun, error) {
	for {
		b, err := r.begin(ctx, req)
		// It has died again meanwhile, in a higher run.
		if !errors.Is(err, store.ErrRun) || ctx.Err() != nil {
			return b, err
		}
	}
}

func (r *Replayer) begin(ctx context.Context, req store.ReplayRequest) (Begun, error) {
	d, err := r.cfg.Store.Get(ctx, req.ID, false)
	if err != nil {
		return Begun{}, err
	}
	if err := r.replayable(ctx, &d, req.Etag); err != nil {
		return Begun{}, err
	}
	t, err := r.taskOf(ctx, d.ID)
	if err != nil {
		return Begun{}, err
	}
	if t != nil && int(t.Run) >= d.Run && endedWell(t) != 0 {
		d, err := r.cfg.Store.ResolveNow(ctx, store.ResolveRequest{
			ID: req.ID, Etag: req.Etag, Run: int(t.Run),
			Reason: "asked for a replay, the gateway said " + stateName(t) + "; the operator's reason: " + req.By.Reason, By: req.By,
		})
		return Begun{DeadLetter: d}, err
	}
	if t != nil && int(t.Run) > d.Run && t.State != taskv1.TaskState_TASK_STATE_DEAD_LETTERED {
		// A run that was begun here and given up does not count.
		all, err := r.cfg.Store.Candidates(ctx, []store.Member{{Sequence: d.Sequence}})
		if err != nil {
			return Begun{}, err
		}
		if int(t.Run) > all[0].Begun {
			return Begun{}, fmt.Errorf("%w: its run %d is %s", ErrAlive, t.Run, stateName(t))
		}
	}
	req.Run = max(d.Run, int(t.GetRun())) + 1
	if req.Run > math.MaxInt32 {
		return Begun{}, fmt.Errorf("%w: no run is left", store.ErrNotReplayable)
	}
	if req.By.Trace == "" {
		req.By.Trace = telemetry.Headers(ctx)["traceparent"]
	}
	d, intent, err := r.cfg.Store.BeginReplay(ctx, req)
	if err != nil {
		return Begun{}, err
	}
	r.logOf(d.ID, d.Type, intent.Run).DebugContext(ctx, "replay begun", "reason", req.By.Reason)
	r.begun()
	return Begun{DeadLetter: d, Run: intent.Run}, nil
}

// replayable says what keeps a dead letter from being replayed, in the order of
// the store, before the gateway is asked.
func (r *Replayer) replayable(ctx context.Context, d *store.DeadLetter, etag string) error {
	switch {
	case d.Foreign:
		return store.ErrNotReplayable
	case d.State == store.StateInReplay:
		holder, err := r.cfg.Store.Holder(ctx, d.ID)
		if err != nil {
			return err
		}
		return &store.NotOpenError{ID: d.ID, State: d.State, Holder: holder}
	case d.State != store.StateOpen:
		return &store.NotOpenError{ID: d.ID, State: d.State}
	case etag != "" && etag != d.Etag:
		return store.ErrEtag
	}
	return nil
}

// taskOf is the task as the gateway knows it, nil if it does not any more.
func (r *Replayer) taskOf(ctx context.Context, id string) (*taskv1.Task, error) {
	ask, cancel := context.WithTimeout(ctx, gatewayTimeout)
	defer cancel()
	known, err := r.cfg.Tasks.GetTask(ask, &taskv1.GetTaskRequest{TaskId: id})
	switch {
	case err == nil:
		return known.GetTask(), nil
	case status.Code(err) == codes.NotFound:
		return nil, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("%w: ask for task %s: %w", ErrGateway, id, err)
}

// begun has a replay published that was begun.
func (r *Replayer) begun() {
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// endedWell is the outcome of a task that succeeded or was cancelled, else 0.
func endedWell(t *taskv1.Task) store.Outcome {
	switch t.State {
	case taskv1.TaskState_TASK_STATE_SUCCEEDED:
		return store.OutcomeSucceeded
	case taskv1.TaskState_TASK_STATE_CANCELLED:
		return store.OutcomeCancelled
	default:
		return 0
	}
}

func stateName(t *taskv1.Task) string { return task.State(t.State).String() }
