package worker

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

// Task types of the workers in these tests.
const (
	typeDelay = "demo.v1.FaultService.Delay"
	typeFail  = "demo.v1.FaultService.Fail"
)

// patience is how long anything may take.
const patience = 15 * time.Second

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// gateway plays the gateway's part: it declares the topology, answers
// registrations, and keeps what workers say.
type gateway struct {
	broker brokertest.Broker
	names  broker.Names
	// declarePassive asks the broker for a queue's counts.
	declarePassive func(queue string) (ready, consumers int, err error)
	publisher      *broker.Publisher

	mu       sync.Mutex
	policies map[string]*brokerv1.TypePolicy
	requests []*brokerv1.WorkerRequest
	beats    []*brokerv1.Heartbeat
	events   []task.Event
	// markers were seen in the status queue; asked wait for theirs.
	markers map[string]bool
	asked   map[string]*brokerv1.WorkerRequest
	claims  map[string]task.Claim
	// mute leaves start requests unanswered.
	mute bool
	// unheard are events that never arrive, as if who says them were gone.
	unheard task.Phase
	// suspect has all who ask for a start be told that it may take its worker down.
	suspect bool
	// again makes the next heartbeat's answer ask for a registration.
	again bool
	cancelled
}

// startGateway runs a gateway for the types, which all may run for a minute.
func startGateway(t testing.TB, b brokertest.Broker, types ...string) *gateway {
	t.Helper()
	g := &gateway{broker: b, names: broker.Names{Namespace: broker.DefaultNamespace}, policies: map[string]*brokerv1.TypePolicy{},
		markers: map[string]bool{}, asked: map[string]*brokerv1.WorkerRequest{}, claims: map[string]task.Claim{}}
	for _, name := range types {
		g.policies[name] = &brokerv1.TypePolicy{Type: name, Timeout: durationpb.New(time.Minute), MaxResultBytes: 1 << 20}
	}
	channel := b.Channel(t)
	g.declarePassive = func(queue string) (int, int, error) {
		q, err := channel.QueueDeclarePassive(queue, true, false, false, false, nil)
		return q.Messages, q.Consumers, err
	}
	const id = "g-1"
	brokertest.Connect(t, b, func(topology *broker.Topology) error {
		if err := topology.DeclareShared(); err != nil {
			return err
		}
		for _, name := range types {
			if err := topology.DeclareWork(name); err != nil {
				return err
			}
		}
		return nil
	}, func(p *broker.Publisher) []broker.Subscription {
		g.publisher = p
		return []broker.Subscription{
			{Queue: g.names.Requests(), Handle: g.onRequests},
			{Queue: g.names.Status(), MaxBatch: 100, Prefetch: 100, Handle: g.onStatus},
			{Queue: g.names.Beats(id), Declare: func(topology *broker.Topology) error { return topology.DeclareBeats(id) }, Handle: g.onBeats},
		}
	})
	return g
}

func (g *gateway) onRequests(ctx context.Context, batch []broker.Delivery) error {
	for _, d := range batch {
		r := &brokerv1.WorkerRequest{}
		if err := proto.Unmarshal(d.Body, r); err != nil {
			return err
		}
		if r.GetSync() != nil {
			if err := g.onSync(ctx, r); err != nil {
				return err
			}
			continue
		}
		if r.GetStart() != nil {
			g.mu.Lock()
			g.requests = append(g.requests, r)
			g.asked[r.RequestId] = r
			g.mu.Unlock()
			if err := g.answerStarts(ctx); err != nil {
				return err
			}
			continue
		}
		answer := &brokerv1.RegistrationAnswer{RequestId: r.RequestId}
		g.mu.Lock()
		g.requests = append(g.requests, r)
		answer.Types = slices.Collect(maps.Values(g.policies))
		g.mu.Unlock()
		m := &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Registration{Registration: answer}}
		if err := g.publisher.PublishControl(ctx, r.Worker.WorkerId, m); err != nil {
			return err
		}
	}
	return nil
}

// answerStarts answers those whose worker has had everything before them
// confirmed: its marker has passed.
func (g *gateway) answerStarts(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, asked := range g.asked {
		if !g.markers[id] || g.mute {
			continue
		}
		delete(g.asked, id)
		r, err := broker.StartRequestFromProto(id, asked.GetStart())
		if err != nil {
			return err
		}
		m, err := broker.StartAnswerToProto(id, g.decide(r))
		if err != nil {
			return err
		}
		answer := &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Start{Start: m}}
		if err := g.publisher.PublishControl(ctx, asked.Worker.WorkerId, answer); err != nil {
			return err
		}
	}
	return nil
}

func claimKey(r task.StartRequest) string { return fmt.Sprint(r.TaskID, r.Run) }

func (g *gateway) decide(r task.StartRequest) task.StartAnswer {
	var t *task.Task
	var history []task.NumberedEvent
	seen := map[task.Key]bool{}
	for _, e := range g.events {
		if e.TaskID != r.TaskID || seen[e.Key] {
			continue
		}
		seen[e.Key] = true
		if t == nil {
			t = &task.Task{}
		}
		history = append(history, task.NumberedEvent{Event: e, Applied: t.Apply(&e)})
	}
	key := claimKey(r)
	var claim *task.Claim
	if c, ok := g.claims[key]; ok {
		claim = &c
	}
	answer, next := task.DecideStart(r, t, history, claim)
	g.claims[key] = next
	if g.suspect && answer.Verdict == task.VerdictStart {
		answer.Crashes = suspicious
	}
	return answer
}

func (g *gateway) onStatus(ctx context.Context, batch []broker.Delivery) error {
	events, markers, err := brokertest.DecodeStatus(batch)
	if err != nil {
		return err
	}
	g.mu.Lock()
	for _, e := range events {
		if e.Key.Phase != g.unheard {
			g.events = append(g.events, e)
		}
	}
	for _, m := range markers {
		g.markers[m] = true
	}
	g.mu.Unlock()
	return g.answerStarts(ctx)
}

func (g *gateway) onBeats(ctx context.Context, batch []broker.Delivery) error {
	for _, d := range batch {
		beat := &brokerv1.Heartbeat{}
		if err := proto.Unmarshal(d.Body, beat); err != nil {
			return err
		}
		answer := &brokerv1.HeartbeatAnswer{}
		g.mu.Lock()
		g.beats = append(g.beats, beat)
		for _, load := range beat.Types {
			answer.Types = append(answer.Types, g.policies[load.Type])
		}
		answer.RegisterAgain, g.again = g.again, false
		missed := g.missed(beat)
		g.mu.Unlock()
		if err := g.tell(ctx, beat.Worker.WorkerId, missed...); err != nil {
			return err
		}
		m := &brokerv1.ControlMessage{Body: &brokerv1.ControlMessage_Heartbeat{Heartbeat: answer}}
		if err := g.publisher.PublishControl(ctx, beat.Worker.WorkerId, m); err != nil {
			return err
		}
	}
	return nil
}

// submit puts a task into its queue, with the fields that edit sets, and gives
// its id.
func (g *gateway) submit(t testing.TB, taskType string, edit ...func(*broker.TaskMessage)) string {
	t.Helper()
	m := &broker.TaskMessage{
		ID: task.NewID(), Type: taskType, Run: 1, Copy: task.NewCopy(), CreateTime: time.Now().Truncate(time.Microsecond), Priority: task.PriorityNormal,
	}
	for _, f := range edit {
		f(m)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, g.publisher.PublishTask(ctx, m))
	return m.ID
}

// of gives the events of a task in the order in which they were written.
func (g *gateway) of(id string, phases ...task.Phase) []task.Event {
	g.mu.Lock()
	defer g.mu.Unlock()
	var events []task.Event
	for _, e := range g.events {
		if e.TaskID == id && (len(phases) == 0 || slices.Contains(phases, e.Key.Phase)) {
			events = append(events, e)
		}
	}
	return events
}

// await waits for the first event of that phase of a task.
func (g *gateway) await(t testing.TB, id string, phase task.Phase) task.Event {
	t.Helper()
	brokertest.Eventually(t, patience, func() bool { return len(g.of(id, phase)) > 0 })
	return g.of(id, phase)[0]
}

// awaitAsked waits until a start is asked for that has not been answered.
func (g *gateway) awaitAsked(t testing.TB) {
	t.Helper()
	brokertest.Eventually(t, patience, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.asked) > 0
	})
}

func (g *gateway) snapshot() (requests []*brokerv1.WorkerRequest, beats []*brokerv1.Heartbeat) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.requests), slices.Clone(g.beats)
}

// change changes what the gateway says, under its lock.
func (g *gateway) change(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

// count is what the broker says of a queue now: its messages that nobody holds,
// and its consumers. The management API's counts are older.
func (g *gateway) count(t testing.TB, queue string) (ready, consumers int) {
	t.Helper()
	ready, consumers, err := g.declarePassive(queue)
	require.NoError(t, err)
	return ready, consumers
}

// awaitReady waits until that many messages of a queue are held by nobody.
func (g *gateway) awaitReady(t testing.TB, queue string, n int) {
	t.Helper()
	brokertest.Eventually(t, patience, func() error {
		if ready, _ := g.count(t, queue); ready != n {
			return fmt.Errorf("%d messages of %s wait, not %d", ready, queue, n)
		}
		return nil
	})
}

// requireSettled demands that a worker that has stopped has settled all that it
// took: what is not settled returns to the queue.
func (g *gateway) requireSettled(t testing.TB, taskType string) {
	t.Helper()
	queue := g.names.Work(taskType)
	brokertest.Eventually(t, patience, func() bool {
		_, consumers := g.count(t, queue)
		return consumers == 0
	})
	ready, _ := g.count(t, queue)
	require.Zero(t, ready)
}

// faults is demo.v1.FaultService with handlers of the test's.
type faults struct {
	demov1.UnimplementedFaultServiceServer
	delay func(context.Context) error
	fail  func(context.Context) error
}

func (f *faults) Delay(ctx context.Context, _ *demov1.DelayRequest) (*demov1.DelayResponse, error) {
	return &demov1.DelayResponse{}, f.delay(ctx)
}

func (f *faults) Fail(ctx context.Context, _ *demov1.FailRequest) (*demov1.FailResponse, error) {
	return &demov1.FailResponse{}, f.fail(ctx)
}

// run runs a worker until stop, which waits for its end, is called or the test ends.
func run(t testing.TB, f *faults, cfg Config) (w *Worker, stop func()) {
	t.Helper()
	cfg.Logger, cfg.Version = quiet(), "v-test"
	w, err := New(cfg)
	require.NoError(t, err)
	demov1.RegisterFaultServiceServer(w, f)
	return w, serve(t, w)
}

// serve runs a worker until stop, which waits for its end, is called or the test ends.
func serve(t testing.TB, w *Worker) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(patience):
			t.Error("the worker does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}
