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
	i := newIsolation()
	require.True(t, i.enter())
	require.True(t, i.enter())
	require.True(t, i.claim())
	require.False(t, i.claim(), "another one is first")
	require.False(t, i.enter(), "nothing begins any more")
	only := func(_ bool, executing int) bool { return executing == 1 }
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.False(t, i.await(ended, only))
	i.leave()
	require.True(t, i.await(t.Context(), only))
	i.yield()
	require.True(t, i.enter())
	require.True(t, i.claim())
}

func TestUntilAlone(t *testing.T) {
	t.Parallel()
	i := newIsolation()
	ctx, cancel := i.untilAlone(t.Context())
	require.NoError(t, ctx.Err())
	require.True(t, i.claim())
	<-ctx.Done()
	cancel()
	i.yield()
	ctx, cancel = i.untilAlone(t.Context())
	require.NoError(t, ctx.Err())
	cancel()
	require.Error(t, ctx.Err())
}

func TestNobodyRunsBesideTheIsolated(t *testing.T) {
	t.Parallel()
	i := newIsolation()
	var shared, alone atomic.Int32
	var g errgroup.Group
	for n := range 8 {
		g.Go(func() error {
			for range 200 {
				if !i.enter() {
					continue
				}
				shared.Add(1)
				if n == 0 && i.claim() {
					if i.await(t.Context(), func(_ bool, executing int) bool { return executing == 1 }) {
						alone.Add(1)
						if shared.Load() != 1 {
							t.Error("others run beside the isolated one")
						}
					}
					shared.Add(-1)
					i.leave()
					i.yield()
					continue
				}
				shared.Add(-1)
				i.leave()
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.NotZero(t, alone.Load())
}
