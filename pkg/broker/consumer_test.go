//go:build unix

package broker_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// inbox is a queue that tests fill and consume.
const inbox = "inbox"

func TestSubscriptionAcknowledgesWhatWasHandled(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	fill(t, b, 25, 10)
	batches := consume(t, b.URL, broker.Subscription{Queue: inbox, Prefetch: 25, MaxBatch: 10}, nil)
	var n int
	for n < 25 {
		batch := requireNext(t, batches, "a batch")
		assert.LessOrEqual(t, len(batch), 10)
		for _, d := range batch {
			assert.Equal(t, fmt.Sprint(n), d.MessageID, "the order of the queue is lost")
			assert.False(t, d.Redelivered)
			assert.EqualValues(t, n, d.Headers["n"])
			assert.Len(t, d.Body, 10)
			n++
		}
	}
	requireCounts(t, b, inbox, 0, 0)
	// Nothing is left with the consumer for the broker to deliver again.
	b.CloseConnections(t, 2)
	requireCounts(t, b, inbox, 0, 0)
}

func TestSubscriptionTakesOneByOneByDefault(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	fill(t, b, 10, 1)
	batches := consume(t, b.URL, broker.Subscription{Queue: inbox, Prefetch: 10}, nil)
	for range 10 {
		assert.Len(t, requireNext(t, batches, "a batch"), 1)
	}
}

func TestSubscriptionGathersWithinItsBounds(t *testing.T) {
	t.Parallel()
	const n, size, maxBatch, maxBytes = 200, 1000, 7, 4500
	b := brokertest.VHost(t)
	fill(t, b, n, size)
	batches := consume(t, b.URL, broker.Subscription{Queue: inbox, Prefetch: n, MaxBatch: maxBatch, MaxBatchBytes: maxBytes}, nil)
	for got := 0; got < n; {
		batch := requireNext(t, batches, "a batch")
		assert.LessOrEqual(t, len(batch), maxBatch)
		// The one that crosses the bound is taken already.
		assert.Less(t, (len(batch)-1)*size, maxBytes)
		got += len(batch)
	}
	requireCounts(t, b, inbox, 0, 0)
}

func TestSubscriptionTakesASingleMessageOverTheBound(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	fill(t, b, 5, 1000)
	batches := consume(t, b.URL, broker.Subscription{Queue: inbox, Prefetch: 5, MaxBatch: 5, MaxBatchBytes: 10}, nil)
	for range 5 {
		assert.Len(t, requireNext(t, batches, "a batch"), 1)
	}
}

func TestSubscriptionReturnsWhatFailed(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	fill(t, b, 5, 1)
	var calls atomic.Int32
	batches := consume(t, b.URL, broker.Subscription{Queue: inbox, Prefetch: 5, MaxBatch: 5}, func(context.Context) error {
		if calls.Add(1) <= 2 {
			return errors.New("not now")
		}
		return nil
	})
	for range 2 {
		// The one that failed comes first again.
		assert.Equal(t, "0", requireNext(t, batches, "a batch")[0].MessageID)
	}
	for n := 0; n < 5; {
		for _, d := range requireNext(t, batches, "a batch") {
			assert.Equal(t, fmt.Sprint(n), d.MessageID)
			assert.True(t, d.Redelivered)
			n++
		}
	}
	requireCounts(t, b, inbox, 0, 0)
}

// The pause after a failure grows only while nothing works in between.
func TestSubscriptionPausesShortlyWhenItWorkedMeanwhile(t *testing.T) {
	t.Parallel()
	const n = 30
	b := brokertest.VHost(t)
	fill(t, b, n, 1)
	var calls int
	var failed, longest atomic.Int64
	batches := consume(t, b.URL, broker.Subscription{Queue: inbox, Prefetch: 1}, func(context.Context) error {
		if was := failed.Swap(0); was != 0 {
			longest.Store(max(longest.Load(), time.Now().UnixNano()-was))
		}
		if calls++; calls%3 == 0 {
			failed.Store(time.Now().UnixNano())
			return errors.New("not now")
		}
		return nil
	})
	for range n + n/2 - 1 {
		requireNext(t, batches, "a batch")
	}
	// Without a new start each time it would be 3 s in the end.
	assert.Less(t, time.Duration(longest.Load()), 2*time.Second)
}

func TestSubscriptionEndsItsContextWithTheConnection(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	fill(t, b, 3, 1)
	proxy := brokertest.NewProxy(t, b.URL)
	var calls atomic.Int32
	ended := make(chan error, 1)
	batches := consume(t, proxy.URL(), broker.Subscription{Queue: inbox, Prefetch: 3}, func(ctx context.Context) error {
		if calls.Add(1) == 1 {
			proxy.Drop()
			<-ctx.Done()
			ended <- context.Cause(ctx)
			// Too late: this batch comes again.
		}
		return nil
	})
	assert.Equal(t, "0", requireNext(t, batches, "a batch")[0].MessageID)
	require.Error(t, requireNext(t, ended, "the end of the context"))
	for n := range 3 {
		d := requireNext(t, batches, "a batch")[0]
		assert.Equal(t, fmt.Sprint(n), d.MessageID)
		assert.True(t, d.Redelivered)
	}
	requireCounts(t, b, inbox, 0, 0)
}

func TestSubscriptionStopsWithMessagesOnHand(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	fill(t, b, 200, 100)
	conn := broker.NewConnection(configOf(t, b.URL), "consume", nil)
	handling := make(chan struct{}, 1)
	conn.Subscribe(broker.Subscription{Queue: inbox, Prefetch: 100, Handle: func(ctx context.Context, _ []broker.Delivery) error {
		handling <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}})
	stop := run(t, conn.Run)
	requireNext(t, handling, "a batch")
	requireCounts(t, b, inbox, 100, 100)
	// It fails the test if it takes too long.
	stop()
	requireCounts(t, b, inbox, 200, 0)
}

// A handler that fails while the prefetched messages wait does not hang either.
func TestSubscriptionReturnsWhatItPrefetched(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	fill(t, b, 150, 100)
	var calls atomic.Int32
	batches := consume(t, b.URL, broker.Subscription{Queue: inbox, Prefetch: 100}, func(context.Context) error {
		if calls.Add(1) == 50 {
			return errors.New("not now")
		}
		return nil
	})
	for range 50 {
		requireNext(t, batches, "a batch")
	}
	// What was acknowledged just before may come again: RabbitMQ forgets, with
	// the channel, the acknowledgements that it has not passed on to the queue.
	first := numberOf(t, requireNext(t, batches, "a batch"))
	assert.LessOrEqual(t, first, 49)
	for n := first + 1; n < 150; n++ {
		assert.Equal(t, n, numberOf(t, requireNext(t, batches, "a batch")))
	}
	requireCounts(t, b, inbox, 0, 0)
}

func TestSubscriptionWaitsForItsQueue(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	batches := consume(t, b.URL, broker.Subscription{Queue: inbox, Prefetch: 1}, nil)
	fill(t, b, 1, 1)
	assert.Len(t, requireNext(t, batches, "a batch"), 1)

	// The broker ends the consumer of a queue that is deleted.
	_, err := b.Channel(t).QueueDelete(inbox, false, false, false)
	require.NoError(t, err)
	fill(t, b, 1, 1)
	assert.Len(t, requireNext(t, batches, "a batch"), 1)
}

func TestSubscriptionDeclaresOnEachConnection(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	connect(t, b.URL)
	proxy := brokertest.NewProxy(t, b.URL)
	var declared atomic.Int32
	consume(t, proxy.URL(), broker.Subscription{
		Queue: names.Beats("g1"), Prefetch: 1,
		Declare: func(topology *broker.Topology) error {
			defer declared.Add(1)
			return topology.DeclareBeats("g1")
		},
	}, nil)
	brokertest.Eventually(t, within, func() bool { return declared.Load() == 1 })
	proxy.Drop()
	brokertest.Eventually(t, within, func() bool { return declared.Load() == 2 })
}

// subscribe attaches the subscription, whose batches are sent into the channel
// before handle, if there is one, says what becomes of them.
func subscribe(conn *broker.Connection, s broker.Subscription, handle func(context.Context) error) <-chan []broker.Delivery {
	batches := make(chan []broker.Delivery, 1000)
	s.Handle = func(ctx context.Context, batch []broker.Delivery) error {
		batches <- batch
		if handle != nil {
			return handle(ctx)
		}
		return nil
	}
	conn.Subscribe(s)
	return batches
}

// consume is subscribe on a connection of its own.
func consume(t testing.TB, url string, s broker.Subscription, handle func(context.Context) error) <-chan []broker.Delivery {
	t.Helper()
	conn := broker.NewConnection(configOf(t, url), "consume", nil)
	batches := subscribe(conn, s, handle)
	run(t, conn.Run)
	return batches
}

// numberOf is that of the only message of a batch.
func numberOf(t testing.TB, batch []broker.Delivery) int {
	t.Helper()
	require.Len(t, batch, 1)
	n, ok := batch[0].Headers["n"].(int64)
	require.True(t, ok)
	return int(n)
}

// fill puts n messages of the size into the inbox.
func fill(t testing.TB, b brokertest.Broker, n, size int) {
	t.Helper()
	b.DeclareQuorumQueue(t, inbox, nil)
	channel := b.Channel(t)
	require.NoError(t, channel.Confirm(false))
	for i := range n {
		confirm, err := channel.PublishWithDeferredConfirm("", inbox, true, false, amqp091.Publishing{
			MessageId: fmt.Sprint(i), Headers: amqp091.Table{"n": int64(i)}, Body: make([]byte, size),
		})
		require.NoError(t, err)
		if i == n-1 {
			require.True(t, confirm.Wait())
		}
	}
}
