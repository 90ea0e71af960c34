package schedules

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/api"
	"github.com/warrenmq/warren/services/gateway/internal/depth"
	"github.com/warrenmq/warren/services/gateway/internal/later"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
	"github.com/warrenmq/warren/services/gateway/internal/tasktypes"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

const typeDelay = "demo.v1.FaultService.Delay"

var names = broker.Names{Namespace: broker.DefaultNamespace}

// gateway is what of a gateway submits tasks when their time has come, with a real
// store and broker. What runs in it can be ended and begun anew.
type gateway struct {
	store   store.Store
	broker  brokertest.Broker
	service *api.TaskService
	parker  *broker.Publisher
	hub     *watch.Hub

	mu  sync.Mutex
	off time.Duration
}

func (g *gateway) now() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Now().Add(g.off)
}

// jump sets the clock off the machine's.
func (g *gateway) jump(off time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.off = off
}

func newGateway(t testing.TB) *gateway {
	t.Helper()
	log := quiet()
	s, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	known := catalogue.New()
	a, err := catalogue.Collect(nil, "demo.v1.FaultService")
	require.NoError(t, err)
	bundle, err := catalogue.Build(a, catalogue.Limits{})
	require.NoError(t, err)
	_, err = known.Put(bundle, time.Now())
	require.NoError(t, err)

	g := &gateway{store: s, broker: brokertest.VHost(t), hub: watch.NewHub()}
	cfg := broker.Config{URLs: []string{g.broker.URL}, Name: "a test", Logger: log}
	require.NoError(t, cfg.Validate())
	consume := broker.NewConnection(cfg, "consume", func(topology *broker.Topology) error {
		if err := topology.DeclareShared(); err != nil {
			return err
		}
		return topology.DeclareWork(typeDelay)
	})
	publish := broker.NewConnection(cfg, "publish", func(*broker.Topology) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return consume.Do(ctx, func(*broker.Topology) error { return nil })
	})
	g.parker = broker.NewPublisher(publish)
	status := broker.NewStatusWriter(g.parker)
	types := tasktypes.New(known, s, log)
	gauge := depth.New(types, consume)
	p := projection.New(s, g.hub, g.parker, status, log)
	consume.Subscribe(p.Subscription(names))
	g.service = api.NewTaskService(api.Config{
		Names: names, Catalogue: known, CatalogueLoaded: func() bool { return true }, Types: types, Depth: gauge, Publisher: g.parker, Status: status,
		Store: s, Hub: g.hub, Projection: p, MaxPayloadBytes: 1 << 20, TracerProvider: noop.NewTracerProvider(), Logger: log, Clock: g.now,
		Redeclare: func(ctx context.Context, taskType string) error {
			return consume.Do(ctx, func(t *broker.Topology) error { return t.DeclareWork(taskType) })
		},
	})
	background(t, consume.Run, publish.Run, status.Run, gauge.Run)
	ready, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, g.parker.AwaitReady(ready))
	return g
}

// background runs something until the test ends, or stop is called.
func background(t testing.TB, runs ...func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range runs {
		running.Go(func() { run(ctx) })
	}
	stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// start starts the loop that publishes and the engine that fires.
func (g *gateway) start(t testing.TB) (stop func()) {
	log := quiet()
	loop := later.New(later.Config{Store: g.store, Publisher: api.Due{TaskService: g.service, Parker: g.parker}, Clock: g.now, Logger: log})
	engine := New(Config{Store: g.store, Maker: g.service, Changed: g.hub.Wake, Later: loop.Wake, Clock: g.now, Logger: log})
	return background(t, loop.Run, engine.Run)
}

// payloadOf is what schedules submit.
func payloadOf(t testing.TB) *taskv1.SubmitTaskRequest {
	t.Helper()
	payload, err := anypb.New(&demov1.DelayRequest{})
	require.NoError(t, err)
	return &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload}
}

// put keeps n schedules with an interval that begin at a time.
func (g *gateway) put(t testing.TB, n int, interval time.Duration, begin func(i int) time.Time) {
	t.Helper()
	r := payloadOf(t)
	for i := range n {
		spec := &adminv1.Schedule{
			ScheduleId: fmt.Sprintf("s%04d", i), When: &adminv1.Schedule_Interval{Interval: durationpb.New(interval)},
			CreateTime: timestamppb.Now(), StartTime: timestamppb.New(begin(i)),
			Task: r,
		}
		table, err := Compile(spec)
		require.NoError(t, err)
		b, err := proto.Marshal(spec)
		require.NoError(t, err)
		require.NoError(t, g.store.PutSchedule(t.Context(), store.Schedule{ID: spec.ScheduleId, Version: 1, Spec: b, Next: table.Next(time.Time{})}))
	}
}

// halt has no schedule fire any more, and gives them as they were.
func (g *gateway) halt(t testing.TB) []store.Schedule {
	t.Helper()
	all, err := g.store.ListSchedules(t.Context(), "", 10_000)
	require.NoError(t, err)
	for _, s := range all {
		s.Version, s.Next = s.Version+1, time.Time{}
		require.NoError(t, g.store.PutSchedule(t.Context(), s))
	}
	return all
}

// tasks are all tasks that there are.
func (g *gateway) tasks(t testing.TB) (all []task.Task) {
	t.Helper()
	for q := (store.Query{Limit: store.MaxPage, QueuePrefix: names.Work("")}); ; {
		page, err := g.store.List(t.Context(), q)
		require.NoError(t, err)
		all = append(all, page.Tasks...)
		if q.Before = page.Next; page.Next == "" {
			return all
		}
	}
}

// awaitEmpty waits until no task waits for its time.
func (g *gateway) awaitEmpty(t testing.TB) {
	t.Helper()
	brokertest.Eventually(t, 3*patience, func() error {
		if n, err := g.store.CountScheduled(t.Context(), ""); err != nil || n > 0 {
			return fmt.Errorf("%d tasks wait for their time: %w", n, err)
		}
		return nil
	})
}

// TestEachFiringIsOneTask: however often the loops end and whatever the clock does,
// each time of a schedule has fired, and is one task.
func TestEachFiringIsOneTask(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	const count = 1000
	span, interval := 20*time.Second, time.Second
	begin := time.Now().Add(time.Second).UTC().Truncate(time.Microsecond)
	g.put(t, count, interval, func(int) time.Time { return begin })
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	runs := 0
	for end := time.Now().Add(span); time.Now().Before(end); runs++ {
		stop := g.start(t)
		// Once while it runs, and once while nothing does.
		for _, halt := range []func(){func() {}, stop} {
			<-time.After(time.Duration(r.Int64N(int64(1500 * time.Millisecond))))
			halt()
			g.jump(time.Duration(r.Int64N(int64(20*time.Second))) - 10*time.Second)
		}
	}
	all := g.halt(t)
	// Leases, too, go by the clock that has jumped.
	g.jump(time.Minute)
	stop := g.start(t)
	g.awaitEmpty(t)
	stop()

	made := map[string]int{}
	for _, task := range g.tasks(t) {
		made[task.ID]++
	}
	firings := 0
	for _, s := range all {
		for at := begin; at.Before(s.Next); at = at.Add(interval) {
			firings++
			require.Equal(t, 1, made[taskID(s.ID, at)], "%s at %v", s.ID, at)
		}
		for _, f := range g.firingsOf(t, s.ID) {
			require.Equal(t, fired, f.Outcome)
			require.Equal(t, taskID(s.ID, f.Time.AsTime()), f.TaskId)
		}
	}
	require.Len(t, made, firings, "no task is of any other time")
	require.Greater(t, firings, count/10)
	published := map[string]int{}
	for _, m := range g.broker.Drain(t, names.Work(typeDelay)) {
		published[m.MessageId]++
	}
	require.Len(t, published, firings)
	t.Logf("%d firings in %d runs", firings, runs)
}

func (g *gateway) firingsOf(t testing.TB, id string) (all []*adminv1.Firing) {
	t.Helper()
	s, err := g.store.GetSchedule(t.Context(), id)
	require.NoError(t, err)
	for _, kept := range s.Firings {
		f := new(adminv1.Firing)
		require.NoError(t, proto.Unmarshal(kept.Encoded, f))
		all = append(all, f)
	}
	return all
}
