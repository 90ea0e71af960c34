package control_test

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	_ "github.com/warrenmq/warren/gen/demo/v1" // its descriptors make the catalogue
	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/control"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/registry"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
	"github.com/warrenmq/warren/services/gateway/internal/tasktypes"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

const (
	patience = 40 * time.Second
	delay    = "demo.v1.FaultService.Delay"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func configOf(t testing.TB, b brokertest.Broker) broker.Config {
	t.Helper()
	cfg := broker.Config{URLs: []string{b.URL}, Name: "a test", Logger: quiet()}
	require.NoError(t, cfg.Validate())
	return cfg
}

// gateway is what of a gateway has to do with control.
type gateway struct {
	*control.Control
	store     store.Store
	publisher *broker.Publisher
	stop      func()
}

func startGateway(t testing.TB, b brokertest.Broker, s store.Store) *gateway {
	t.Helper()
	return startGatewayThat(t, b, s, true)
}

// startGatewayThat starts a gateway that may hear no heartbeats, and thus answers none.
func startGatewayThat(t testing.TB, b brokertest.Broker, s store.Store, hearsBeats bool) *gateway {
	t.Helper()
	cfg := configOf(t, b)
	g := &gateway{store: s}
	var r *registry.Registry
	consume := broker.NewConnection(cfg, "consume", func(topology *broker.Topology) error { return r.Declare(topology) })
	life, end := context.WithCancel(context.Background())
	publish := broker.NewConnection(cfg, "publish", func(*broker.Topology) error {
		ctx, cancel := context.WithTimeout(life, patience)
		defer cancel()
		return consume.Do(ctx, func(*broker.Topology) error { return nil })
	})
	g.publisher = broker.NewPublisher(publish)
	status := broker.NewStatusWriter(g.publisher)
	projected := projection.New(s, watch.NewHub(), g.publisher, status, quiet())
	known, id := catalogueOf(t), task.NewID()
	types := tasktypes.New(known, s, quiet())
	g.Control = control.New(control.Config{
		GatewayID: id, Store: s, Controller: g.publisher, Topology: consume, Projection: projected,
		Policies: func(worker string, types []string) []*brokerv1.TypePolicy { return r.Policies(worker, types) },
		Tell:     func(ctx context.Context, taskType string) error { return r.TellWorkers(ctx, taskType) },
		Backlog:  func(context.Context, string) (int64, bool) { return 0, false },
		Logger:   quiet(),
	})
	r = registry.New(registry.Config{
		GatewayID: id, Names: cfg.Names(), Catalogue: known, Types: types, Control: g.Control,
		Store: s, Controller: g.publisher, Topology: consume, Logger: quiet(),
	})
	consume.Subscribe(projected.Subscription(cfg.Names()))
	consume.Subscribe(r.Requests())
	if hearsBeats {
		consume.Subscribe(r.Beats())
	}
	stop := run(t, consume.Run, publish.Run, status.Run, r.Run, types.Run, g.Run)
	g.stop = func() {
		end()
		stop()
	}
	t.Cleanup(g.stop)
	return g
}

// catalogueOf has the task type.
func catalogueOf(t testing.TB) *catalogue.Catalogue {
	t.Helper()
	known := catalogue.New()
	a, err := catalogue.Collect(nil, "demo.v1.FaultService")
	require.NoError(t, err)
	bundle, err := catalogue.Build(a, catalogue.Limits{})
	require.NoError(t, err)
	_, err = known.Put(bundle, time.Now())
	require.NoError(t, err)
	return known
}

// run runs until stop, which waits for the end, is called or the test ends.
func run(t testing.TB, runs ...func(context.Context)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, r := range runs {
		running.Go(func() { r(ctx) })
	}
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(stop)
	return stop
}

func newStore(t testing.TB) store.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// queued puts a task into the store as QUEUED.
func queued(t testing.TB, s store.Store) string {
	t.Helper()
	id, now := task.NewID(), time.Now()
	_, err := s.Apply(t.Context(), []task.Event{{
		TaskID: id, Type: delay, Time: now, Key: task.Key{Run: 1, Attempt: 1, Phase: task.PhaseQueued, Copy: task.NewCopy()},
		Head: &task.Head{CreateTime: now, Priority: task.PriorityNormal}, Payload: &task.Payload{SHA256: []byte{1}},
	}})
	require.NoError(t, err)
	return id
}

func stateOf(t testing.TB, s store.Store, id string) task.State {
	t.Helper()
	got, err := s.Task(t.Context(), id)
	require.NoError(t, err)
	return got.State
}

func (g *gateway) cancel(t testing.TB, ids ...string) {
	t.Helper()
	brokertest.Eventually(t, patience, g.Loaded)
	_, err := g.Cancel(t.Context(), ids, "a test")
	require.NoError(t, err)
}

// await waits until cancellations have come to their end, and says how long it took.
func (g *gateway) await(t testing.TB, ids ...string) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	begin := time.Now()
	g.AwaitCancelled(ctx, ids)
	require.NoError(t, ctx.Err())
	for _, id := range ids {
		require.Equal(t, task.StateCancelled, stateOf(t, g.store, id))
	}
	return time.Since(begin)
}

// worker reads a control queue, asks to be told what is cancelled, and sends
// heartbeats, for as long as it is not deaf.
type worker struct {
	id        string
	publisher *broker.Publisher
	stop      func()

	mu       sync.Mutex
	request  string
	synced   bool
	position int64
	known    map[string]string
	policies int
	// pause is the reason of the pause that it was told last, drain that of a drain.
	pause, drain string
	deaf         bool
	cancelling   []string
	heard        chan struct{}
}

func startWorker(t testing.TB, b brokertest.Broker) *worker {
	t.Helper()
	cfg := configOf(t, b)
	w := &worker{id: task.NewID(), request: task.NewID(), known: map[string]string{}, heard: make(chan struct{}, 1)}
	consume := broker.NewConnection(cfg, "work", nil)
	publish := broker.NewConnection(cfg, "publish", nil)
	w.publisher = broker.NewPublisher(publish)
	consume.Subscribe(broker.Subscription{
		Queue:    cfg.Names().ControlQueue(w.id, 1),
		Declare:  func(topology *broker.Topology) error { return topology.DeclareControl(w.id, 1, []string{delay}) },
		Prefetch: 100, MaxBatch: 100, Handle: w.hear,
	})
	w.stop = run(t, consume.Run, publish.Run, w.work)
	return w
}

func (w *worker) hear(_ context.Context, batch []broker.Delivery) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range batch {
		m := &brokerv1.ControlMessage{}
		if err := proto.Unmarshal(d.Body, m); err != nil {
			return err
		}
		for _, p := range m.GetHeartbeat().GetTypes() {
			w.policies++
			w.pause = p.GetPause().GetReason()
		}
		if d := m.GetDrain(); d != nil {
			w.drain = d.Reason
		}
		w.learn(m.GetCancellations())
	}
	select {
	case w.heard <- struct{}{}:
	default:
	}
	return nil
}

func (w *worker) learn(b *brokerv1.CancellationBatch) {
	if b == nil || w.deaf || b.RequestId == "" && !w.synced || b.After != 0 && b.After != w.position {
		return
	}
	for _, e := range b.Entries {
		w.known[uuid.UUID(e.TaskId).String()] = e.Reason
	}
	w.position, w.synced = b.Position, w.synced || b.Complete
}

// work asks, and beats at once when it has heard something, else every 2 s.
func (w *worker) work(ctx context.Context) {
	identity := &brokerv1.WorkerIdentity{WorkerId: w.id, Host: "host-3", StartTime: timestamppb.Now()}
	for ctx.Err() == nil {
		w.mu.Lock()
		h := &brokerv1.Heartbeat{
			Worker: identity, Time: timestamppb.Now(), Control: 1, Types: []*brokerv1.TypeLoad{{Type: delay, Configured: 4, Concurrency: 4}},
			Cancelling: slices.Clone(w.cancelling),
		}
		synced := w.synced
		if synced {
			h.CancelPosition = w.position
		}
		w.mu.Unlock()
		// What can't be sent is sent again.
		_ = w.publisher.PublishHeartbeat(ctx, h)
		if !synced {
			_ = w.publisher.PublishRequest(ctx, &brokerv1.WorkerRequest{
				Worker: identity, RequestId: w.request,
				Request: &brokerv1.WorkerRequest_Sync{Sync: &brokerv1.SyncRequest{Types: []string{delay}, Control: 1}},
			})
		}
		select {
		case <-w.heard:
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
		}
	}
}

func (w *worker) awaitSynced(t testing.TB) {
	t.Helper()
	w.await(t, func() bool { return w.synced })
}

func (w *worker) await(t testing.TB, ok func() bool) {
	t.Helper()
	brokertest.Eventually(t, patience, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return ok()
	})
}

func (w *worker) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *worker) knows() map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.known)
}

func TestCancelOverABroker(t *testing.T) {
	t.Parallel()
	b, s := brokertest.VHost(t), newStore(t)
	g := startGateway(t, b, s)
	// Nobody works on it.
	first := queued(t, s)
	g.cancel(t, first)
	require.Less(t, g.await(t, first), 15*time.Second)
	got, err := s.Task(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, "a test", got.CancelReason)

	// A worker that comes knows it before it takes tasks, and acknowledges others.
	w := startWorker(t, b)
	w.awaitSynced(t)
	require.Equal(t, map[string]string{first: "a test"}, w.knows())
	second := queued(t, s)
	g.cancel(t, second)
	require.Less(t, g.await(t, second), 2*time.Second)
	require.Contains(t, w.knows(), second)

	// One that runs ends when its worker is rid of it.
	third := queued(t, s)
	w.set(func() { w.cancelling = []string{third} })
	g.cancel(t, third)
	brokertest.Eventually(t, patience, func() bool { return len(g.CancellingOn(third)) > 0 })
	require.Equal(t, task.StateQueued, stateOf(t, s, third))
	w.set(func() { w.cancelling = nil })
	g.await(t, third)
	shown, ok := g.Worker(w.id)
	require.True(t, ok)
	require.Equal(t, adminv1.WorkerState_WORKER_STATE_LIVE, shown.State)
	require.Equal(t, "host-3", shown.Identity.Host)
}

func TestCancelOfAWorkerThatIsLost(t *testing.T) {
	t.Parallel()
	b, s := brokertest.VHost(t), newStore(t)
	g := startGateway(t, b, s)
	w := startWorker(t, b)
	w.awaitSynced(t)
	w.set(func() { w.deaf = true })
	id := queued(t, s)
	g.cancel(t, id)
	brokertest.Eventually(t, patience, func() bool { return len(w.knows()) == 0 && len(g.WaitingFor(delay, 1)) > 0 })
	w.stop()
	begin := time.Now()
	require.Equal(t, task.StateQueued, stateOf(t, s, id))
	require.Contains(t, g.WaitingFor(delay, 1)[0], "worker "+w.id+" on host-3")
	g.await(t, id)
	require.Greater(t, time.Since(begin), 14*time.Second)
	brokertest.Eventually(t, patience, func() bool {
		shown, _ := g.Worker(w.id)
		return shown.State == adminv1.WorkerState_WORKER_STATE_GONE
	})
}

func TestCancelAcrossARestart(t *testing.T) {
	t.Parallel()
	b, s := brokertest.VHost(t), newStore(t)
	g := startGateway(t, b, s)
	w := startWorker(t, b)
	w.awaitSynced(t)
	w.set(func() { w.deaf = true })
	id := queued(t, s)
	g.cancel(t, id)
	g.stop()
	require.Equal(t, task.StateQueued, stateOf(t, s, id))

	g = startGateway(t, b, s)
	brokertest.Eventually(t, patience, g.Loaded)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	g.AwaitCancelled(ctx, []string{id})
	require.Equal(t, task.StateQueued, stateOf(t, s, id), "its worker may start it")
	w.set(func() { w.deaf = false })
	g.await(t, id)
	require.Contains(t, w.knows(), id)
	require.Equal(t, 1, len(g.Workers()))
}

func TestPauseOverABroker(t *testing.T) {
	t.Parallel()
	b, s := brokertest.VHost(t), newStore(t)
	// So that nothing of it is an answer to a heartbeat.
	g := startGatewayThat(t, b, s, false)
	w := startWorker(t, b)
	w.awaitSynced(t)
	w.set(func() {
		require.NotZero(t, w.policies, "it has the policies before it takes tasks")
		require.Empty(t, w.pause)
	})
	require.NoError(t, g.Drain(t.Context(), w.id, "an update"))
	w.await(t, func() bool { return w.drain == "an update" })
	for _, p := range []*brokerv1.Pause{{Reason: "a test"}, nil, {Reason: "another"}} {
		_, err := g.SetPause(t.Context(), delay, p, "a test")
		require.NoError(t, err)
		w.await(t, func() bool { return w.pause == p.GetReason() })
	}
	g.stop()
	again := startGateway(t, b, s)
	brokertest.Eventually(t, patience, again.Loaded)
	require.True(t, again.TypeControl(delay, "").Paused)
}
