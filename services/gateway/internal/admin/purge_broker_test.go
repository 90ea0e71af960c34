//go:build unix

package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/control"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/queues"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

const (
	patience = 30 * time.Second
	exceeded = taskv1.ErrorReason_ERROR_REASON_COUNT_EXCEEDED
)

// purged is a service over a real broker, store and projection.
type purged struct {
	*fixture
	broker    brokertest.Broker
	cfg       broker.Config
	names     broker.Names
	publisher *broker.Publisher
	status    *broker.StatusWriter
	consume   *broker.Connection
}

func newPurged(t testing.TB) *purged {
	t.Helper()
	p := &purged{fixture: newFixture(t), broker: brokertest.VHost(t)}
	p.cfg = broker.Config{URLs: []string{p.broker.URL}, Name: "a test", Logger: slog.New(slog.DiscardHandler)}
	require.NoError(t, p.cfg.Validate())
	p.names = p.cfg.Names()
	p.consume = broker.NewConnection(p.cfg, "consume", func(topology *broker.Topology) error {
		if err := topology.DeclareShared(); err != nil {
			return err
		}
		return topology.DeclareWork(typeDelay)
	})
	publish := broker.NewConnection(p.cfg, "publish", func(*broker.Topology) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return p.consume.Do(ctx, func(*broker.Topology) error { return nil })
	})
	p.publisher = broker.NewPublisher(publish)
	p.status = broker.NewStatusWriter(p.publisher)
	projected := projection.New(p.store, watch.NewHub(), p.publisher, p.status, p.cfg.Logger)
	p.consume.Subscribe(projected.Subscription(p.names))
	steering := control.New(control.Config{
		GatewayID: task.NewID(), Store: p.store, Controller: p.publisher, Topology: p.consume, Projection: projected,
		Policies: func(string, []string) []*brokerv1.TypePolicy { return nil }, Tell: func(context.Context, string) error { return nil },
		Backlog: func(context.Context, string) (int64, bool) { return 0, false }, Logger: p.cfg.Logger,
	})
	steering.Listening(time.Now())
	p.Service.cfg.Control, p.Service.cfg.Status, p.Service.cfg.Projection = steering, p.status, projected
	p.Service.cfg.Queues = queues.New(queues.Config{Names: p.names, Topology: p.consume, Store: p.store})
	p.Service.cfg.OpenTaker = func(ctx context.Context, taskType string) (Taker, error) {
		return broker.OpenTaker(ctx, p.cfg, taskType)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context){p.consume.Run, publish.Run, p.status.Run, steering.Run} {
		running.Go(func() { run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	ready, cancelReady := context.WithTimeout(t.Context(), patience)
	defer cancelReady()
	require.NoError(t, p.publisher.AwaitReady(ready))
	return p
}

// submit publishes tasks as they are submitted, with their QUEUED events.
func (p *purged) submit(t testing.TB, n int, edits ...func(*broker.TaskMessage)) []*broker.TaskMessage {
	t.Helper()
	ms := make([]*broker.TaskMessage, n)
	for i := range ms {
		now := time.Now().UTC().Truncate(time.Microsecond)
		ms[i] = &broker.TaskMessage{
			ID: task.NewID(), Type: typeDelay, Payload: []byte("payload"), Run: 1, Copy: task.NewCopy(), CreateTime: now, RunTime: now, Priority: task.PriorityNormal,
		}
		for _, edit := range edits {
			edit(ms[i])
		}
	}
	p.publish(t, ms...)
	var last *broker.Receipt
	for _, m := range ms {
		var err error
		last, err = p.status.Write(t.Context(), &task.Event{
			TaskID: m.ID, Type: m.Type, Time: m.CreateTime, Key: task.Key{Run: m.Run, Attempt: 1, Phase: task.PhaseQueued, Copy: m.Copy},
			Head: &task.Head{CreateTime: m.CreateTime, Priority: m.Priority},
		})
		require.NoError(t, err)
	}
	require.NoError(t, last.Wait(t.Context()))
	return ms
}

func (p *purged) publish(t testing.TB, ms ...*broker.TaskMessage) {
	t.Helper()
	var failed atomic.Int64
	p.publisher.PublishTasks(t.Context(), ms, func(_ int, err error) {
		if err != nil {
			failed.Add(1)
		}
	})
	require.Zero(t, failed.Load())
}

func (p *purged) write(t testing.TB, events ...*task.Event) {
	t.Helper()
	for _, e := range events {
		require.NoError(t, p.tell(t.Context(), e))
	}
}

// tell has a status event confirmed.
func (p *purged) tell(ctx context.Context, e *task.Event) error {
	receipt, err := p.status.Write(ctx, e)
	if err != nil {
		return err
	}
	return receipt.Wait(ctx)
}

// work has a worker take n tasks, as many ahead as prefetch says, and do something with
// each. When ctx ends it takes no more, but ends what it does.
func (p *purged) work(ctx context.Context, n, prefetch int, do func(context.Context, *broker.WorkDelivery)) {
	life, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	broker.RunLinks(life, p.cfg, func(life context.Context, l *broker.Link, up func()) error {
		up()
		defer cancel()
		r, err := l.Work(life, typeDelay)
		if err != nil {
			return err
		}
		if err := r.Credit(prefetch); err != nil {
			return err
		}
		for i := range n {
			if i >= prefetch {
				if err := r.Credit(1); err != nil {
					return err
				}
			}
			d, err := r.Receive(ctx)
			if err != nil {
				return err
			}
			do(life, d)
		}
		return nil
	})
}

func (p *purged) ready(t testing.TB) int {
	t.Helper()
	states, err := p.Service.cfg.Queues.States(t.Context(), []string{typeDelay})
	require.NoError(t, err)
	return states[0].Ready
}

func (p *purged) awaitReady(t testing.TB, n int) {
	t.Helper()
	brokertest.Eventually(t, patience, func() bool { return p.ready(t) == n })
}

func (p *purged) purge(t testing.TB, count int64) (*adminv1.PurgeQueueResponse, error) {
	t.Helper()
	return p.PurgeQueue(t.Context(), &adminv1.PurgeQueueRequest{TaskType: "demo.v1.FaultService/Delay", Count: count, Reason: "sent twice"})
}

func (p *purged) task(t testing.TB, id string) task.Task {
	t.Helper()
	require.NoError(t, p.awaitProjection(t.Context()))
	found, err := p.store.Task(t.Context(), id)
	require.NoError(t, err)
	return found
}

// requireTold requires that an end was told of a delivery, of any copy if the key has
// none.
func (p *purged) requireTold(t testing.TB, key task.Key, id string) {
	t.Helper()
	history, err := p.store.History(t.Context(), id)
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(history, func(e task.NumberedEvent) bool {
		if key.Copy == (task.Key{}).Copy {
			e.Key.Copy = key.Copy
		}
		return e.Key == key
	}))
}

// retryingEvent is what a worker says of a task that it puts off.
func retryingEvent(m *broker.TaskMessage, at time.Time) *task.Event {
	return &task.Event{
		TaskID: m.ID, Type: m.Type, Time: time.Now(), NextAttempt: 2, NextAttemptTime: at,
		Key: task.Key{Run: m.Run, Attempt: 1, Delivery: 1, Phase: task.PhaseRetrying, Copy: m.Copy},
	}
}

func TestAQueueIsPurged(t *testing.T) {
	t.Parallel()
	p := newPurged(t)
	const ordinary, retried, waiting, later = 900, 70, 30, time.Hour
	due, putOff := map[string]bool{}, map[string]bool{}
	p.submit(t, retried+waiting)
	p.work(t.Context(), retried+waiting, retried+waiting, func(ctx context.Context, d *broker.WorkDelivery) {
		m, err := d.Task(typeDelay)
		require.NoError(t, err)
		at := time.Now()
		if len(putOff) < waiting {
			at, putOff[m.ID] = at.Add(later), true
		} else {
			due[m.ID] = true
		}
		p.write(t, retryingEvent(&m, at))
		require.NoError(t, d.Retry(ctx, broker.Again{At: at, Attempt: 2}))
	})
	ms := p.submit(t, ordinary)
	p.broker.Publish(t, p.names.Tasks(), typeDelay, amqp091.Publishing{Body: []byte("no task")})
	p.awaitReady(t, ordinary+retried+1)
	require.NoError(t, p.awaitProjection(t.Context()))

	// Tasks that are due again wait for a retry still, by the store.
	const all = ordinary + 2*retried + waiting + 1
	_, err := p.purge(t, all-1)
	requireReason(t, err, codes.FailedPrecondition, exceeded)
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			require.Equal(t, map[string]string{"count": fmt.Sprint(all)}, info.Metadata)
		}
	}
	require.Equal(t, ordinary+retried+1, p.ready(t), "nothing was cancelled")

	answer, err := p.purge(t, all)
	require.NoError(t, err)
	require.EqualValues(t, ordinary+retried, answer.Ready)
	require.EqualValues(t, waiting, answer.Retrying)
	p.awaitReady(t, 1)
	left := p.broker.Drain(t, p.names.Work(typeDelay))
	require.Equal(t, []byte("no task"), left[0].Body)
	for _, m := range ms {
		found := p.task(t, m.ID)
		require.Equal(t, task.StateCancelled, found.State)
		require.Equal(t, "sent twice", found.CancelReason)
		p.requireTold(t, task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseCancelled, Copy: m.Copy}, m.ID)
	}
	for id := range due {
		require.Equal(t, task.StateCancelled, p.task(t, id).State)
		p.requireTold(t, task.Key{Run: 1, Attempt: 2, Delivery: 2, Phase: task.PhaseCancelled}, id)
	}
	kept, err := p.store.Cancellations(t.Context(), 0, 2*all)
	require.NoError(t, err)
	require.Len(t, kept, ordinary+retried+waiting, "each is on record")
	for i := range kept {
		require.Equal(t, putOff[kept[i].TaskID], kept[i].Seen.IsZero(), "its message was seen")
	}
	for id := range putOff {
		brokertest.Eventually(t, patience, func() bool { return p.task(t, id).State == task.StateCancelled })
		require.Equal(t, "sent twice", p.task(t, id).CancelReason)
	}
	answer, err = p.purge(t, 1)
	require.NoError(t, err)
	require.Zero(t, answer.Ready+answer.Retrying)
}

// A worker takes tasks at the same time: none is both purged and worked on, and none is
// lost.
func TestAPurgeAndAWorkerShareAQueue(t *testing.T) {
	t.Parallel()
	p := newPurged(t)
	const n, worked = 600, 150
	ms := p.submit(t, n)
	p.awaitReady(t, n)
	taken := map[string]bool{}
	started := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		p.work(ctx, worked, 1, func(ctx context.Context, d *broker.WorkDelivery) {
			m, err := d.Task(typeDelay)
			if err == nil {
				err = p.tell(ctx, &task.Event{TaskID: m.ID, Type: m.Type, Time: time.Now(), Key: task.Key{
					Run: 1, Attempt: 1, Delivery: d.Acquired(), Phase: task.PhaseSucceeded, Copy: m.Copy,
				}})
			}
			if err = errors.Join(err, d.Accept(ctx)); err != nil {
				t.Error(err)
			}
			if taken[m.ID] = true; len(taken) == 1 {
				close(started)
			}
		})
	})
	select {
	case <-started:
	case <-time.After(patience):
		t.Fatal("the worker gets nothing")
	}
	answer, err := p.purge(t, n)
	require.NoError(t, err)
	stop() // it has got what was left to it
	wg.Wait()
	cancelled, queued := 0, []string{}
	for _, m := range ms {
		switch found := p.task(t, m.ID); {
		case taken[m.ID]:
			require.Equal(t, task.StateSucceeded, found.State)
		case found.State == task.StateCancelled:
			cancelled++
		default:
			require.Equal(t, task.StateQueued, found.State)
			queued = append(queued, m.ID)
		}
	}
	require.Positive(t, cancelled)
	require.EqualValues(t, answer.Ready, cancelled)
	p.awaitReady(t, len(queued))
	left := []string{}
	for _, message := range p.broker.Drain(t, p.names.Work(typeDelay)) {
		left = append(left, message.MessageId)
	}
	require.ElementsMatch(t, queued, left, "each that is QUEUED has its message, and no other")
	t.Logf("%d worked on, %d purged, %d left", len(taken), cancelled, len(queued))
}

// deaf is a status writer whose events are not confirmed.
type deaf struct{}

func (deaf) Write(context.Context, *task.Event) (*broker.Receipt, error) {
	return nil, broker.ErrWriterStopped
}

func TestNothingIsLostWhereAPurgeBreaks(t *testing.T) {
	t.Parallel()
	p := newPurged(t)
	ms := p.submit(t, 20)
	p.awaitReady(t, 20)
	status := p.Service.cfg.Status
	p.Service.cfg.Status = deaf{}
	_, err := p.purge(t, 20)
	requireReason(t, err, codes.Unavailable, noQueue)
	p.awaitReady(t, 20)
	// They are on record: no worker starts one.
	kept, err := p.store.Cancellations(t.Context(), 0, 100)
	require.NoError(t, err)
	require.Len(t, kept, len(ms))
	for _, m := range ms {
		brokertest.Eventually(t, patience, func() bool { return p.task(t, m.ID).State == task.StateCancelled })
	}
	p.work(t.Context(), 20, 20, func(ctx context.Context, d *broker.WorkDelivery) {
		require.EqualValues(t, 1, d.Failed(), "so that a worker asks before it starts it")
		require.NoError(t, d.Release(ctx))
	})
	p.awaitReady(t, 20)

	p.Service.cfg.Status = status
	p.Service.cfg.OpenTaker = func(context.Context, string) (Taker, error) { return nil, errors.New("no connection") }
	_, err = p.purge(t, 20)
	requireReason(t, err, codes.Unavailable, noQueue)
	p.Service.cfg.OpenTaker = func(ctx context.Context, taskType string) (Taker, error) {
		return broker.OpenTaker(ctx, p.cfg, taskType)
	}
	p.store.err = fmt.Errorf("%w: locked", store.ErrUnavailable)
	_, err = p.purge(t, 20)
	requireReason(t, err, codes.Unavailable, unavailable)
	p.store.err = nil
	p.awaitReady(t, 20)
	answer, err := p.purge(t, 20)
	require.NoError(t, err)
	require.Zero(t, answer.Ready, "they were cancelled before")
	p.awaitReady(t, 0)
	require.NoError(t, p.awaitProjection(t.Context()))
	kept, err = p.store.Cancellations(t.Context(), 0, 100)
	require.NoError(t, err)
	require.Len(t, kept, len(ms))
	for i := range kept {
		require.False(t, kept[i].Seen.IsZero(), "its message was seen")
	}
}

// full has as many cancellations as can be.
type full struct{ Control }

func (full) Cancel(context.Context, []string, string) ([]store.CancelAnswer, error) {
	return nil, fmt.Errorf("%w: all of them", store.ErrTooMany)
}

func TestAPurgeGoesOnWithoutRecords(t *testing.T) {
	t.Parallel()
	p := newPurged(t)
	ms := p.submit(t, 3)
	p.awaitReady(t, 3)
	p.Service.cfg.Control = full{p.Service.cfg.Control}
	answer, err := p.purge(t, 3)
	require.NoError(t, err)
	require.EqualValues(t, 3, answer.Ready)
	for _, m := range ms {
		require.Equal(t, task.StateCancelled, p.task(t, m.ID).State)
	}
}

// Of several messages of a task only the one that holds its run is the task.
func TestAPurgeOfRepeatedMessages(t *testing.T) {
	t.Parallel()
	p := newPurged(t)
	resend := func(m *broker.TaskMessage) { m.Resend = true }
	lone := p.submit(t, 1, resend)[0]
	replayed := p.submit(t, 1, func(m *broker.TaskMessage) { m.Run = 3 })[0]
	running, ended, dead := p.submit(t, 1, resend)[0], p.submit(t, 1, resend)[0], p.submit(t, 1, resend)[0]
	other := task.NewCopy()
	_, _, err := p.store.ClaimRun(t.Context(), running.ID, 1, other)
	require.NoError(t, err)
	end := func(m *broker.TaskMessage, phase task.Phase) *task.Event {
		return &task.Event{TaskID: m.ID, Type: m.Type, Time: time.Now(), Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: phase, Copy: m.Copy}}
	}
	p.write(t, end(ended, task.PhaseSucceeded), end(dead, task.PhaseDeadLettered))
	p.awaitReady(t, 5)

	answer, err := p.purge(t, 5)
	require.NoError(t, err)
	require.EqualValues(t, 2, answer.Ready)
	require.Equal(t, task.StateCancelled, p.task(t, lone.ID).State)
	require.Equal(t, task.StateCancelled, p.task(t, replayed.ID).State)
	require.Equal(t, 3, p.task(t, replayed.ID).Run)
	require.Equal(t, task.StateQueued, p.task(t, running.ID).State, "another message of it is worked on")
	require.Equal(t, task.StateSucceeded, p.task(t, ended.ID).State)
	require.Equal(t, task.StateDeadLettered, p.task(t, dead.ID).State)
	p.awaitReady(t, 1)
	left := p.broker.Drain(t, p.names.Work(typeDelay))
	require.Equal(t, dead.ID, left[0].MessageId, "its settlement was lost: a worker repeats it")
}

func TestAPurgeOfAQueueThatIsMissing(t *testing.T) {
	t.Parallel()
	p := newPurged(t)
	_, err := p.broker.Channel(t).QueueDelete(p.names.Work(typeDelay), false, false, false)
	require.NoError(t, err)
	answer, err := p.purge(t, 1)
	require.NoError(t, err)
	require.Zero(t, answer.Ready)
}
