package watch

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// woken says whether there is a wake-up to take, and takes it.
func woken(s *Subscription) bool {
	select {
	case <-s.C:
		return true
	default:
		return false
	}
}

func TestWakeReachesAllWhoWaitForTheTask(t *testing.T) {
	t.Parallel()
	h := NewHub()
	a1, a2, b := h.Subscribe("a"), h.Subscribe("a"), h.Subscribe("b")
	h.Wake("a")
	require.True(t, woken(a1))
	require.True(t, woken(a2))
	require.False(t, woken(b))
	require.False(t, woken(a1), "once")
	h.Wake("nobody's")
}

func TestWakeReachesThoseWhoWaitForAny(t *testing.T) {
	t.Parallel()
	h := NewHub()
	all, a := h.SubscribeAll(), h.Subscribe("a")
	for _, id := range []string{"a", "b", ""} {
		h.Wake(id)
		require.True(t, woken(all))
		require.False(t, woken(all), "once")
	}
	require.True(t, woken(a))
	all.Close()
	h.Wake("a")
	require.False(t, woken(all))
	require.True(t, woken(a))
	all.Close() // twice does nothing
	a.Close()
	require.Empty(t, h.tasks)
	require.Empty(t, h.all)
}

func TestWakeUpsAreKeptUntilRead(t *testing.T) {
	t.Parallel()
	h := NewHub()
	s := h.Subscribe("a")
	for range 100 {
		h.Wake("a") // must not block
	}
	require.True(t, woken(s))
	require.False(t, woken(s), "many are one")
	h.Wake("a")
	require.True(t, woken(s))
}

func TestCloseEndsASubscriptionAlone(t *testing.T) {
	t.Parallel()
	h := NewHub()
	s, other := h.Subscribe("a"), h.Subscribe("a")
	s.Close()
	h.Wake("a")
	require.False(t, woken(s))
	require.True(t, woken(other))
	s.Close() // twice does nothing
	other.Close()
	require.Empty(t, h.tasks, "nothing is kept of who has gone")
	again := h.Subscribe("a")
	h.Wake("a")
	require.True(t, woken(again))
}

// TestNoWakeUpIsLost: who reads after each wake-up sees the last change, while
// others come and go.
func TestNoWakeUpIsLost(t *testing.T) {
	t.Parallel()
	const tasks, readers, changes = 4, 3, 2000
	h := NewHub()
	var values [tasks]atomic.Int64
	done := make(chan struct{})
	var wg, passers sync.WaitGroup
	for i := range tasks {
		id := fmt.Sprint(i)
		for range readers {
			s := h.Subscribe(id)
			wg.Go(func() {
				defer s.Close()
				for values[i].Load() < changes {
					<-s.C
				}
			})
		}
		wg.Go(func() {
			for range changes {
				values[i].Add(1)
				h.Wake(id)
			}
		})
		passers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					s := h.Subscribe(id)
					s.Close()
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		wg.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("a reader waits for a wake-up that it should have had")
	}
	close(done)
	passers.Wait()
	require.Empty(t, h.tasks)
}
