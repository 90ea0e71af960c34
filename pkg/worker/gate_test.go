package worker

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
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

func TestUntilShut(t *testing.T) {
	t.Parallel()
	g := newGate()
	ctx, cancel := g.untilShut(t.Context())
	require.NoError(t, ctx.Err())
	require.True(t, g.claim())
	<-ctx.Done()
	cancel()
	g.yield()
	ctx, cancel = g.untilShut(t.Context())
	require.NoError(t, ctx.Err())
	cancel()
	require.Error(t, ctx.Err())
}

func TestUntilShutByAPause(t *testing.T) {
	t.Parallel()
	g := newGate()
	ctx, cancel := g.untilShut(t.Context())
	defer cancel()
	require.True(t, g.pause("why"))
	<-ctx.Done()
	ended, cancelShut := g.untilShut(t.Context())
	defer cancelShut()
	<-ended.Done()
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
	require.True(t, g.paused())

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
	require.False(t, g.paused())
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
