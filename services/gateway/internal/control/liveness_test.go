package control

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// stateOf is how a worker is shown.
func stateOf(t testing.TB, b *bench, id string) adminv1.WorkerState {
	t.Helper()
	w, ok := b.Worker(id)
	require.True(t, ok)
	return w.State
}

const (
	live     = adminv1.WorkerState_WORKER_STATE_LIVE
	paused   = adminv1.WorkerState_WORKER_STATE_PAUSED
	draining = adminv1.WorkerState_WORKER_STATE_DRAINING
	silent   = adminv1.WorkerState_WORKER_STATE_SILENT
	gone     = adminv1.WorkerState_WORKER_STATE_GONE
)

func TestAWorkerThatSaysGoodbyeHoldsNothingUp(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		h := beatOf("w-1", 1, resize)
		h.Time = timestamppb.Now()
		b.Beat(h, time.Now())
		id := b.store.add(resize)
		b.cancel(t, id)
		sleep(time.Second)
		require.Equal(t, task.StateQueued, b.store.state(id))
		bye := beatOf("w-1", 1, resize)
		bye.Goodbye, bye.Time = true, timestamppb.Now()
		b.Beat(bye, time.Now())
		synctest.Wait()
		require.Equal(t, task.StateCancelled, b.store.state(id))
		require.Equal(t, gone, stateOf(t, b, "w-1"))
		require.False(t, b.store.record("w-1").Gone.IsZero())
		// One that was on its way is of before.
		b.Beat(h, time.Now())
		require.Equal(t, gone, stateOf(t, b, "w-1"))
		// It is shown for an hour.
		sleep(goneFor - time.Minute)
		require.Len(t, b.Workers(), 1)
		sleep(2 * time.Minute)
		require.Empty(t, b.Workers())
		require.Empty(t, b.store.record("w-1").ID)
	})
}

func TestAWorkerWhoseControlQueueNobodyReads(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		b.Beat(beatOf("w-1", 1, resize), time.Now())
		id := b.store.add(resize)
		b.cancel(t, id)
		at := target{"w-1", 1}
		require.Equal(t, []target{at}, b.targets(time.Now()), "a cancellation waits for it")
		// Nobody reads it, and then somebody does.
		b.nobodyReads(at)
		sleep(10 * time.Second)
		require.Contains(t, b.WaitingFor(resize, 1)[0], "worker w-1 on host-3 has not answered for 10s")
		b.nobodyReads(target{"w-1", 2}) // not the one that it reads
		sleep(2 * time.Second)
		b.nobodyReads(at)
		sleep(cutOff)
		require.Equal(t, silent, stateOf(t, b, "w-1"))
		require.Equal(t, task.StateQueued, b.store.state(id))
		sleep(2 * lookPeriod)
		require.Equal(t, task.StateCancelled, b.store.state(id))
		require.Equal(t, gone, stateOf(t, b, "w-1"))
		require.False(t, b.store.record("w-1").Gone.IsZero(), "also after a restart")
		require.Empty(t, b.targets(time.Now()))

		// It comes back, and has to know what follows.
		b.Beat(beatOf("w-1", 1, resize), time.Now())
		require.Equal(t, live, stateOf(t, b, "w-1"))
		id = b.store.add(resize)
		b.cancel(t, id)
		sleep(time.Second)
		require.Equal(t, task.StateQueued, b.store.state(id))
		require.True(t, b.store.record("w-1").Gone.IsZero())
	})
}

func TestAWorkerThatIsHeardButCutOffFromControl(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		queued, running := b.store.add(resize), b.store.add(resize)
		beat := func(tasks ...string) {
			h := beatOf("w-1", 0, resize)
			for _, id := range tasks {
				h.Running = append(h.Running, &brokerv1.RunningTask{TaskId: id, Type: resize})
			}
			b.Beat(h, time.Now())
		}
		beat(running)
		b.cancel(t, queued, running)
		b.nobodyReads(target{"w-1", 1})
		for range 18 {
			beat(running)
			sleep(time.Second)
		}
		require.Equal(t, paused, stateOf(t, b, "w-1"))
		require.Equal(t, task.StateCancelled, b.store.state(queued))
		require.Equal(t, task.StateQueued, b.store.state(running), "its handler runs still")
		require.NotEmpty(t, b.CancellingOn(running))
		beat()
		synctest.Wait()
		require.Equal(t, task.StateCancelled, b.store.state(running))

		// With another control queue it counts again.
		require.NoError(t, b.Sync(t.Context(), syncOf("w-1", 2, resize)))
		b.Beat(beatOf("w-1", 3, resize), time.Now()) // still from before
		id := b.store.add(resize)
		b.cancel(t, id)
		sleep(time.Second)
		require.Equal(t, task.StateQueued, b.store.state(id))
		require.Equal(t, []target{{"w-1", 2}}, b.targets(time.Now()))
	})
}

func TestWhatCantBeLookedAtKeepsAWorkerThere(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		b.Beat(beatOf("w-1", 1, resize), time.Now())
		require.Empty(t, b.targets(time.Now()))
		b.nobodyReads(target{"w-1", 1})
		blind := func(yes bool) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.blind = yes
		}
		sleep(cutOff)
		blind(true)
		sleep(time.Minute)
		require.Equal(t, silent, stateOf(t, b, "w-1"))
		blind(false)
		sleep(lookAgain)
		require.Equal(t, gone, stateOf(t, b, "w-1"), "nobody has read it before and after")
	})
}

func TestAControlQueueOutOfReach(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		away := func(queues ...target) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.away = map[target]bool{}
			for _, at := range queues {
				b.away[at] = true
			}
		}
		// A worker that goes on elsewhere is not held up by the queue that it had.
		b.Beat(beatOf("w-1", 1, resize), time.Now())
		away(target{"w-1", 1})
		id := b.store.add(resize)
		b.cancel(t, id)
		sleep(10 * time.Second)
		require.Contains(t, b.WaitingFor(resize, 1)[0], "has not answered")
		require.NoError(t, b.Sync(t.Context(), syncOf("w-1", 2, resize)))
		h := beatOf("w-1", 2, resize)
		h.Control = 2
		b.Beat(h, time.Now())
		synctest.Wait()
		require.Equal(t, task.StateCancelled, b.store.state(id))

		// Nobody knows who reads one that is out of reach, as long as its worker is heard.
		away(target{"w-1", 2})
		id = b.store.add(resize)
		b.cancel(t, id)
		for range 60 {
			b.Beat(h, time.Now())
			sleep(2 * time.Second)
		}
		require.Equal(t, live, stateOf(t, b, "w-1"))
		require.Contains(t, b.WaitingFor(resize, 2)[0], "out of reach")
		require.Equal(t, task.StateQueued, b.store.state(id))
		// It was killed with its node.
		sleep(outOfReach - 5*time.Second)
		require.Equal(t, silent, stateOf(t, b, "w-1"))
		require.Equal(t, task.StateQueued, b.store.state(id))
		sleep(5 * time.Second)
		require.Equal(t, gone, stateOf(t, b, "w-1"))
		require.Equal(t, task.StateCancelled, b.store.state(id))
	})
}

func TestALookGoesOnWhereTheLastOneEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(newMemory())
		begin := time.Now()
		for i := range 10 {
			b.Beat(beatOf(fmt.Sprint("w-", i), 1, resize), begin)
		}
		b.lookAt = func(_ context.Context, targets []target) (int, error) {
			for _, at := range targets[:min(len(targets), 3)] {
				b.saw(at, 0, time.Now())
			}
			return 0, errors.New("no time left")
		}
		sleep(2 * maxSilence)
		for range 20 {
			b.look(t.Context())
			sleep(lookPeriod)
		}
		for i := range 10 {
			require.Equal(t, gone, stateOf(t, b, fmt.Sprint("w-", i)))
		}
	})
}

func TestAHeartbeatOfBeforeIsNotBelieved(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		b.Beat(beatOf("w-1", 1, resize), time.Now())
		id := b.store.add(resize)
		b.cancel(t, id)
		require.NoError(t, b.Sync(t.Context(), syncOf("w-1", 2, resize)))
		b.messages("w-1")
		old := beatOf("w-1", 2, resize)
		b.Beat(old, time.Now())
		require.Nil(t, b.News(beatOf("w-1", 1, resize)))
		sleep(time.Second)
		require.Equal(t, task.StateQueued, b.store.state(id), "it has lost what it knew then")
		fresh := beatOf("w-1", 2, resize)
		fresh.Control = 2
		b.Beat(fresh, time.Now())
		synctest.Wait()
		require.Equal(t, task.StateCancelled, b.store.state(id))
		// One that reads no control queue knows nothing.
		lost := beatOf("w-1", 0, resize)
		lost.Control = 0
		b.Beat(lost, time.Now())
		require.Equal(t, paused, stateOf(t, b, "w-1"))
	})
}

func TestStatesOfWorkers(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		for name, c := range map[string]struct {
			edit func(*brokerv1.Heartbeat)
			want adminv1.WorkerState
			note string
		}{
			"live":         {func(*brokerv1.Heartbeat) {}, live, ""},
			"draining":     {func(h *brokerv1.Heartbeat) { h.Draining = true }, draining, "finishes"},
			"paused":       {func(h *brokerv1.Heartbeat) { h.Paused = "the target is down" }, paused, "the target is down"},
			"not synced":   {func(h *brokerv1.Heartbeat) { h.CancelPosition = 0 }, paused, "told what is cancelled"},
			"types":        {func(h *brokerv1.Heartbeat) { h.Types[0].Paused = true }, live, ""},
			"all types":    {func(h *brokerv1.Heartbeat) { h.Types[0].Paused, h.Types[1].Paused = true, true }, paused, "operators"},
			"said goodbye": {func(h *brokerv1.Heartbeat) { h.Goodbye = true }, gone, "goodbye"},
		} {
			id := task.NewID()
			h := beatOf(id, 1, resize, crop)
			c.edit(h)
			b.Beat(h, time.Now())
			w, ok := b.Worker(id)
			require.True(t, ok)
			require.Equal(t, c.want, w.State, name)
			require.Contains(t, w.Note, c.note, name)
			require.Equal(t, h, w.Beat)
		}
		all := b.Workers()
		require.Len(t, all, 7)
		for i := range all[1:] {
			require.Greater(t, all[i].Identity.WorkerId, all[i+1].Identity.WorkerId, "the newest first")
		}
		_, ok := b.Worker("nobody")
		require.False(t, ok)
	})
}

func TestRates(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	load := func(n int64) []*brokerv1.TypeLoad {
		return []*brokerv1.TypeLoad{{Type: resize, Started: 3 * n, Succeeded: 2 * n, Failed: n}}
	}
	var r rates
	require.Zero(t, r.of(resize))
	r.add(load(100), begin)
	require.Zero(t, r.of(resize))
	r.add(load(110), begin.Add(time.Second))
	require.Equal(t, pace{30, 20, 10}, r.of(resize))
	require.Zero(t, r.of(crop))
	// It is about the last minute, whatever was before.
	for i := range 200 {
		r.add(load(1000), begin.Add(time.Duration(2+i)*time.Second))
	}
	require.LessOrEqual(t, len(r.samples), 16)
	require.Zero(t, r.of(resize))
	r.add(load(1060), begin.Add(202*time.Second))
	require.InDelta(t, 1, r.of(resize).failed, 0.1)
	// A worker that counts anew does not run backwards.
	r.add(load(0), begin.Add(203*time.Second))
	require.Zero(t, r.of(resize))
}

func TestWorkersAreStoredNowAndThen(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		h := beatOf("w-1", 1, resize)
		h.Running = []*brokerv1.RunningTask{{TaskId: task.NewID(), Type: resize}}
		first := time.Now()
		b.Beat(h, first)
		synctest.Wait()
		require.Equal(t, first, b.store.record("w-1").Seen)
		for range 4 {
			sleep(2 * time.Second)
			b.Beat(h, time.Now())
		}
		require.Equal(t, first, b.store.record("w-1").Seen, "nothing has changed")
		for range 3 {
			sleep(2 * time.Second)
			b.Beat(h, time.Now())
		}
		require.Greater(t, b.store.record("w-1").Seen, first.Add(savePeriod-3*time.Second))
		b.Beat(beatOf("w-1", 1, resize, crop), time.Now())
		synctest.Wait()
		require.Equal(t, time.Now(), b.store.record("w-1").Seen, "it serves more")

		// Another replica stores what it knew before: it is not left at that.
		older := b.store.record("w-1")
		b.Beat(beatOf("w-1", 1, resize, crop, "acme.v1.Other.Thing"), time.Now().Add(time.Millisecond))
		synctest.Wait()
		require.NoError(t, b.store.PutWorkers(t.Context(), []store.WorkerRecord{older}))
		sleep(2 * refreshPeriod)
		require.Greater(t, b.store.record("w-1").Seen, older.Seen)
		require.NoError(t, b.store.PutWorkers(t.Context(), []store.WorkerRecord{older}))

		again := newBench(b.store)
		require.NoError(t, again.refresh(t.Context()))
		w, ok := again.Worker("w-1")
		require.True(t, ok)
		require.Len(t, w.Types, 2)
		require.Empty(t, w.Beat.Running)
	})
}

func TestDrain(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		require.ErrorIs(t, b.Drain(t.Context(), "w-1", "a test"), ErrNoWorker)
		b.Beat(beatOf("w-1", 1, resize), time.Now())
		require.NoError(t, b.Drain(t.Context(), "W-1", "a test"))
		require.Equal(t, "a test", b.messages("w-1")[0].GetDrain().GetReason())
		// It is asked again until it says that it does.
		require.Equal(t, "a test", b.Drains(beatOf("w-1", 1, resize)).GetReason())
		require.Nil(t, b.Drains(beatOf("w-2", 1, resize)))
		h := beatOf("w-1", 1, resize)
		h.Draining = true
		b.Beat(h, time.Now())
		require.Nil(t, b.Drains(h))
		require.Nil(t, b.Drains(beatOf("w-1", 1, resize)))
		b.Beat(beatOf("w-2", 1, resize), time.Now())
		b.mu.Lock()
		b.sendErr = errors.New("no connection")
		b.mu.Unlock()
		require.Error(t, b.Drain(t.Context(), "w-2", "a test"))
		require.Nil(t, b.Drains(beatOf("w-2", 1, resize)), "nothing was asked for")
		bye := beatOf("w-1", 1, resize)
		bye.Goodbye = true
		b.Beat(bye, time.Now())
		require.ErrorIs(t, b.Drain(t.Context(), "w-1", "a test"), ErrNoWorker)
	})
}
