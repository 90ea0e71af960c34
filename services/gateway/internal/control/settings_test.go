package control

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// policyOf is what a worker is told of resize.
func policyOf(b *bench, worker string) *brokerv1.TypePolicy {
	p := &brokerv1.TypePolicy{Type: resize}
	b.Decorate(worker, p)
	return p
}

func TestPause(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		require.Nil(t, b.TypeControl(resize, ""))
		until := time.Now().Add(time.Minute)
		pause := &brokerv1.Pause{Reason: "the disk is full", Until: timestamppb.New(until)}
		got, err := b.SetPause(t.Context(), resize, pause, "the disk is full")
		require.NoError(t, err)
		require.True(t, got.Paused)
		require.Equal(t, "the disk is full", got.PauseReason)
		require.Equal(t, until, got.PauseUntil.AsTime().Local())
		require.True(t, proto.Equal(got, b.TypeControl(resize, "")))
		require.Equal(t, []string{resize}, b.toldTypes)
		require.True(t, proto.Equal(pause, policyOf(b, "w-1").Pause))
		require.Nil(t, b.policies("w-1", []string{crop})[0].Pause)

		// A restarted gateway knows it, and it ends by itself.
		again := newBench(b.store)
		require.NoError(t, again.refresh(t.Context()))
		require.True(t, proto.Equal(got, again.TypeControl(resize, "")))
		sleep(time.Minute)
		require.Nil(t, policyOf(b, "w-1").Pause)
		require.Nil(t, b.TypeControl(resize, ""))

		_, err = b.SetPause(t.Context(), resize, &brokerv1.Pause{Reason: "for ever"}, "for ever")
		require.NoError(t, err)
		sleep(10 * time.Minute)
		require.NotNil(t, policyOf(b, "w-1").Pause)
		got, err = b.SetPause(t.Context(), resize, nil, "there is room")
		require.NoError(t, err)
		require.False(t, got.Paused)
		require.Equal(t, "there is room", got.Reason)
		require.Nil(t, policyOf(b, "w-1").Pause)
	})
}

func TestConcurrency(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		for _, w := range []string{"w-1", "w-2"} {
			b.Beat(beatOf(w, 1, resize), time.Now())
		}
		set := func(worker string, n int) {
			_, err := b.SetConcurrency(t.Context(), resize, worker, n, nil, "a test")
			require.NoError(t, err)
		}
		slots := func(worker string) (int32, string) {
			w, _ := b.Worker(worker)
			return w.Types[0].DesiredConcurrency, w.Types[0].DesiredBy
		}
		require.Nil(t, b.Apart(resize))
		n, by := slots("w-1")
		require.EqualValues(t, 4, n)
		require.Equal(t, "configuration", by)
		set("", 8)
		require.EqualValues(t, 8, policyOf(b, "w-1").Concurrency)
		_, by = slots("w-1")
		require.Equal(t, "operator", by)
		require.Nil(t, b.Apart(resize))
		set("W-1", 2)
		require.ElementsMatch(t, []string{"w-1", "w-2"}, b.Apart(resize))
		require.EqualValues(t, 2, policyOf(b, "w-1").Concurrency)
		require.EqualValues(t, 8, policyOf(b, "w-2").Concurrency)
		require.EqualValues(t, 8, policyOf(b, "").Concurrency)
		n, by = slots("w-1")
		require.EqualValues(t, 2, n)
		require.Equal(t, "operator, this worker", by)
		set("w-1", 0)
		require.Zero(t, policyOf(b, "w-1").Concurrency, "as it is configured, not as all are")
		n, _ = slots("w-1")
		require.EqualValues(t, 4, n)
		require.NotNil(t, b.TypeControl(resize, "w-1"))
		set("", 0)
		require.Nil(t, b.TypeControl(resize, ""))
		_, err := b.SetConcurrency(t.Context(), resize, "w-9", 1, nil, "a test")
		require.ErrorIs(t, err, ErrNoWorker)
	})
}

func TestSettingsOfSeveralOperatorsAtOnce(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		other := newBench(b.store)
		raced := false
		b.store.beforePut = func() {
			if !raced {
				raced = true
				_, err := other.SetConcurrency(t.Context(), resize, "", 7, nil, "elsewhere")
				require.NoError(t, err)
			}
		}
		got, err := b.SetPause(t.Context(), resize, &brokerv1.Pause{Reason: "x"}, "x")
		require.NoError(t, err)
		require.True(t, got.Paused)
		require.EqualValues(t, 7, got.Concurrency, "neither is lost")
		b.store.beforePut = nil
		// Who did not know is told by the store.
		sleep(refreshPeriod)
		require.NoError(t, other.refresh(t.Context()))
		require.True(t, proto.Equal(got, other.TypeControl(resize, "")))
		b.store.fail(store.ErrUnavailable)
		_, err = b.SetPause(t.Context(), resize, nil, "x")
		require.ErrorIs(t, err, store.ErrUnavailable)
		require.NotNil(t, policyOf(b, "").Pause)
		// That nobody could be told is no failure.
		b.store.fail(nil)
		b.mu.Lock()
		b.sendErr = errors.New("no connection")
		b.mu.Unlock()
		_, err = b.SetPause(t.Context(), resize, nil, "x")
		require.NoError(t, err)
	})
}

func TestAutoscaleRule(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		l     load
		slots int
		idle  int
	}{
		"more wait than there are slots": {load{min: 1, max: 32, slots: 4, ready: 9, total: 8}, 8, 0},
		"up to the most":                 {load{min: 1, max: 6, slots: 4, ready: 9, total: 8}, 6, 0},
		"as many as slots":               {load{min: 1, max: 32, slots: 4, ready: 8, total: 8, streak: streak{idle: 2}}, 4, 0},
		"none waits, half run":           {load{min: 1, max: 32, slots: 4, total: 8, running: 4, streak: streak{idle: 2}}, 4, 0},
		"idle once":                      {load{min: 1, max: 32, slots: 4, total: 8, running: 3}, 4, 1},
		"idle twice":                     {load{min: 1, max: 32, slots: 4, total: 8, running: 3, streak: streak{idle: 1}}, 4, 2},
		"idle for three":                 {load{min: 1, max: 32, slots: 4, total: 8, running: 3, streak: streak{idle: 2}}, 2, 0},
		"down to the fewest":             {load{min: 3, max: 32, slots: 4, total: 8, streak: streak{idle: 2}}, 3, 0},
		"nobody there":                   {load{min: 1, max: 32, slots: 4, ready: 100}, 4, 0},
		"out of bounds":                  {load{min: 1, max: 2, slots: 4, ready: 100, total: 8}, 2, 0},
		"none yet":                       {load{min: 2, max: 4, ready: 100}, 2, 0},
	} {
		slots, samples := c.l.next()
		require.Equal(t, c.slots, slots, name)
		require.Equal(t, streak{idle: c.idle}, samples, name)
	}
	// Tasks wait while all slots are in use.
	full := load{min: 1, max: 32, slots: 4, ready: 1, total: 8, running: 8, streak: streak{idle: 2}}
	for i := 1; i < enoughSamples; i++ {
		var slots int
		slots, full.streak = full.next()
		require.Equal(t, 4, slots)
		require.Equal(t, streak{full: i}, full.streak)
	}
	slots, samples := full.next()
	require.Equal(t, 8, slots)
	require.Zero(t, samples)
	full.running = 7
	slots, samples = full.next()
	require.Equal(t, 4, slots, "one is free")
	require.Zero(t, samples)
	require.Equal(t, 2, startScale(&brokerv1.Autoscale{Min: 2, Max: 8}, 0))
	require.Equal(t, 5, startScale(&brokerv1.Autoscale{Min: 2, Max: 8}, 5))
	require.Equal(t, 8, startScale(&brokerv1.Autoscale{Min: 2, Max: 8}, 50))
}

func TestAutoscaleStaysWithinItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := load{min: rapid.IntRange(1, 20).Draw(t, "min"), slots: rapid.IntRange(0, 200).Draw(t, "slots")}
		l.max = l.min + rapid.IntRange(0, 100).Draw(t, "span")
		for range 20 {
			l.ready, l.total = rapid.Int64Range(0, 50).Draw(t, "ready"), rapid.IntRange(0, 50).Draw(t, "total")
			l.running = rapid.IntRange(0, 60).Draw(t, "running")
			l.slots, l.streak = l.next()
			if l.slots < l.min || l.slots > l.max || max(l.idle, l.full) >= enoughSamples || min(l.idle, l.full) != 0 {
				t.Fatalf("%+v", l)
			}
		}
	})
}

func TestAutoscaleFollowsTheBacklog(t *testing.T) {
	t.Parallel()
	test(t, func(t *testing.T, b *bench) {
		running := int32(3)
		beat := func() {
			h := beatOf("w-1", 1, resize)
			h.Types[0].Running = running
			b.Beat(h, time.Now())
		}
		beat()
		_, err := b.SetConcurrency(t.Context(), resize, "", 0, &brokerv1.Autoscale{Min: 1, Max: 16}, "a sale")
		require.NoError(t, err)
		require.EqualValues(t, 3, policyOf(b, "w-1").Concurrency, "what runs goes on")
		ready := func(n int64) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.ready = n
		}
		pass := func(d time.Duration) {
			for range d / time.Second {
				beat()
				sleep(time.Second)
			}
		}
		ready(1000)
		pass(4 * scalePeriod)
		require.EqualValues(t, 16, policyOf(b, "w-1").Concurrency)
		c := b.TypeControl(resize, "")
		require.Equal(t, "a sale", c.Reason, "an operator's")
		require.EqualValues(t, 1, c.Autoscale.Min)
		require.EqualValues(t, 16, c.Concurrency)
		w, _ := b.Worker("w-1")
		require.Equal(t, "autoscale", w.Types[0].DesiredBy)
		require.GreaterOrEqual(t, len(b.toldTypes), 4, "workers are told at once")

		// Nothing is changed while it is paused, or not known.
		ready(0)
		_, err = b.SetPause(t.Context(), resize, &brokerv1.Pause{Reason: "x"}, "x")
		require.NoError(t, err)
		running = 0
		pass(20 * time.Second)
		require.EqualValues(t, 16, policyOf(b, "w-1").Concurrency)
		_, err = b.SetPause(t.Context(), resize, nil, "x")
		require.NoError(t, err)
		ready(-1)
		pass(20 * time.Second)
		require.EqualValues(t, 16, policyOf(b, "w-1").Concurrency)
		ready(0)
		pass(5 * (enoughSamples + 1) * scalePeriod)
		require.EqualValues(t, 1, policyOf(b, "w-1").Concurrency)

		// A worker that drains has no part in it.
		other := beatOf("w-2", 1, resize)
		other.Draining = true
		b.Beat(other, time.Now())
		l, ok := b.loadOf(resize, time.Now())
		require.True(t, ok)
		require.Equal(t, 1, l.total)

		// With slots of one's own again, it ends.
		_, err = b.SetConcurrency(t.Context(), resize, "", 5, nil, "enough")
		require.NoError(t, err)
		ready(1000)
		pass(10 * time.Second)
		require.EqualValues(t, 5, policyOf(b, "w-1").Concurrency)
		synctest.Wait()
	})
}
