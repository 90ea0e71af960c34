package worker

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSlotsFollowTheirLimit(t *testing.T) {
	t.Parallel()
	s := newSlots(1)
	require.NoError(t, s.take(t.Context(), patience))
	require.False(t, s.tryTake())
	require.ErrorIs(t, s.take(t.Context(), time.Millisecond), errNoSlot)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.take(ended, patience), context.Canceled)

	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { _ = s.take(t.Context(), patience) })
	}
	require.True(t, s.resize(4))
	require.False(t, s.resize(4))
	all.Wait()
	require.False(t, s.tryTake())
	// Those above a lower limit keep theirs.
	require.True(t, s.resize(2))
	s.release()
	s.release()
	require.False(t, s.tryTake())
	s.release()
	require.True(t, s.tryTake())
	require.Equal(t, 2, s.size())
}

func TestNoSlotIsLost(t *testing.T) {
	t.Parallel()
	s := newSlots(3)
	var used atomic.Int32
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for range 2000 {
				if s.take(t.Context(), patience) != nil {
					t.Error("nobody frees a slot")
					return
				}
				if used.Add(1) > 6 {
					t.Error("there are never as many slots")
				}
				if n == 0 {
					s.resize(1 + rand.IntN(6))
				}
				used.Add(-1)
				s.release()
			}
		})
	}
	all.Wait()
	s.resize(1)
	require.True(t, s.tryTake())
	require.False(t, s.tryTake())
}

func TestPrefetchKeepsItsProportion(t *testing.T) {
	t.Parallel()
	p := newPool(16, 4)
	for slots, want := range map[int]int{1: 1, 4: 1, 8: 2, 16: 4, 64: 16, maxSlots: maxSlots / 4} {
		require.Equal(t, want, p.prefetchFor(slots), slots)
	}
	require.True(t, p.resize(1<<30))
	require.Equal(t, maxSlots, p.slots.size())
	require.True(t, p.resize(0))
	require.Equal(t, 16, p.slots.size())
	require.False(t, p.resize(-1))
}
