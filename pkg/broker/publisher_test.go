//go:build unix

package broker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/broker/rabbitnode"
	"github.com/warrenmq/warren/pkg/task"
)

func TestPublishIsConfirmed(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	m := publishTask(t, p)
	got, ok := b.Get(t, work)
	require.True(t, ok, "it was confirmed and is not there")
	assert.Equal(t, m.ID, got.MessageId)
	assert.Equal(t, names.Tasks(), got.Exchange)
	assert.Equal(t, taskType, got.RoutingKey)
	assert.Equal(t, taskType, got.Type)
	assert.Equal(t, "application/x-protobuf", got.ContentType)
	assert.Equal(t, amqp091.Persistent, got.DeliveryMode)
	assert.EqualValues(t, m.Priority, got.Priority)
	assert.Equal(t, m.CreateTime.Unix(), got.Timestamp.Unix())
	assert.Equal(t, m.Payload, got.Body)
}

func TestPublishToATypeWithoutQueue(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn, p := connect(t, b.URL)
	err := p.PublishTask(bounded(t), newTask(otherType))
	require.ErrorIs(t, err, broker.ErrUnroutable)
	require.NotErrorIs(t, err, broker.ErrUnknown)

	// The publisher goes on, and the type may get its queue.
	publishTask(t, p)
	require.NoError(t, conn.Do(bounded(t), declare(otherType)))
	require.NoError(t, p.PublishTask(bounded(t), newTask(otherType)))
}

func TestPublishWithoutConnection(t *testing.T) {
	t.Parallel()
	p := broker.NewPublisher(broker.NewConnection(configOf(t), "publish", nil))
	require.ErrorIs(t, p.Ready(), broker.ErrNotSent)
	require.ErrorIs(t, p.PublishTask(bounded(t), newTask(taskType)), broker.ErrNotSent)
	require.ErrorIs(t, p.Probe(bounded(t)), broker.ErrNotSent)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, p.AwaitReady(ctx), broker.ErrNotSent)
}

func TestPublishAfterTheConnectionIsLost(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	conn, p := connect(t, proxy.URL())
	require.True(t, conn.Connected())
	proxy.Cut()
	brokertest.Eventually(t, within, func() bool { return errors.Is(p.Ready(), broker.ErrNotSent) })
	require.ErrorIs(t, p.PublishTask(bounded(t), newTask(taskType)), broker.ErrNotSent)
	brokertest.Eventually(t, within, func() bool { return !conn.Connected() })

	proxy.Restore()
	require.NoError(t, p.AwaitReady(bounded(t)))
	require.True(t, conn.Connected())
	publishTask(t, p)
	assert.Len(t, b.Drain(t, work), 1)
}

func TestPublishToABrokerThatHangs(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	_, p := connect(t, proxy.URL())
	proxy.Stall()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errTooLong)
	defer cancel()
	err := p.PublishTask(ctx, newTask(taskType))
	require.ErrorIs(t, err, broker.ErrUnknown)
	require.ErrorIs(t, err, errTooLong)

	// It did get there, which is why the answer was no other.
	proxy.Restore()
	requireCounts(t, b, work, 1, 0)
	publishTask(t, p)
}

var errTooLong = errors.New("it takes too long")

// A return that came too late for its publisher is not taken for that of the
// next message with the same id, as a repeated submission has it.
func TestPublishAgainWhatWasReturnedLate(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	_, p := connect(t, proxy.URL())
	m := newTask(otherType)
	proxy.Stall()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, p.PublishTask(ctx, m), broker.ErrUnknown)
	proxy.Restore()
	publishTask(t, p)

	admin := broker.NewConnection(configOf(t, b.URL), "admin", nil)
	run(t, admin.Run)
	require.NoError(t, admin.Do(bounded(t), declare(otherType)))
	m.Resend = true
	require.NoError(t, p.PublishTask(bounded(t), m))
	assert.Len(t, b.Drain(t, names.Work(otherType)), 1)
}

func TestPublishDuringTheLossOfTheConnection(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	_, p := connect(t, proxy.URL())
	proxy.Stall()
	answer := make(chan error, 1)
	go func() { answer <- p.PublishTask(context.WithoutCancel(t.Context()), newTask(taskType)) }()
	// Once another is unknown too, the first is on its way.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, p.PublishTask(ctx, newTask(taskType)), broker.ErrUnknown)
	proxy.Cut()
	err := requireNext(t, answer, "an answer")
	require.Error(t, err)
	require.True(t, errors.Is(err, broker.ErrUnknown) || errors.Is(err, broker.ErrNotSent), err)
}

// More publishes than may be in flight meet a broker that hangs. Those that
// are said not to be sent never reach it, those that may be there are.
func TestPublishBeyondWhatMayBeInFlight(t *testing.T) {
	t.Parallel()
	const n = broker.MaxInFlight + 100
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	_, p := connect(t, proxy.URL())
	proxy.Stall()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var tasks [n]*broker.TaskMessage
	var errs [n]error
	var wg sync.WaitGroup
	for i := range n {
		tasks[i] = newTask(taskType)
		wg.Go(func() { errs[i] = p.PublishTask(ctx, tasks[i]) })
	}
	wg.Wait()
	proxy.Restore()
	last := publishTask(t, p)

	there := map[string]bool{}
	for _, m := range b.Drain(t, work) {
		there[m.MessageId] = true
	}
	assert.True(t, there[last.ID])
	var unknown int
	for i, err := range errs {
		switch {
		case errors.Is(err, broker.ErrUnknown):
			unknown++
			assert.True(t, there[tasks[i].ID], "%v", err)
		case errors.Is(err, broker.ErrNotSent):
			assert.False(t, there[tasks[i].ID], "%v", err)
		default:
			t.Errorf("neither sent nor not sent: %v", err)
		}
	}
	assert.LessOrEqual(t, unknown, broker.MaxInFlight)
	assert.Positive(t, unknown)
}

func TestPublishFromManyGoroutines(t *testing.T) {
	t.Parallel()
	const goroutines, each = 64, 20
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	ctx := bounded(t)
	errs := make(chan error, goroutines*each)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for range each {
				// Every other one has no queue to go to.
				if g%2 == 0 {
					errs <- p.PublishTask(ctx, newTask(taskType))
				} else if err := p.PublishTask(ctx, newTask(otherType)); !errors.Is(err, broker.ErrUnroutable) {
					errs <- fmt.Errorf("a type without queue: %w", err)
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	ids := map[string]bool{}
	for _, m := range b.Drain(t, work) {
		ids[m.MessageId] = true
	}
	assert.Len(t, ids, goroutines/2*each)
}

func TestPublisherOutlivesItsChannel(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn, p := connect(t, b.URL)
	require.NoError(t, b.Channel(t).ExchangeDelete(names.Tasks(), false, false))
	for range 3 {
		// The broker closes the channel with a 404.
		require.NoError(t, p.AwaitReady(bounded(t)))
		err := p.PublishTask(bounded(t), newTask(taskType))
		require.True(t, errors.Is(err, broker.ErrUnknown) || errors.Is(err, broker.ErrNotSent), err)
	}
	require.NoError(t, conn.Do(bounded(t), declare(taskType)))
	brokertest.Eventually(t, within, func() error { return p.PublishTask(bounded(t), newTask(taskType)) })
	assert.Len(t, b.Drain(t, work), 1)
}

// What goes to the channel while the broker closes it is never taken for sent.
func TestPublisherLosesNothingWithItsChannel(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	ctx := bounded(t)
	require.NoError(t, b.Channel(t).ExchangeDelete(names.Announce(), false, false))
	var confirmed sync.Map
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 40 {
				if g == 0 && i%10 == 0 {
					assert.Error(t, p.PublishRequest(ctx, nil))
				}
				m := newTask(taskType)
				if err := p.PublishTask(ctx, m); err == nil {
					confirmed.Store(m.ID, true)
				}
			}
		})
	}
	wg.Wait()
	for _, m := range b.Drain(t, work) {
		confirmed.Delete(m.MessageId)
	}
	confirmed.Range(func(id, _ any) bool {
		t.Errorf("%v was confirmed and is lost", id)
		return true
	})
}

func TestPublishToAQueueThatIsFull(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	b.SetPolicy(t, "full", "^warren\\.work\\.", "quorum_queues", map[string]any{"max-length": 1})
	brokertest.Eventually(t, within, func() bool { return b.Queue(t, work).Policy == "full" })
	// The limit is soft: some more are taken.
	brokertest.Eventually(t, within, func() bool {
		err := p.PublishTask(bounded(t), newTask(taskType))
		require.True(t, err == nil || errors.Is(err, broker.ErrUnknown), err)
		return err != nil
	})
	require.NoError(t, p.Ready())
	require.NoError(t, p.Probe(bounded(t)))
}

func TestPublishWithAnEndedContext(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errTooLong)
	for range 20 {
		m := newTask(taskType)
		if err := p.PublishTask(ctx, m); err != nil {
			require.ErrorIs(t, err, errTooLong)
			require.True(t, errors.Is(err, broker.ErrNotSent) || errors.Is(err, broker.ErrUnknown), err)
		}
	}
	publishTask(t, p)
}

func TestBlockedBrokerFailsPublishesFast(t *testing.T) {
	t.Parallel()
	node := brokertest.StartNode(t, rabbitnode.NodeConfig{})
	b := brokertest.VHostOn(t, node)
	_, p := connect(t, b.URL)
	end := brokertest.Alarm(t, node)

	// The broker says so only when something is published, which it keeps.
	answer := make(chan error, 1)
	first := newTask(taskType)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), within)
	defer cancel()
	go func() { answer <- p.PublishTask(ctx, first) }()
	brokertest.Eventually(t, within, func() bool { return p.Ready() != nil })
	err := p.PublishTask(ctx, newTask(taskType))
	require.ErrorIs(t, err, broker.ErrNotSent)
	require.ErrorContains(t, err, "blocked")
	require.NotErrorIs(t, err, context.DeadlineExceeded)

	end()
	require.NoError(t, requireNext(t, answer, "the confirm of what waited"))
	require.NoError(t, p.AwaitReady(bounded(t)))
	second := publishTask(t, p)
	messages := b.Drain(t, work)
	require.Len(t, messages, 2)
	assert.Equal(t, first.ID, messages[0].MessageId)
	assert.Equal(t, second.ID, messages[1].MessageId)
}

// What is asked right before it is sent decides, and a message that is not sent takes
// no room from others.
func TestAMessageThatMustNotBeSentAnyMore(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	over := errors.New("over")
	refused := newTask(taskType)
	refuse := func() error { return over }
	for range broker.MaxInFlight + 1 {
		p.PublishTasks(bounded(t), []*broker.TaskMessage{refused}, func(_ int, err error) {
			require.ErrorIs(t, err, broker.ErrNotSent)
			require.ErrorIs(t, err, over)
		}, refuse)
	}
	require.ErrorIs(t, p.PublishDead(bounded(t), refused, broker.Death{Cause: task.CauseQueueOverflow, Decision: "x"}, refuse), over)
	asked := 0
	taken, unchecked := newTask(taskType), newTask(taskType)
	told := make([]error, 3)
	p.PublishTasks(bounded(t), []*broker.TaskMessage{taken, refused, unchecked}, func(i int, err error) { told[i] = err }, func() error {
		asked++
		return nil
	}, refuse)
	require.NoError(t, told[0])
	require.ErrorIs(t, told[1], over)
	require.NoError(t, told[2])
	require.Equal(t, 1, asked)
	messages := b.Drain(t, work)
	require.Len(t, messages, 2)
	require.Equal(t, taken.ID, messages[0].MessageId)
	require.Equal(t, unchecked.ID, messages[1].MessageId)
}

// A publish that is larger than the sockets' buffers hangs in its write.
func TestStoppingDuringAWriteToABlockedBroker(t *testing.T) {
	t.Parallel()
	node := brokertest.StartNode(t, rabbitnode.NodeConfig{})
	b := brokertest.VHostOn(t, node)
	conn := broker.NewConnection(configOf(t, b.URL), "publish", declare(taskType))
	p := broker.NewPublisher(conn)
	stop := run(t, conn.Run)
	require.NoError(t, p.AwaitReady(bounded(t)))
	brokertest.Alarm(t, node)
	m := newTask(taskType)
	m.Payload = make([]byte, 12<<20)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	require.ErrorIs(t, p.PublishTask(ctx, m), broker.ErrUnknown)
	// It fails the test if it takes too long.
	stop()
}

func TestConnectionReopenedWhileTheBrokerIsBlocked(t *testing.T) {
	t.Parallel()
	node := brokertest.StartNode(t, rabbitnode.NodeConfig{})
	b := brokertest.VHostOn(t, node)
	proxy := brokertest.NewProxy(t, b.URL)
	_, p := connect(t, proxy.URL())
	end := brokertest.Alarm(t, node)
	proxy.Drop()
	// A new connection is not blocked before it publishes.
	brokertest.Eventually(t, within, func() bool { return errors.Is(p.Ready(), broker.ErrNotSent) })
	require.NoError(t, p.AwaitReady(bounded(t)))
	end()
	brokertest.Eventually(t, within, func() error { return p.PublishTask(bounded(t), newTask(taskType)) })
}
