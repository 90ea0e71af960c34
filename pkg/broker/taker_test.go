//go:build unix

package broker_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

func openTaker(t testing.TB, urls ...string) *broker.Taker {
	t.Helper()
	taker, err := broker.OpenTaker(bounded(t), configOf(t, urls...), taskType)
	require.NoError(t, err)
	return taker
}

// publishTasks publishes n tasks of taskType and gives their ids.
func publishTasks(t testing.TB, p *broker.Publisher, n int) map[string]bool {
	t.Helper()
	ids, ms := map[string]bool{}, make([]*broker.TaskMessage, n)
	for i := range ms {
		ms[i] = newTask(taskType)
		ids[ms[i].ID] = true
	}
	var failed atomic.Int64
	p.PublishTasks(bounded(t), ms, func(_ int, err error) {
		if err != nil {
			failed.Add(1)
		}
	})
	require.Zero(t, failed.Load())
	return ids
}

// Not parallel: it looks at all goroutines of the process.
func TestATakerTakesNoMoreThanItIsAskedFor(t *testing.T) {
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	ids := publishTasks(t, p, 100)
	before := goleak.IgnoreCurrent()
	taker := openTaker(t, b.URL)
	first, err := taker.Take(30)
	require.NoError(t, err)
	require.Len(t, first, 30)
	requireCounts(t, b, work, 70, 30)
	second, err := taker.Take(500)
	require.NoError(t, err)
	require.Len(t, second, 70)
	none, err := taker.Take(1)
	require.NoError(t, err)
	require.Empty(t, none)
	for _, r := range append(first, second...) {
		require.NoError(t, r.Problem)
		require.True(t, ids[r.Task.ID], "each once")
		delete(ids, r.Task.ID)
		require.Equal(t, taskType, r.Task.Type)
		require.Equal(t, 1, r.Attempt)
		require.EqualValues(t, 1, r.Acquired)
		require.Zero(t, r.Failed)
	}
	require.NoError(t, taker.Accept(first))
	require.NoError(t, taker.Accept(second))
	taker.Close()
	goleak.VerifyNone(t, append(brokertest.LeakOptions(), before)...)
	requireCounts(t, b, work, 0, 0)
}

func TestWhatIsNotSettledReturnsAsAFailedDelivery(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	publishTasks(t, p, 3)
	taker := openTaker(t, b.URL)
	taken, err := taker.Take(3)
	require.NoError(t, err)
	require.NoError(t, taker.Accept(taken[:1]))
	require.NoError(t, taker.Release(taken[1:2]))
	taker.Close()
	requireCounts(t, b, work, 2, 0)
	failed := map[string]int64{}
	r := attach(t, links(t, configOf(t, b.URL))(), 2)
	for range 2 {
		d := receive(t, r)
		require.EqualValues(t, 2, d.Acquired())
		m, err := d.Task(taskType)
		require.NoError(t, err)
		failed[m.ID] = d.Failed()
	}
	require.Equal(t, map[string]int64{taken[1].Task.ID: 0, taken[2].Task.ID: 1}, failed)
}

// What is kept among what is accepted stays, and all else is gone at once.
func TestATakerKeepsSome(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	publishTasks(t, p, 60)
	taker := openTaker(t, b.URL)
	taken, err := taker.Take(60)
	require.NoError(t, err)
	var accepted, kept []broker.ReadyTask
	want := map[string]bool{}
	for i, r := range taken {
		if i%10 == 5 {
			kept, want[r.Task.ID] = append(kept, r), true
		} else {
			accepted = append(accepted, r)
		}
	}
	require.NoError(t, taker.Accept(accepted[:20]))
	require.NoError(t, taker.Accept(accepted[20:]))
	requireCounts(t, b, work, 0, len(kept))
	require.NoError(t, taker.Release(kept))
	taker.Close()
	requireCounts(t, b, work, len(kept), 0)
	for _, d := range b.Drain(t, work) {
		require.True(t, want[d.MessageId])
		require.Nil(t, d.Headers["x-delivery-count"])
	}
}

// What workers have left with a message is read as they read it.
func TestATakerReadsWhatSettlementsHaveLeft(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	m := publishTask(t, p)
	d := receiveTask(t, links(t, configOf(t, b.URL))())
	require.NoError(t, d.Retry(bounded(t), broker.Again{At: time.Now(), Attempt: 4}))
	take := func() broker.ReadyTask {
		t.Helper()
		taker := openTaker(t, b.URL)
		defer taker.Close()
		var taken []broker.ReadyTask
		brokertest.Eventually(t, within, func() bool {
			var err error
			taken, err = taker.Take(10)
			require.NoError(t, err)
			return len(taken) == 1
		})
		require.Equal(t, m.ID, taken[0].Task.ID)
		require.Equal(t, m.Copy, taken[0].Task.Copy)
		require.Equal(t, 4, taken[0].Attempt)
		return taken[0]
	}
	r := take()
	require.EqualValues(t, 2, r.Acquired)
	require.Zero(t, r.Failed)
	r = take()
	require.EqualValues(t, 3, r.Acquired)
	require.EqualValues(t, 1, r.Failed)
}

func TestATakerTellsWhatIsNoTask(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	connect(t, b.URL)
	for _, h := range []amqp091.Table{nil, {"warren-task": []byte("?")}, {"warren-task": []byte{}}} {
		b.Publish(t, names.Tasks(), taskType, amqp091.Publishing{Headers: h, Body: []byte("x")})
	}
	taker := openTaker(t, b.URL)
	defer taker.Close()
	taken, err := taker.Take(10)
	require.NoError(t, err)
	require.Len(t, taken, 3)
	for _, r := range taken {
		require.Error(t, r.Problem)
	}
}

func TestATakerWithoutAQueueOrABroker(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	taker := openTaker(t, b.URL)
	_, err := taker.Take(1)
	require.ErrorIs(t, err, broker.ErrMissing)
	taker.Close()

	proxy := brokertest.NewProxy(t, b.URL)
	proxy.Cut()
	_, err = broker.OpenTaker(bounded(t), configOf(t, proxy.URL()), taskType)
	require.Error(t, err)
	taker, err = broker.OpenTaker(bounded(t), configOf(t, proxy.URL(), b.URL), taskType)
	require.NoError(t, err, "the next node will do")
	taker.Close()
}

func TestATakerEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	publishTasks(t, p, 1)
	ctx, cancel := context.WithCancel(t.Context())
	taker, err := broker.OpenTaker(ctx, configOf(t, b.URL), taskType)
	require.NoError(t, err)
	defer taker.Close()
	taken, err := taker.Take(1)
	require.NoError(t, err)
	require.Len(t, taken, 1)
	cancel()
	requireCounts(t, b, work, 1, 0)
	_, err = taker.Take(1)
	require.Error(t, err)
}

// Two that take at the same time share what there is.
func TestTakersCompete(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	_, p := connect(t, b.URL)
	ids := publishTasks(t, p, 400)
	var wg sync.WaitGroup
	taken, errs := make([][]broker.ReadyTask, 2), make([]error, 2)
	for i := range taken {
		taker := openTaker(t, b.URL)
		defer taker.Close()
		wg.Go(func() {
			if taken[i], errs[i] = taker.Take(500); errs[i] == nil {
				errs[i] = taker.Accept(taken[i])
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	times := map[string]int{}
	for _, r := range slices.Concat(taken...) {
		require.True(t, ids[r.Task.ID])
		times[r.Task.ID]++
		require.Equal(t, 1, times[r.Task.ID], "one of them has it, once")
	}
	require.Len(t, times, len(ids))
	requireCounts(t, b, work, 0, 0)
}

func TestWorkState(t *testing.T) {
	t.Parallel()
	b := brokertest.VHost(t)
	conn, p := connect(t, b.URL)
	state := func(taskType string) (s broker.WorkState, err error) {
		err = conn.Do(bounded(t), func(topology *broker.Topology) error {
			s, err = topology.WorkState(taskType)
			return err
		})
		return s, err
	}
	publishTasks(t, p, 5)
	got, err := state(taskType)
	require.NoError(t, err)
	require.Equal(t, broker.WorkState{Ready: 5}, got)
	next := links(t, configOf(t, b.URL))
	attach(t, next(), 2)
	brokertest.Eventually(t, within, func() bool {
		got, err := state(taskType)
		require.NoError(t, err)
		return got == broker.WorkState{Ready: 3, Consumers: 1}
	})
	_, err = state(otherType)
	require.ErrorIs(t, err, broker.ErrMissing)
}
