package api

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/depth"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/tasktypes"
)

func TestMain(m *testing.M) { brokertest.Main(m) }

const patience = 15 * time.Second

var names = broker.Names{Namespace: broker.DefaultNamespace}

// brokerService keeps the status events that are written, in their order.
type brokerService struct {
	*TaskService
	consume *broker.Connection

	mu     sync.Mutex
	events []task.Event
}

func (s *brokerService) take(_ context.Context, batch []broker.Delivery) error {
	events, _, err := brokertest.DecodeStatus(batch)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, events...)
	return err
}

// written waits for n events.
func (s *brokerService) written(t testing.TB, n int) []task.Event {
	t.Helper()
	brokertest.Eventually(t, patience, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.events) == n
	})
	return s.events
}

// received waits until n events at least have come.
func (s *brokerService) received(ctx context.Context, n int) error {
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		s.mu.Lock()
		got := len(s.events)
		s.mu.Unlock()
		if got >= n {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// newBrokerService is a service that submits to a real broker, where nobody
// works.
func newBrokerService(t testing.TB) (*brokerService, store.Store, brokertest.Broker) {
	t.Helper()
	b := brokertest.VHost(t)
	out := &brokerService{}
	cfg := broker.Config{URLs: []string{b.URL}, Name: "a test", Logger: quiet()}
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
	publisher := broker.NewPublisher(publish)
	status := broker.NewStatusWriter(publisher)
	service, s := newService(t, &fakes{}, func(c *Config) { c.Publisher, c.Status = publisher, status })
	types, ok := service.cfg.Types.(*tasktypes.Types)
	require.True(t, ok)
	gauge := depth.New(types, consume)
	service.cfg.Depth = gauge
	out.TaskService, out.consume = service, consume
	consume.Subscribe(broker.Subscription{Queue: names.Status(), Prefetch: 10, Handle: out.take})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context){consume.Run, publish.Run, status.Run, gauge.Run} {
		running.Go(func() { run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	ready, cancelReady := context.WithTimeout(t.Context(), patience)
	defer cancelReady()
	require.NoError(t, publisher.AwaitReady(ready))
	return out, s, b
}

func TestAnOverflowBecomesADeadLetterAtOnce(t *testing.T) {
	t.Parallel()
	service, s, b := newBrokerService(t)
	inForce(t, service.TaskService, s, &taskv1.TaskOptions{
		QueueLimit: &taskv1.QueueLimit{MaxLength: 1, Overflow: taskv1.Overflow_OVERFLOW_DEAD_LETTER},
	}, "queue_limit")
	answer, err := service.SubmitTask(t.Context(), request(t))
	require.NoError(t, err)
	require.Equal(t, taskv1.TaskState_TASK_STATE_QUEUED, answer.Task.State)
	brokertest.Eventually(t, patience, func() bool { return service.cfg.Depth.AtLimit(typeDelay, 1) })

	r := request(t)
	answer, err = service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, answer.Task.State)
	require.Equal(t, taskv1.Cause_CAUSE_QUEUE_OVERFLOW, answer.Task.Cause)
	require.EqualValues(t, codes.ResourceExhausted, answer.Task.Failure.Code)
	require.NotNil(t, answer.Task.EndTime)
	id := answer.Task.TaskId

	require.Len(t, b.Drain(t, names.Work(typeDelay)), 1)
	dead := b.Drain(t, names.Dead())
	require.Len(t, dead, 1)
	require.Equal(t, id, dead[0].MessageId)
	require.Equal(t, r.Payload.Value, dead[0].Body)
	require.Equal(t, "QUEUE_OVERFLOW", dead[0].Headers["x-opt-warren-cause"])

	// Both events make the task, whichever comes first.
	events := service.written(t, 3)
	apply(t, s, events...)
	shown, err := service.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: id, View: taskv1.TaskView_TASK_VIEW_FULL})
	require.NoError(t, err)
	require.Equal(t, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, shown.Task.State)
	require.Equal(t, taskv1.Cause_CAUSE_QUEUE_OVERFLOW, shown.Task.Cause)
	require.Equal(t, r.Payload.Value, shown.Task.Payload.Value)
	require.Equal(t, map[string]string{"k": "v"}, shown.Task.Labels)
	require.Equal(t, task.PhaseDeadLettered, events[1].Key.Phase, "a crash in between leaves no task QUEUED")
	require.Equal(t, task.PhaseQueued, events[2].Key.Phase)
	require.Contains(t, events[1].Decision, "limit of 1")

	// Repeating it tells the same.
	r.TaskId = id
	answer, err = service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	require.True(t, answer.AlreadySubmitted)
	require.Equal(t, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, answer.Task.State)
}

func TestAQueueTakesNoMoreThanItsLimit(t *testing.T) {
	t.Parallel()
	service, s, b := newBrokerService(t)
	const limit = 5
	inForce(t, service.TaskService, s, &taskv1.TaskOptions{QueueLimit: &taskv1.QueueLimit{MaxLength: limit}}, "queue_limit.max_length")
	// Submitted one by one, no more than a single one can slip by a sample.
	refused := func() bool {
		_, err := service.SubmitTask(t.Context(), request(t))
		if err != nil {
			requireReason(t, err, codes.ResourceExhausted, fullReason)
		}
		return err != nil
	}
	brokertest.Eventually(t, patience, refused)
	waiting := len(b.Drain(t, names.Work(typeDelay)))
	require.GreaterOrEqual(t, waiting, limit)

	// There is room again.
	brokertest.Eventually(t, patience, func() bool { return !refused() })
}

func TestExpiryInTheBroker(t *testing.T) {
	t.Parallel()
	service, _, b := newBrokerService(t)
	r := request(t)
	r.ExpireTime = timestamppb.New(time.Now().Add(300 * time.Millisecond))
	short, err := service.SubmitTask(t.Context(), r)
	require.NoError(t, err)
	// The broker does not take any time to live that a timestamp can express.
	for _, at := range []time.Time{time.Now().AddDate(1, 0, 0), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)} {
		r.ExpireTime = timestamppb.New(at)
		answer, err := service.SubmitTask(t.Context(), r)
		require.NoError(t, err)
		require.True(t, at.Truncate(time.Microsecond).Equal(answer.Task.ExpireTime.AsTime()))
	}
	brokertest.Eventually(t, patience, func() bool { return b.Queue(t, names.Dead()).MessagesReady == 1 })
	dead, ok := b.Get(t, names.Dead())
	require.True(t, ok)
	require.Equal(t, short.Task.TaskId, dead.MessageId)
	require.Len(t, b.Drain(t, names.Work(typeDelay)), 2)
}
