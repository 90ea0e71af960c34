package starts_test

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/registry"
	"github.com/warrenmq/warren/services/gateway/internal/starts"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
	"github.com/warrenmq/warren/services/gateway/internal/tasktypes"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

const (
	patience = 15 * time.Second
	resize   = "acme.v1.ImageService.Resize"
)

// platform is what of a gateway a worker's requests meet, and a worker's control
// queue.
type platform struct {
	publisher *broker.Publisher
	status    *broker.StatusWriter
	workerID  string
	answers   chan *brokerv1.StartAnswer
}

func newPlatform(t testing.TB) *platform {
	t.Helper()
	b := brokertest.VHost(t)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	cfg := broker.Config{URLs: []string{b.URL}, Name: "a test", Logger: log}
	require.NoError(t, cfg.Validate())
	s, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	var r *registry.Registry
	consume := broker.NewConnection(cfg, "consume", func(topology *broker.Topology) error { return r.Declare(topology) })
	publish := broker.NewConnection(cfg, "publish", func(*broker.Topology) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return consume.Do(ctx, func(*broker.Topology) error { return nil })
	})
	p := &platform{publisher: broker.NewPublisher(publish), workerID: task.NewID(), answers: make(chan *brokerv1.StartAnswer, 10)}
	p.status = broker.NewStatusWriter(p.publisher)
	projected := projection.New(s, watch.NewHub(), p.publisher, p.status, log)
	issuer := starts.NewIssuer(starts.Config{GatewayID: "g-1", Projection: projected, Store: s, Controller: p.publisher, Logger: log})
	known := catalogue.New()
	r = registry.New(registry.Config{
		GatewayID: "g-1", Names: cfg.Names(), Catalogue: known, Types: tasktypes.New(known, s, log), Starts: issuer,
		Store: s, Controller: p.publisher, Topology: consume, Logger: log,
	})
	consume.Subscribe(projected.Subscription(cfg.Names()))
	consume.Subscribe(r.Requests())
	consume.Subscribe(broker.Subscription{
		Queue:   cfg.Names().ControlQueue(p.workerID, 1),
		Declare: func(topology *broker.Topology) error { return topology.DeclareControl(p.workerID, 1, nil) },
		Handle:  p.take,
	})
	run(t, consume.Run, publish.Run, p.status.Run, issuer.Run)
	require.NoError(t, p.publisher.AwaitReady(bounded(t)))
	return p
}

// run runs until the test ends, and waits for the end.
func run(t testing.TB, runs ...func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, r := range runs {
		running.Go(func() { r(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (p *platform) take(ctx context.Context, batch []broker.Delivery) error {
	for _, d := range batch {
		m := &brokerv1.ControlMessage{}
		if err := proto.Unmarshal(d.Body, m); err != nil {
			return err
		}
		select {
		case p.answers <- m.GetStart():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// ask asks as a worker does, again and again until it is answered.
func (p *platform) ask(t testing.TB, r task.StartRequest) task.StartAnswer {
	t.Helper()
	for {
		require.NoError(t, p.publisher.PublishRequest(bounded(t), &brokerv1.WorkerRequest{
			Worker: &brokerv1.WorkerIdentity{WorkerId: p.workerID}, RequestId: r.RequestID,
			Request: &brokerv1.WorkerRequest_Start{Start: broker.StartRequestToProto(r)},
		}))
		again := time.NewTimer(time.Second)
		for waiting := true; waiting; {
			select {
			case m := <-p.answers:
				if m.GetRequestId() != r.RequestID {
					continue // of an earlier request that was repeated
				}
				answer, err := broker.StartAnswerFromProto(m)
				require.NoError(t, err)
				return answer
			case <-again.C:
				waiting = false
			case <-t.Context().Done():
				t.Fatal("no answer")
			}
		}
	}
}

func (p *platform) write(t testing.TB, e *task.Event) {
	t.Helper()
	receipt, err := p.status.Write(bounded(t), e)
	require.NoError(t, err)
	require.NoError(t, receipt.Wait(bounded(t)))
}

// TestAWorkerIsAnsweredByWhatIsOnRecord has requests go through real queues.
func TestAWorkerIsAnsweredByWhatIsOnRecord(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	first := task.StartRequest{
		RequestID: "r-1", TaskID: task.NewID(), Type: resize, Run: 1, Attempt: 1, Copy: task.NewCopy(), Delivery: 2, Failed: 1, Resend: true,
	}
	require.Equal(t, task.StartAnswer{Verdict: task.VerdictStart, Crashes: 1}, p.ask(t, first))

	// Another message of the same run comes too late.
	second := first
	second.RequestID, second.Copy, second.Delivery, second.Failed = "r-2", task.NewCopy(), 1, 0
	require.Equal(t, task.VerdictDrop, p.ask(t, second).Verdict)
	require.Equal(t, task.VerdictStart, p.ask(t, first).Verdict, "asked again, the answer is the same")

	// What was confirmed in the status queue before is heeded.
	ended := &task.Event{
		TaskID: first.TaskID, Type: resize, Time: time.Now().UTC().Truncate(time.Microsecond), WorkerID: p.workerID,
		Key:         task.Key{Run: 1, Attempt: 1, Delivery: 2, Phase: task.PhaseRetrying, Copy: first.Copy},
		NextAttempt: 2, NextAttemptTime: time.Now().Add(time.Minute).UTC().Truncate(time.Microsecond), Decision: "later",
	}
	p.write(t, ended)
	third := first
	third.RequestID, third.Delivery, third.Failed = "r-3", 3, 2
	answer := p.ask(t, third)
	require.Equal(t, task.VerdictRepeat, answer.Verdict, "only the settlement was lost")
	require.Equal(t, ended.Key, answer.Outcome.Key)
	require.Equal(t, ended.NextAttemptTime, answer.Outcome.NextAttemptTime)
}
