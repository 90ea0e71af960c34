package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// sleep lets time pass in a bubble.
func sleep(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// test runs a test in a bubble, with a control that takes effect already.
func test(t *testing.T, f func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(newMemory())
		stop := b.start(t)
		sleep(quietTime)
		f(t, b)
		stop()
	})
}

func TestATaskThatNobodyCanStartIsCancelledAtOnce(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		id := b.store.add(resize)
		answers := b.cancel(t, id)
		require.EqualValues(t, 1, answers[0].Outstanding.Position)
		begin := time.Now()
		b.AwaitCancelled(t.Context(), []string{id})
		require.Zero(t, time.Since(begin))
		require.Equal(t, task.StateCancelled, b.store.state(id))
		got, err := b.store.Task(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, "a test", got.CancelReason)
		require.Equal(t, task.Key{Run: 1, Attempt: 1, Phase: task.PhaseCancelled}, got.Decided)
		// It is on record until its message was seen.
		c, ok := b.Outstanding(id)
		require.True(t, ok)
		require.Equal(t, answers[0].Outstanding, c)
		require.Empty(t, b.WaitingFor(resize, c.Position))
	})
}

func TestNothingTakesEffectRightAfterTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.fail(store.ErrUnavailable)
		b := newBench(m)
		stop := b.start(t)
		sleep(time.Minute)
		require.False(t, b.Loaded())
		require.Contains(t, b.WaitingFor(resize, 1)[0], "does not reach its store")
		m.fail(nil)
		id := m.add(resize)
		b.cancel(t, id)
		sleep(refreshPeriod)
		require.True(t, b.Loaded())
		require.Contains(t, b.WaitingFor(resize, 1)[0], "hears for 3 s")
		sleep(quietTime - settlePeriod - 10*time.Millisecond)
		require.Equal(t, task.StateQueued, m.state(id))
		sleep(settlePeriod + refreshPeriod)
		require.Equal(t, task.StateCancelled, m.state(id))

		// Heartbeats that did not arrive for a while are waited for again.
		b.Listening(time.Now())
		id = m.add(resize)
		b.cancel(t, id)
		sleep(quietTime - time.Millisecond)
		require.Equal(t, task.StateQueued, m.state(id))
		sleep(settlePeriod)
		require.Equal(t, task.StateCancelled, m.state(id))
		stop()
	})
}

func TestEachWorkerOfTheTypeHasToKnow(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		for _, w := range []string{"w-1", "w-2"} {
			b.Beat(beatOf(w, 1, resize), time.Now())
		}
		b.Beat(beatOf("w-3", 1, crop), time.Now())
		b.Beat(beatOf("w-4", 0, crop), time.Now())
		id := b.store.add(resize)
		b.cancel(t, id)
		sleep(time.Millisecond)
		for _, w := range []string{"w-1", "w-2", "w-3"} {
			told := b.messages(w)
			require.Len(t, told, 1, w)
			batch := told[0].GetCancellations()
			require.EqualValues(t, 1, batch.After)
			require.EqualValues(t, 2, batch.Position)
			require.True(t, batch.Complete)
			require.Empty(t, batch.RequestId)
			require.Equal(t, "g-1", told[0].GatewayId)
			if w == "w-3" {
				require.Empty(t, batch.Entries, "it does not serve the type")
				continue
			}
			require.Len(t, batch.Entries, 1)
			require.Equal(t, uuid.MustParse(id), uuid.UUID(batch.Entries[0].TaskId))
			require.EqualValues(t, 1, batch.Entries[0].Run)
			require.Equal(t, "a test", batch.Entries[0].Reason)
		}
		require.Empty(t, b.messages("w-4"), "it asks by itself")
		b.Beat(beatOf("w-1", 2, resize), time.Now())
		sleep(2 * time.Second)
		require.Equal(t, task.StateQueued, b.store.state(id))
		require.Equal(t, []string{"worker w-2 on host-3 has not said yet that it knows"}, b.WaitingFor(resize, 1))

		// One that was told and runs the task still has to be rid of it.
		h := beatOf("w-2", 2, resize)
		h.Cancelling = []string{id}
		b.Beat(h, time.Now())
		sleep(2 * time.Second)
		require.Equal(t, task.StateQueued, b.store.state(id))
		require.Empty(t, b.WaitingFor(resize, 1))
		require.Equal(t, []string{"the task's handler still runs on worker w-2 on host-3"}, b.CancellingOn(id))
		b.Beat(beatOf("w-2", 2, resize), time.Now())
		synctest.Wait()
		require.Equal(t, task.StateCancelled, b.store.state(id))
		require.Empty(t, b.CancellingOn(id))
	})
}

// A worker that meets one message of a task says that it is CANCELLED, while another
// worker, which does not know it yet, holds the same message or a repeated one.
func TestAWorkersWordThatItDroppedATaskIsNotTheEnd(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		require.True(t, b.Settled(task.NewID(), 1), "nobody has asked for it")
		beat := func(c *Control, worker string, position int64) { c.Beat(beatOf(worker, position, resize), time.Now()) }
		beat(b.Control, "w-1", 1)
		beat(b.Control, "w-2", 1)
		id := b.store.add(resize)
		b.cancel(t, id)
		b.store.edit(id, func(t *task.Task) {
			t.Apply(&task.Event{TaskID: id, Type: resize, Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseCancelled}})
		})
		b.store.see(id, time.Now())
		beat(b.Control, "w-1", 2)
		sleep(time.Second)
		require.Equal(t, task.StateCancelled, b.store.state(id))
		require.False(t, b.Settled(id, 1))
		require.True(t, b.Settled(id, 2), "of another run")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		b.AwaitCancelled(ctx, []string{id})
		require.Error(t, ctx.Err())
		cancel()

		// Nor for a gateway that was started since, however old it is.
		again := newBench(b.store)
		stop := again.start(t)
		sleep(2 * quietTime)
		beat(again.Control, "w-1", 2)
		sleep(time.Second)
		require.False(t, again.Settled(id, 1))
		require.Len(t, again.WaitingFor(resize, 1), 1)
		_, err := b.store.ForgetCancellations(t.Context(), time.Now(), 10)
		require.NoError(t, err)
		gone, _ := again.Outstanding(id)
		again.Control.mu.Lock()
		require.Empty(t, again.book.forget([]store.Cancellation{gone}))
		again.Control.mu.Unlock()
		require.False(t, again.Settled(id, 1))
		beat(again.Control, "w-2", 2)
		again.AwaitCancelled(t.Context(), []string{id})
		require.True(t, again.Settled(id, 1))
		require.Empty(t, again.book.runs, "it was forgotten by the store")
		require.Empty(t, again.book.types[resize].entries)
		stop()
	})
}

func TestALongListIsLoadedPageByPage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		first := newBench(m)
		var ids []string
		for range 3*pageSize + 1 {
			ids = append(ids, m.add(resize))
		}
		first.cancel(t, ids...)
		// The store never answers for as long as the whole list takes.
		b := newBench(m)
		for range 5 {
			m.mu.Lock()
			m.reads, m.err = 2, nil
			m.mu.Unlock()
			if b.refresh(t.Context()) == nil {
				break
			}
		}
		m.fail(nil)
		m.mu.Lock()
		m.reads = 0
		m.mu.Unlock()
		require.Greater(t, len(b.book.runs), 3*pageSize)
	})
}

func TestAnOutcomeThatWasReportedBeforeWins(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		id := b.store.add(resize)
		b.mu.Lock()
		b.before = func() {
			b.store.edit(id, func(known *task.Task) {
				known.Apply(&task.Event{TaskID: id, Type: resize, Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseSucceeded}})
			})
		}
		b.mu.Unlock()
		b.cancel(t, id)
		b.AwaitCancelled(t.Context(), []string{id})
		require.Equal(t, task.StateSucceeded, b.store.state(id))
		// Also one of which the store does not know how it stands may go on.
		b.mu.Lock()
		b.before, b.behind = nil, errors.New("behind")
		b.mu.Unlock()
		id = b.store.add(resize)
		b.cancel(t, id)
		sleep(5 * time.Second)
		require.Equal(t, task.StateQueued, b.store.state(id))
		require.Contains(t, b.WaitingFor(resize, 2)[0], "behind RabbitMQ's status queue for 13s")
		b.mu.Lock()
		b.behind = nil
		b.mu.Unlock()
		sleep(time.Second)
		require.Equal(t, task.StateCancelled, b.store.state(id))
		require.Empty(t, b.WaitingFor(resize, 2))
	})
}

func TestATaskThatWaitsForItsTimeIsCancelledByTheStore(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		id := b.store.add(resize)
		b.store.edit(id, func(t *task.Task) { t.State = task.StateScheduled })
		require.True(t, b.cancel(t, id)[0].Changed)
		require.Equal(t, []string{id}, b.woken)
		_, ok := b.Outstanding(id)
		require.False(t, ok)
		b.AwaitCancelled(t.Context(), []string{id, "x"})
		require.Empty(t, b.cancel(t, task.NewID())[0].Task.ID)
		_, ok = b.Outstanding("x")
		require.False(t, ok)
	})
}

func TestAReplayedTaskIsNotEndedByTheCancellationOfItsLastRun(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		b.Beat(beatOf("w-1", 1, resize), time.Now())
		id := b.store.add(resize)
		b.cancel(t, id)
		b.store.edit(id, func(t *task.Task) { t.Run = 2 })
		b.Beat(beatOf("w-1", 2, resize), time.Now())
		b.AwaitCancelled(t.Context(), []string{id})
		require.Equal(t, task.StateQueued, b.store.state(id))
		b.cancel(t, id)
		c, _ := b.Outstanding(id)
		require.Equal(t, 2, c.Run)
		b.Beat(beatOf("w-1", 3, resize), time.Now())
		b.AwaitCancelled(t.Context(), []string{id})
		require.Equal(t, task.StateCancelled, b.store.state(id))
	})
}

func TestManyCancellationsGoOutInBatches(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		const n = 4500
		p := newPlayer()
		b.mu.Lock()
		b.live["w-1"] = p
		b.mu.Unlock()
		require.NoError(t, b.Sync(t.Context(), syncOf("w-1", 1, resize, crop)))
		require.True(t, p.synced)
		require.EqualValues(t, 1, p.position, "it knows that there are none")
		b.Beat(beatOf("w-1", 1, resize, crop), time.Now())
		var ids []string
		for i := range n {
			ids = append(ids, b.store.add([]string{resize, crop, "acme.v1.Other.Thing"}[i%3]))
		}
		for page := range slices.Chunk(ids, 500) {
			b.cancel(t, page...)
		}
		synctest.Wait()
		require.EqualValues(t, n+1, p.position)
		require.Len(t, p.known, n*2/3)
		for _, m := range b.messages("w-1") {
			require.LessOrEqual(t, len(m.GetCancellations().GetEntries()), maxEntries)
		}
		// Those of a type without workers have not waited.
		require.Equal(t, task.StateCancelled, b.store.state(ids[n-1]))
		require.Equal(t, task.StateQueued, b.store.state(ids[0]))
		b.Beat(beatOf("w-1", p.position, resize, crop), time.Now())
		b.AwaitCancelled(t.Context(), ids)
		for _, id := range ids {
			require.Equal(t, task.StateCancelled, b.store.state(id))
		}
		// Who comes later is told all of it too.
		late := newPlayer()
		b.mu.Lock()
		b.live["w-2"] = late
		b.mu.Unlock()
		require.NoError(t, b.Sync(t.Context(), syncOf("w-2", 1, resize, crop)))
		require.Equal(t, p, late)
		first := b.messages("w-2")
		require.Len(t, first[0].GetHeartbeat().GetTypes(), 2, "policies come before it may take tasks")
		require.Len(t, first, 3)
		for _, m := range first[1:] {
			require.Equal(t, "r-1", m.GetCancellations().RequestId)
		}
	})
}

func TestNewsForWhoIsBehind(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		require.Nil(t, b.News(beatOf("w-1", 1, resize)), "not known")
		b.Beat(beatOf("w-1", 1, resize), time.Now())
		require.Nil(t, b.News(beatOf("w-1", 1, resize)))
		b.mu.Lock()
		b.sendErr = errors.New("no connection")
		b.mu.Unlock()
		id := b.store.add(resize)
		b.cancel(t, id)
		synctest.Wait()
		require.Nil(t, b.News(beatOf("w-1", 0, resize)), "it asks by itself")
		require.Nil(t, b.News(beatOf("w-1", 2, resize)))
		news := b.News(beatOf("w-1", 1, resize))
		require.Len(t, news.Entries, 1)
		require.EqualValues(t, 2, news.Position)
		// What is on its way is not told again at once.
		require.Nil(t, b.News(beatOf("w-1", 1, resize)))
		<-time.After(tellAgain)
		require.NotNil(t, b.News(beatOf("w-1", 1, resize)))
	})
}

func TestAWorkerThatKnowsAnotherStoresList(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		b.Beat(beatOf("w-1", 500, resize), time.Now())
		id := b.store.add(resize)
		b.cancel(t, id)
		p := &player{position: 500, synced: true}
		b.mu.Lock()
		b.live["w-1"] = p
		b.mu.Unlock()
		sleep(3 * time.Second)
		require.Equal(t, task.StateQueued, b.store.state(id), "500 is none of this list")
		require.EqualValues(t, 2, p.position)
		require.Len(t, p.known, 1)
		b.Beat(beatOf("w-1", 2, resize), time.Now())
		synctest.Wait()
		require.Equal(t, task.StateCancelled, b.store.state(id))
	})
}

func TestCancellationsOfOtherReplicas(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		b.Beat(beatOf("w-1", 1, resize), time.Now())
		id := b.store.add(resize)
		_, err := b.store.Cancel(t.Context(), []store.CancelRequest{{TaskID: id, Reason: "elsewhere"}})
		require.NoError(t, err)
		sleep(refreshPeriod)
		require.Len(t, b.messages("w-1"), 1)
		// A worker that only another replica has heard of counts too.
		other := newBench(b.store)
		require.NoError(t, other.refresh(t.Context()))
		require.NoError(t, other.Sync(t.Context(), syncOf("w-2", 1, resize)))
		b.Beat(beatOf("w-1", 2, resize), time.Now())
		sleep(time.Millisecond)
		require.Equal(t, task.StateQueued, b.store.state(id))
		b.Beat(beatOf("w-2", 2, resize), time.Now())
		synctest.Wait()
		require.Equal(t, task.StateCancelled, b.store.state(id))
	})
}

func TestCancellationsOutliveARestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		b := newBench(m)
		stop := b.start(t)
		sleep(quietTime)
		require.NoError(t, b.Sync(t.Context(), syncOf("w-1", 1, resize)))
		ids := []string{m.add(resize), m.add(crop)}
		b.cancel(t, ids...)
		sleep(2 * time.Second)
		require.Equal(t, task.StateQueued, m.state(ids[0]))
		require.Equal(t, task.StateCancelled, m.state(ids[1]))
		stop()

		again := newBench(m)
		stop = again.start(t)
		sleep(time.Minute)
		require.Equal(t, task.StateQueued, m.state(ids[0]), "the worker may still start it")
		require.Contains(t, again.WaitingFor(resize, 1)[0], "worker w-1 on host-3 has not answered for 1m")
		again.Beat(beatOf("w-1", 3, resize), time.Now())
		again.AwaitCancelled(t.Context(), ids)
		require.Equal(t, task.StateCancelled, m.state(ids[0]))
		stop()
	})
}

func TestCancellationsAreForgotten(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		p := newPlayer()
		b.mu.Lock()
		b.live["w-1"] = p
		b.mu.Unlock()
		require.NoError(t, b.Sync(t.Context(), syncOf("w-1", 1, resize)))
		beat := func() { b.Beat(beatOf("w-1", p.position, resize), time.Now()) }
		beat()
		ids := []string{b.store.add(resize), b.store.add(resize)}
		b.cancel(t, ids...)
		synctest.Wait()
		beat()
		b.AwaitCancelled(t.Context(), ids)
		b.store.see(ids[0], time.Now())
		sleep(seenFor - forgetPeriod)
		_, ok := b.Outstanding(ids[0])
		require.True(t, ok)
		sleep(2 * forgetPeriod)
		_, ok = b.Outstanding(ids[0])
		require.False(t, ok)
		_, ok = b.Outstanding(ids[1])
		require.True(t, ok)
		require.Equal(t, map[uuid.UUID]bool{uuid.MustParse(ids[1]): true}, p.known)
		require.Len(t, b.book.types[resize].entries, 1)
		require.Len(t, b.book.runs, 1)
	})
}

func TestAStoreThatIsDownLosesNoCancellation(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		id := b.store.add(resize)
		b.store.fail(fmt.Errorf("%w: locked", store.ErrUnavailable))
		_, err := b.Cancel(t.Context(), []string{id}, "a test")
		require.ErrorIs(t, err, store.ErrUnavailable)
		// Workers that come then are told what is known.
		require.NoError(t, b.Sync(t.Context(), syncOf("w-1", 1, resize)))
		require.Len(t, b.messages("w-1"), 2)
		require.Empty(t, b.store.record("w-1").ID)
		// But not one that knows more than this gateway does.
		b.Beat(beatOf("w-2", 2, resize), time.Now())
		require.ErrorIs(t, b.Sync(t.Context(), syncOf("w-2", 2, resize)), store.ErrUnavailable)
		bye := beatOf("w-2", 0, resize)
		bye.Goodbye = true
		b.Beat(bye, time.Now())
		b.store.fail(nil)
		sleep(refreshPeriod)
		require.Equal(t, "w-1", b.store.record("w-1").ID, "it is stored once that works")
		b.cancel(t, id)
		sleep(settlePeriod)
		require.Equal(t, task.StateQueued, b.store.state(id))
	})
}

func TestSyncWaitsForWhatIsNotLoaded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.fail(store.ErrUnavailable)
		b := newBench(m)
		stop := b.start(t)
		require.ErrorIs(t, b.Sync(t.Context(), syncOf("w-1", 1, resize)), errNotLoaded)
		answered := make(chan error, 1)
		go func() { answered <- b.Sync(t.Context(), syncOf("w-1", 1, resize)) }()
		synctest.Wait()
		m.fail(nil)
		require.NoError(t, <-answered)
		b.provisional = true
		require.ErrorIs(t, b.Sync(t.Context(), syncOf("w-1", 1, resize)), errNotLoaded, "a pause may be missing")
		b.provisional, b.unknown = false, crop
		require.ErrorIs(t, b.Sync(t.Context(), syncOf("w-1", 1, resize, crop)), errUnknownType, "a pause may be missing")
		stop()
	})
}
