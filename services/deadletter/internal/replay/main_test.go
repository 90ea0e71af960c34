//go:build unix

package replay_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/replay"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
	"github.com/warrenmq/warren/services/deadletter/internal/store/sqlite"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

const (
	patience = 30 * time.Second
	taskType = "acme.v1.ImageService.Resize"
)

var names = broker.Names{Namespace: broker.DefaultNamespace}

// gateway is what a gateway knows.
type gateway struct {
	mu    sync.Mutex
	away  bool
	tasks map[string]*taskv1.Task
	// lives is the copy that holds every run.
	lives  []byte
	ended  bool
	claims int
	asked  int
	// lost are replies to claims that get lost.
	lost int
	// single: it knows no questions for many tasks.
	single bool
	// shows bounds the tasks of an answer; 0 is all.
	shows int
	// most is how many tasks a question was for.
	most int
	// workers serve every type.
	workers int
}

func (g *gateway) GetTask(_ context.Context, r *taskv1.GetTaskRequest, _ ...grpc.CallOption) (*taskv1.GetTaskResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked++
	if g.away {
		return nil, status.Error(codes.Unavailable, "away")
	}
	if t := g.tasks[r.TaskId]; t != nil {
		return &taskv1.GetTaskResponse{Task: t}, nil
	}
	return nil, status.Error(codes.NotFound, "none")
}

func (g *gateway) BatchGetTasks(_ context.Context, r *taskv1.BatchGetTasksRequest, _ ...grpc.CallOption) (*taskv1.BatchGetTasksResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked++
	if g.away {
		return nil, status.Error(codes.Unavailable, "away")
	}
	if g.single {
		return nil, status.Error(codes.Unimplemented, "unknown method")
	}
	g.most = max(g.most, len(r.TaskIds))
	answer := &taskv1.BatchGetTasksResponse{}
	for i, id := range r.TaskIds {
		if g.shows > 0 && i >= g.shows {
			answer.UnreadTaskIds = r.TaskIds[i:]
			break
		}
		if t := g.tasks[id]; t != nil {
			answer.Tasks = append(answer.Tasks, t)
			continue
		}
		answer.MissingTaskIds = append(answer.MissingTaskIds, id)
	}
	return answer, nil
}

func (g *gateway) ClaimTaskRun(_ context.Context, r *adminv1.ClaimTaskRunRequest, _ ...grpc.CallOption) (*adminv1.ClaimTaskRunResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away {
		return nil, status.Error(codes.Unavailable, "away")
	}
	g.claims++
	if g.lives == nil {
		g.lives = r.Copy
	}
	if g.lost > 0 {
		g.lost--
		return nil, status.Error(codes.Unavailable, "the reply is lost")
	}
	return &adminv1.ClaimTaskRunResponse{Held: string(g.lives) == string(r.Copy), Ended: g.ended}, nil
}

func (g *gateway) know(id string, run int, state taskv1.TaskState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tasks[id] = &taskv1.Task{TaskId: id, Type: taskType, Run: int32(run), State: state}
}

func (g *gateway) set(edit func(*gateway)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	edit(g)
}

// publisher publishes for real, and says what before and after say.
type publisher struct {
	*broker.Publisher

	mu            sync.Mutex
	before, after []error
	// refusing: nothing is sent.
	refusing bool
	// gate, unless nil, is what publishes of many wait for.
	gate chan struct{}
}

func (p *publisher) PublishTask(ctx context.Context, m *broker.TaskMessage) error {
	if p.refused() {
		return broker.ErrNotSent
	}
	if err := p.next(&p.before); err != nil {
		return err
	}
	if err := p.Publisher.PublishTask(ctx, m); err != nil {
		return err
	}
	return p.next(&p.after)
}

func (p *publisher) next(errs *[]error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(*errs) == 0 {
		return nil
	}
	err := (*errs)[0]
	*errs = (*errs)[1:]
	return err
}

// world is a replayer and all that it needs, with a real broker and store.
type world struct {
	broker    brokertest.Broker
	gateway   *gateway
	publisher *publisher
	status    *broker.StatusWriter
	store     store.Store
	spans     *tracetest.InMemoryExporter
	tracer    *trace.TracerProvider
	replayer  *replay.Replayer

	inbox   sync.Mutex
	events  []task.Event
	markers []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	b := brokertest.VHost(t)
	cfg := broker.Config{URLs: []string{b.URL}, Name: t.Name(), Logger: slog.New(slog.DiscardHandler)}
	require.NoError(t, cfg.Validate())
	conn := broker.NewConnection(cfg, "publish", func(topology *broker.Topology) error {
		if err := topology.DeclareShared(); err != nil {
			return err
		}
		return topology.DeclareWork(taskType)
	})
	p := broker.NewPublisher(conn)
	consume := broker.NewConnection(cfg, "consume", (*broker.Topology).CheckShared)
	w := &world{
		broker: b, gateway: &gateway{tasks: map[string]*taskv1.Task{}}, publisher: &publisher{Publisher: p},
		status: broker.NewStatusWriter(p), spans: tracetest.NewInMemoryExporter(),
	}
	w.tracer = trace.NewTracerProvider(trace.WithSyncer(w.spans))
	run(t, conn.Run)
	run(t, w.status.Run)
	consume.Subscribe(broker.Subscription{Queue: names.Status(), Prefetch: 100, Handle: w.take})
	run(t, consume.Run)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, p.AwaitReady(ctx))
	s, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	w.store = s
	w.replayer = w.newReplayer()
	return w
}

func (w *world) newReplayer() *replay.Replayer {
	return replay.New(w.config())
}

func (w *world) config() replay.Config {
	return replay.Config{
		Names: names, Store: w.store, Publisher: w.publisher, Status: w.status, Tasks: w.gateway, Claims: w.gateway, Workers: w.gateway,
		Notify: func(*store.Arrival) bool { return false }, TracerProvider: w.tracer, Logger: slog.New(slog.DiscardHandler),
	}
}

// run runs f until it is stopped, after the test at the latest.
func run(t *testing.T, f func(context.Context)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// die makes a dead letter of a task whose given run has died.
func (w *world) die(t *testing.T, m *broker.TaskMessage) {
	t.Helper()
	_, err := w.store.Put(t.Context(), []store.Arrival{{
		ID: m.ID, Type: m.Type, Labels: m.Labels, Priority: m.Priority, CreateTime: m.CreateTime, RunTime: m.RunTime,
		Message: store.Message{Body: m.Payload}, Template: replay.EncodeTemplate(m),
		Occurrence: store.Occurrence{Run: m.Run, Attempt: 1, Cause: task.CausePermanentFailure, DeadTime: time.Now()},
	}})
	require.NoError(t, err)
}

// newTask is a task whose first run has died, and the gateway knows that.
func (w *world) newTask(t *testing.T) *broker.TaskMessage {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	m := &broker.TaskMessage{
		ID: task.NewID(), Type: taskType, Payload: []byte("payload"), Run: 1, Copy: task.NewCopy(), CreateTime: now, RunTime: now, Priority: task.PriorityHigh,
	}
	w.die(t, m)
	w.gateway.know(m.ID, 1, taskv1.TaskState_TASK_STATE_DEAD_LETTERED)
	return m
}

// awaitEvents waits for so many status events, and checks that there are no
// others: a marker comes after all that was confirmed before it.
func (w *world) awaitEvents(t *testing.T, n int) []task.Event {
	t.Helper()
	marker := task.NewID()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	receipt, err := w.status.Mark(ctx, marker)
	require.NoError(t, err)
	require.NoError(t, receipt.Wait(ctx))
	brokertest.Eventually(t, patience, func() bool {
		w.inbox.Lock()
		defer w.inbox.Unlock()
		return slices.Contains(w.markers, marker)
	})
	w.inbox.Lock()
	defer w.inbox.Unlock()
	require.Len(t, w.events, n)
	return slices.Clone(w.events)
}

// take takes in what is in the status queue.
func (w *world) take(_ context.Context, batch []broker.Delivery) error {
	events, markers, err := brokertest.DecodeStatus(batch)
	w.inbox.Lock()
	defer w.inbox.Unlock()
	w.events, w.markers = append(w.events, events...), append(w.markers, markers...)
	return err
}

func (w *world) awaitState(t *testing.T, id string, want store.State) store.DeadLetter {
	t.Helper()
	var d store.DeadLetter
	brokertest.Eventually(t, patience, func() bool {
		var err error
		d, err = w.store.Get(t.Context(), id, true)
		require.NoError(t, err)
		return d.State == want
	})
	return d
}

// awaitIntents waits until so many intents are in a state.
func (w *world) awaitIntents(t *testing.T, state store.IntentState, want int) []store.Intent {
	t.Helper()
	var all []store.Intent
	brokertest.Eventually(t, patience, func() bool {
		var err error
		all, err = w.store.Intents(t.Context(), state, 0, 1000)
		require.NoError(t, err)
		return len(all) == want
	})
	return all
}
