//go:build unix

package intake

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
	"github.com/warrenmq/warren/services/deadletter/internal/store/sqlite"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

const (
	patience = 30 * time.Second
	taskType = "acme.v1.ImageService.Resize"
)

var (
	names = broker.Names{Namespace: broker.DefaultNamespace}
	work  = names.Work(taskType)
)

// gateway is what a gateway knows: who has claimed a run first holds it.
type gateway struct {
	mu     sync.Mutex
	away   bool
	holder map[string]string
	tasks  map[string]*taskv1.Task
}

func (g *gateway) ClaimTaskRun(_ context.Context, r *adminv1.ClaimTaskRunRequest, _ ...grpc.CallOption) (*adminv1.ClaimTaskRunResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away {
		return nil, status.Error(codes.Unavailable, "away")
	}
	run := fmt.Sprint(r.TaskId, r.Run)
	if g.holder[run] == "" {
		g.holder[run] = string(r.Copy)
	}
	t := g.tasks[r.TaskId]
	ended := t != nil && (t.Run > r.Run || t.Run == r.Run && t.State >= taskv1.TaskState_TASK_STATE_SUCCEEDED)
	return &adminv1.ClaimTaskRunResponse{Held: g.holder[run] == string(r.Copy), Ended: ended}, nil
}

func (g *gateway) GetTask(_ context.Context, r *taskv1.GetTaskRequest, _ ...grpc.CallOption) (*taskv1.GetTaskResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.tasks[r.TaskId]; t != nil && !g.away {
		return &taskv1.GetTaskResponse{Task: t}, nil
	}
	return nil, status.Error(codes.NotFound, "none")
}

func (g *gateway) set(edit func(*gateway)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	edit(g)
}

// world is an intake and all that it needs, with a real broker and store.
type world struct {
	broker    brokertest.Broker
	cfg       broker.Config
	gateway   *gateway
	publisher *broker.Publisher
	status    *broker.StatusWriter
	store     store.Store

	inbox   sync.Mutex
	events  []task.Event
	markers []string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	b := brokertest.VHost(t)
	w := &world{broker: b, gateway: &gateway{holder: map[string]string{}, tasks: map[string]*taskv1.Task{}}}
	w.cfg = broker.Config{URLs: []string{b.URL}, Name: t.Name(), Logger: slog.New(slog.DiscardHandler)}
	require.NoError(t, w.cfg.Validate())
	conn := broker.NewConnection(w.cfg, "publish", func(topology *broker.Topology) error {
		if err := topology.DeclareShared(); err != nil {
			return err
		}
		return topology.DeclareWork(taskType)
	})
	w.publisher = broker.NewPublisher(conn)
	w.status = broker.NewStatusWriter(w.publisher)
	consume := broker.NewConnection(w.cfg, "consume", (*broker.Topology).CheckShared)
	consume.Subscribe(broker.Subscription{Queue: names.Status(), Prefetch: 100, Handle: w.take})
	start(t, conn.Run)
	start(t, w.status.Run)
	start(t, consume.Run)
	require.NoError(t, w.publisher.AwaitReady(bounded(t)))
	s, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	w.store = s
	return w
}

// intake runs an intake on the store until it is stopped, after the test at the
// latest.
func (w *world) intake(t testing.TB, s Store) (stop func()) {
	t.Helper()
	i := New(Config{
		Store: s, Status: w.status, Tasks: w.gateway, Claims: w.gateway,
		Notify: func(*store.Arrival) bool { return false }, Notified: func() {}, Logger: slog.New(slog.DiscardHandler),
	})
	conn := broker.NewConnection(w.cfg, "intake", nil)
	conn.Subscribe(i.Subscription(names))
	stopConn, stopRun := start(t, conn.Run), start(t, i.Run)
	return func() {
		stopConn()
		stopRun()
	}
}

func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// start runs f until it is stopped, after the test at the latest.
func start(t testing.TB, f func(context.Context)) (stop func()) {
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

func newTask() *broker.TaskMessage {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return &broker.TaskMessage{
		ID: task.NewID(), Type: taskType, Payload: []byte("payload"), Run: 1, Copy: task.NewCopy(),
		CreateTime: now, RunTime: now, Priority: task.PriorityNormal, Labels: map[string]string{"k": "v"}, ScheduleID: "nightly",
		Trace: map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	}
}

// expire has the broker give a task up by itself.
func (w *world) expire(t testing.TB) *broker.TaskMessage {
	t.Helper()
	m := newTask()
	m.ExpireTime, m.ExpireInBroker = time.Now().Add(time.Millisecond), true
	require.NoError(t, w.publisher.PublishTask(bounded(t), m))
	return m
}

func (w *world) publishDead(t testing.TB, m *broker.TaskMessage) {
	t.Helper()
	require.NoError(t, w.publisher.PublishDead(bounded(t), m, broker.Death{
		Cause: task.CausePermanentFailure, Failure: &task.Failure{Code: 5, Message: "no such image", Kind: task.KindError},
		Decision: "NOT_FOUND is permanent", Attempt: 1,
	}))
}

// awaitDead waits until so many dead letters are there, and nothing else is.
func (w *world) awaitDead(t testing.TB, n int) []store.DeadLetter {
	t.Helper()
	var page store.Page
	brokertest.Eventually(t, patience, func() error {
		var err error
		page, err = w.store.List(t.Context(), store.Query{Limit: store.MaxPage, OldestFirst: true, Full: true})
		if err == nil && len(page.DeadLetters) != n {
			err = fmt.Errorf("%d dead letters, not %d", len(page.DeadLetters), n)
		}
		return err
	})
	return page.DeadLetters
}

// awaitEmpty waits until nothing is in the dead-letter queue or the waiting room.
func (w *world) awaitEmpty(t testing.TB) {
	t.Helper()
	brokertest.Eventually(t, patience, func() error {
		held, err := w.store.Held(t.Context(), 0, 10)
		if q := w.broker.Queue(t, names.Dead()); err == nil && q.Messages+len(held) > 0 {
			err = fmt.Errorf("%d messages in the queue, %d are held", q.Messages, len(held))
		}
		return err
	})
}

// awaitEvents waits for so many status events, and checks that there are no
// others: a marker comes after all that was confirmed before it.
func (w *world) awaitEvents(t testing.TB, n int) []task.Event {
	t.Helper()
	marker := task.NewID()
	receipt, err := w.status.Mark(bounded(t), marker)
	require.NoError(t, err)
	require.NoError(t, receipt.Wait(bounded(t)))
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
