//go:build unix

package broker_test

import (
	"context"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
)

func TestStatusWriterCommitsGroups(t *testing.T) {
	t.Parallel()
	const n = 1000
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	_, p := connect(t, proxy.URL())
	w := newStatusWriter(t, p)
	// While the first await their confirm, the others gather.
	proxy.Stall()
	receipts := write(t, w, 0, n)
	proxy.Restore()
	requireConfirmed(t, receipts)

	batches := statusBatches(t, b)
	assert.LessOrEqual(t, len(batches), 2)
	assert.Equal(t, upTo(n), sequences(t, batches))
}

func TestStatusWriterKeepsABatchBelowItsBound(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	_, p := connect(t, proxy.URL())
	w := newStatusWriter(t, p)
	proxy.Stall()
	var receipts []*broker.Receipt
	for i, size := range []int{1, 400 << 10, 400 << 10, 400 << 10, 3 << 20, 1, 1} {
		e := event(i)
		e.Message = make([]byte, size)
		r, err := w.Write(bounded(t), e)
		require.NoError(t, err)
		receipts = append(receipts, r)
	}
	proxy.Restore()
	requireConfirmed(t, receipts)
	batches := statusBatches(t, b)
	for _, batch := range batches {
		var size int
		for _, e := range batch.Events {
			size += len(e)
		}
		assert.True(t, size <= 1<<20 || len(batch.Events) == 1, "%d events of %d bytes", len(batch.Events), size)
	}
	assert.Equal(t, upTo(7), sequences(t, batches))
}

func TestStatusWriterDelaysNothingWhenIdle(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	w := newStatusWriter(t, p)
	for i := range 5 {
		requireConfirmed(t, write(t, w, i, i+1))
	}
	assert.Len(t, statusBatches(t, b), 5)
}

func TestStatusWriterTakesEventsFromManyGoroutines(t *testing.T) {
	t.Parallel()
	const goroutines, each = 32, 50
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	w := newStatusWriter(t, p)
	ctx := bounded(t)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				r, err := w.Write(ctx, event(g*each+i))
				if assert.NoError(t, err) {
					assert.NoError(t, r.Wait(ctx))
				}
			}
		})
	}
	wg.Wait()
	got := sequences(t, statusBatches(t, b))
	assert.ElementsMatch(t, upTo(goroutines*each), got)
	last := map[int]int{}
	for _, n := range got {
		g := n / each
		assert.GreaterOrEqual(t, n, last[g], "the order of a goroutine is lost")
		last[g] = n
	}
}

func TestStatusWriterLosesNothingWithItsConnection(t *testing.T) {
	t.Parallel()
	const n = 400
	b := brokertest.VHost(t)
	proxy := brokertest.NewProxy(t, b.URL)
	_, p := connect(t, proxy.URL())
	w := newStatusWriter(t, p)
	var receipts []*broker.Receipt
	for i := 0; i < n; i += 50 {
		receipts = append(receipts, write(t, w, i, i+50)...)
		proxy.Drop()
		// Some of each round must get through.
		require.NoError(t, receipts[i].Wait(bounded(t)))
	}
	requireConfirmed(t, receipts)

	// A batch may be there twice, but nothing comes before what precedes it.
	var got []int
	for _, seq := range sequences(t, statusBatches(t, b)) {
		if seq == len(got) {
			got = append(got, seq)
		}
		require.LessOrEqual(t, seq, len(got), "it was overtaken")
	}
	assert.Equal(t, upTo(n), got)
}

// The status queue may be missing for a while, too.
func TestStatusWriterTriesUntilThereIsAQueue(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn, p := connect(t, b.URL)
	w := newStatusWriter(t, p)
	_, err := b.Channel(t).QueueDelete(names.Status(), false, false, false)
	require.NoError(t, err)
	require.ErrorIs(t, p.Probe(bounded(t)), broker.ErrUnroutable)
	receipts := write(t, w, 0, 3)
	require.NoError(t, conn.Do(bounded(t), (*broker.Topology).DeclareShared))
	requireConfirmed(t, receipts)
	assert.Equal(t, upTo(3), sequences(t, statusBatches(t, b)))
}

func TestStatusWriterHoldsBackWhenTooMuchIsPending(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	w := broker.NewStatusWriter(broker.NewPublisher(broker.NewConnection(configOf(t), "publish", nil)))
	big := func(ctx context.Context) (*broker.Receipt, error) {
		e := event(1)
		e.Message = make([]byte, size)
		return w.Write(ctx, e)
	}
	var receipts []*broker.Receipt
	for range broker.MaxPendingBytes/size - 1 {
		r, err := big(bounded(t))
		require.NoError(t, err)
		receipts = append(receipts, r)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errTooLong)
	defer cancel()
	_, err := big(ctx)
	require.ErrorIs(t, err, errTooLong)
	require.ErrorContains(t, err, "wait for room")
	// A small one still fits.
	small, err := w.Write(bounded(t), event(2))
	require.NoError(t, err)

	// Another waits until the writer takes its first batch.
	waited := make(chan error, 1)
	go func() {
		_, err := big(context.WithoutCancel(t.Context()))
		waited <- err
	}()
	stop := run(t, w.Run)
	require.NoError(t, requireNext(t, waited, "room"))
	stop()
	for _, r := range append(receipts, small) {
		require.ErrorIs(t, r.Wait(bounded(t)), broker.ErrWriterStopped)
	}
}

func TestStatusWriterStopsWhoeverWaits(t *testing.T) {
	t.Parallel()
	w := broker.NewStatusWriter(broker.NewPublisher(broker.NewConnection(configOf(t), "publish", nil)))
	stop := run(t, w.Run)
	receipts := write(t, w, 0, 10)
	marker, err := w.Mark(bounded(t), "m")
	require.NoError(t, err)
	stop()
	for _, r := range append(receipts, marker) {
		requireEnd(t, r.Done(), "the end of an event")
		require.ErrorIs(t, r.Wait(bounded(t)), broker.ErrWriterStopped)
	}
	_, err = w.Write(bounded(t), event(11))
	require.ErrorIs(t, err, broker.ErrWriterStopped)
	_, err = w.Mark(bounded(t), "m")
	require.ErrorIs(t, err, broker.ErrWriterStopped)
}

func TestStatusWriterStopsOneThatWaitsForRoom(t *testing.T) {
	t.Parallel()
	w := broker.NewStatusWriter(broker.NewPublisher(broker.NewConnection(configOf(t), "publish", nil)))
	big := event(1)
	big.Message = make([]byte, 8<<20)
	stop := run(t, w.Run)
	// More than there is room for, with one in the batch that is never confirmed.
	const writers = broker.MaxPendingBytes/(8<<20) + 2
	answers := make(chan error, writers)
	for range writers {
		go func() {
			_, err := w.Write(context.WithoutCancel(t.Context()), big)
			answers <- err
		}()
	}
	for range writers - 2 {
		require.NoError(t, requireNext(t, answers, "room"))
	}
	stop()
	for range 2 {
		require.ErrorIs(t, requireNext(t, answers, "an answer"), broker.ErrWriterStopped)
	}
}

func TestStatusWriterRefusesWhatTheBrokerWouldNotTake(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	w := newStatusWriter(t, p)
	e := event(0)
	e.Message = make([]byte, broker.MaxMessageBytes)
	_, err := w.Write(bounded(t), e)
	require.ErrorContains(t, err, "over the limit")
	// One that is just allowed passes.
	e.Message = make([]byte, broker.MaxMessageBytes-1<<10)
	r, err := w.Write(bounded(t), e)
	require.NoError(t, err)
	requireConfirmed(t, []*broker.Receipt{r})
	requireConfirmed(t, write(t, w, 1, 2))
}

func TestStatusWriterReceiptWaitsNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	w := broker.NewStatusWriter(broker.NewPublisher(broker.NewConnection(configOf(t), "publish", nil)))
	r := write(t, w, 0, 1)[0]
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errTooLong)
	require.ErrorIs(t, r.Wait(ctx), errTooLong)
	select {
	case <-r.Done():
		t.Fatal("nobody has written it")
	default:
	}
}

func TestMarkersAreBehindWhatWasWrittenBefore(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	w := newStatusWriter(t, p)
	var receipts []*broker.Receipt
	for i := range 20 {
		receipts = append(receipts, write(t, w, i*10, i*10+10)...)
		r, err := w.Mark(bounded(t), string(rune('a'+i)))
		require.NoError(t, err)
		receipts = append(receipts, r)
		if i%3 == 0 {
			require.NoError(t, r.Wait(bounded(t)))
		}
	}
	requireConfirmed(t, receipts)
	var events, markers int
	for _, batch := range statusBatches(t, b) {
		events += len(batch.Events)
		for _, m := range batch.Markers {
			assert.Equal(t, string(rune('a'+markers)), m)
			markers++
			assert.GreaterOrEqual(t, events, markers*10, "marker %s precedes what was written before it", m)
		}
	}
	assert.Equal(t, 20, markers)
	assert.Equal(t, 200, events)
}

func TestProbeWritesAnEmptyBatch(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	require.NoError(t, p.Probe(bounded(t)))
	batches := statusBatches(t, b)
	require.Len(t, batches, 1)
	assert.Empty(t, batches[0].Events)
	assert.Empty(t, batches[0].Markers)
}

func TestStatusWriterRefusesWhatCannotBeEncoded(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	w := newStatusWriter(t, p)
	bad := event(1)
	bad.Head = &task.Head{TraceID: "no hexadecimal"}
	_, err := w.Write(bounded(t), bad)
	require.ErrorContains(t, err, "trace id")
	requireConfirmed(t, write(t, w, 0, 1))
}

func newStatusWriter(t testing.TB, p *broker.Publisher) *broker.StatusWriter {
	t.Helper()
	w := broker.NewStatusWriter(p)
	run(t, w.Run)
	return w
}

// eventTask is the one that all events of event are about.
var eventTask = task.NewID()

// event is told from others by its sequence.
func event(sequence int) *task.Event {
	return &task.Event{
		TaskID: eventTask, Type: taskType, Time: time.Unix(1_800_000_000, 0), WorkerID: "w1", Message: []byte("m"),
		Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseMessage, Sequence: int64(sequence), Copy: task.Copy{1}},
	}
}

// write hands over the events from one sequence up to another.
func write(t testing.TB, w *broker.StatusWriter, from, to int) []*broker.Receipt {
	t.Helper()
	var receipts []*broker.Receipt
	for i := from; i < to; i++ {
		r, err := w.Write(bounded(t), event(i))
		require.NoError(t, err)
		receipts = append(receipts, r)
	}
	return receipts
}

func requireConfirmed(t testing.TB, receipts []*broker.Receipt) {
	t.Helper()
	ctx := bounded(t)
	for _, r := range receipts {
		require.NoError(t, r.Wait(ctx))
	}
}

// statusBatches takes everything out of the status queue.
func statusBatches(t testing.TB, b brokertest.Broker) []broker.StatusBatch {
	t.Helper()
	// A queue with a single active consumer can't be polled.
	const last = "last"
	b.Publish(t, "", names.Status(), amqp091.Publishing{MessageId: last})
	messages, err := b.Channel(t).ConsumeWithContext(t.Context(), names.Status(), "", true, false, false, false, nil)
	require.NoError(t, err)
	var batches []broker.StatusBatch
	for {
		m := requireNext(t, messages, "the last message")
		if m.MessageId == last {
			return batches
		}
		batch, err := broker.DecodeStatusBatch(m.Body)
		require.NoError(t, err)
		batches = append(batches, batch)
	}
}

func sequences(t testing.TB, batches []broker.StatusBatch) []int {
	t.Helper()
	var got []int
	for _, batch := range batches {
		for _, encoded := range batch.Events {
			e, err := broker.DecodeEvent(encoded)
			require.NoError(t, err)
			got = append(got, int(e.Key.Sequence))
		}
	}
	return got
}

func upTo(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}
