package worker

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
)

func TestIsolationIsForOne(t *testing.T) {
	t.Parallel()
	g := newGate()
	require.True(t, g.enter())
	require.True(t, g.enter())
	require.True(t, g.claim())
	require.False(t, g.claim(), "another one is first")
	require.False(t, g.enter(), "nothing begins any more")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.False(t, g.await(ended, gateState.clear))
	g.leave()
	require.True(t, g.await(t.Context(), gateState.clear))
	g.yield()
	require.True(t, g.enter())
	require.True(t, g.claim())
}

// opening is a consumption of a type with so many slots whose window fits them.
func opening(slots int) (*consumption, *gate) {
	g, p := newGate(), newPool(slots, slots)
	c := &consumption{w: &Worker{gate: g}, pool: p, credit: &credit{}}
	c.credit.fit(slots, p.prefetchFor(slots))
	return c, g
}

func TestUntilShut(t *testing.T) {
	t.Parallel()
	c, g := opening(1)
	ctx, cancel := c.untilShut(t.Context())
	require.NoError(t, ctx.Err())
	require.True(t, g.claim())
	<-ctx.Done()
	cancel()
	g.yield()
	ctx, cancel = c.untilShut(t.Context())
	require.NoError(t, ctx.Err())
	cancel()
	require.Error(t, ctx.Err())
}

func TestWhatShuts(t *testing.T) {
	t.Parallel()
	for name, shut := range map[string]func(*consumption){
		"a pause of the worker":   func(c *consumption) { require.True(t, c.w.gate.pause("why")) },
		"a lost control queue":    func(c *consumption) { c.w.gate.blind() },
		"a pause of the type":     func(c *consumption) { require.True(t, c.pool.suspend(&brokerv1.Pause{Reason: "why"})) },
		"fewer slots":             func(c *consumption) { require.True(t, c.pool.resize(2)) },
		"fewer than there became": func(c *consumption) { c.pool.resize(9); c.pool.resize(3) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := opening(4)
			ctx, cancel := c.untilShut(t.Context())
			defer cancel()
			require.False(t, c.pool.resize(4), "as it is")
			require.False(t, c.pool.suspend(nil), "as it is")
			require.NoError(t, ctx.Err())
			shut(c)
			<-ctx.Done()
			ended, cancelShut := c.untilShut(t.Context())
			defer cancelShut()
			<-ended.Done()
		})
	}
}

func TestAwaitOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, g := opening(1)
		opened := make(chan bool, 1)
		waits := func() {
			t.Helper()
			synctest.Wait()
			require.Empty(t, opened)
		}
		begin := func() {
			t.Helper()
			go func() { opened <- c.awaitOpen(t.Context()) }()
			waits()
		}
		opens := func(at time.Time) {
			t.Helper()
			require.True(t, <-opened)
			require.Equal(t, at, time.Now())
		}
		// Each change wakes who waits: none takes time.
		for name, way := range map[string]struct{ shut, open func() }{
			"a lost control queue":  {g.blind, g.see},
			"a pause of the worker": {func() { g.pause("why") }, func() { g.resume() }},
			"a pause of the type":   {func() { c.pool.suspend(&brokerv1.Pause{Reason: "for ever"}) }, func() { c.pool.suspend(nil) }},
		} {
			t.Log(name)
			way.shut()
			begin()
			way.open()
			opens(time.Now())
		}

		g.blind()
		require.True(t, g.pause("why"))
		until := time.Now().Add(20 * time.Second)
		pause := &brokerv1.Pause{Reason: "a while", Until: timestamppb.New(until)}
		require.True(t, c.pool.suspend(pause))
		require.False(t, c.pool.suspend(pause), "again")
		begin()
		g.see()
		waits()
		require.Equal(t, "the worker was paused", g.barred())
		require.True(t, g.resume())
		waits()
		opens(until)

		require.True(t, c.pool.suspend(&brokerv1.Pause{Reason: "for ever"}))
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		require.False(t, c.awaitOpen(ended))
	})
}

func TestNothingBeginsWhilePaused(t *testing.T) {
	t.Parallel()
	g := newGate()
	require.False(t, g.resume(), "there is no pause")
	require.True(t, g.enter())
	require.True(t, g.pause("why"))
	require.False(t, g.pause("why"), "again")
	require.True(t, g.pause("another reason"))
	require.False(t, g.enter())
	require.NotEmpty(t, g.barred())

	// One that has begun may be on its way to being alone; the pause outlives that.
	require.True(t, g.claim())
	g.yield()
	require.False(t, g.enter())
	g.leave()
	opened := make(chan bool, 1)
	go func() { opened <- g.await(t.Context(), gateState.open) }()
	require.True(t, g.resume())
	require.False(t, g.resume())
	require.True(t, <-opened)
	require.Empty(t, g.barred())
	require.True(t, g.enter())

	// Nor does the end of a pause let others run beside who is alone.
	require.True(t, g.claim())
	require.True(t, g.pause(""))
	require.True(t, g.resume())
	require.False(t, g.enter())
}

func TestNobodyRunsBesideTheIsolated(t *testing.T) {
	t.Parallel()
	g := newGate()
	var shared, alone atomic.Int32
	var all errgroup.Group
	for n := range 8 {
		all.Go(func() error {
			for range 200 {
				if !g.enter() {
					continue
				}
				shared.Add(1)
				if n == 0 && g.claim() {
					if g.await(t.Context(), gateState.clear) {
						alone.Add(1)
						if shared.Load() != 1 {
							t.Error("others run beside the isolated one")
						}
					}
					shared.Add(-1)
					g.leave()
					g.yield()
					continue
				}
				shared.Add(-1)
				g.leave()
			}
			return nil
		})
	}
	require.NoError(t, all.Wait())
	require.NotZero(t, alone.Load())
}
