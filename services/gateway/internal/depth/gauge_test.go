package depth

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
)

const resize = "acme.v1.ImageService.Resize"

// none is no task type and no broker.
type none struct {
	asked int
	// rounds gets one for each question for the limits, unless it is nil.
	rounds chan struct{}
}

func (n *none) QueueLimits() map[string]int64 {
	if n.rounds != nil {
		n.rounds <- struct{}{}
	}
	return nil
}

func (n *none) Do(context.Context, func(*broker.Topology) error) error {
	n.asked++
	return errors.New("no connection")
}

func TestNothingIsKnownWithoutASample(t *testing.T) {
	t.Parallel()
	g := New(&none{}, &none{})
	for range 10 {
		leave, ok := g.Enter(resize, 1)
		require.True(t, ok)
		leave(true)
	}
	require.False(t, g.AtLimit(resize, 1))
}

func TestWithoutALimitThereIsAlwaysRoom(t *testing.T) {
	t.Parallel()
	g := New(&none{}, &none{})
	g.take(resize, 1000)
	leave, ok := g.Enter(resize, 0)
	require.True(t, ok)
	leave(true)
	require.False(t, g.AtLimit(resize, 0))
}

func TestItsOwnPublishesCount(t *testing.T) {
	t.Parallel()
	g := New(&none{}, &none{})
	enter := func() func(bool) {
		t.Helper()
		leave, ok := g.Enter(resize, 5)
		require.True(t, ok)
		return leave
	}
	full := func() {
		t.Helper()
		_, ok := g.Enter(resize, 5)
		require.False(t, ok)
	}
	g.take(resize, 3)
	first, second := enter(), enter()
	full() // by what is on its way
	first(true)
	full() // by what has arrived since
	require.False(t, g.AtLimit(resize, 5), "its sample is older")
	second(false)
	third := enter()
	full()

	// The next sample has all that was confirmed; what is on its way counts on.
	g.take(resize, 4)
	full()
	third(true)
	require.EqualValues(t, 0, g.queues[resize].since, "the sample may have it, the next one has")
	enter()(true)
	full()
	g.take(resize, 5)
	full()
	require.True(t, g.AtLimit(resize, 5))
	require.False(t, g.AtLimit(resize, 6))

	g.take(resize, 0)
	enter()(true)
}

func TestOldSamplesAreNoGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := New(&none{}, &none{})
		g.take(resize, 5)
		g.queues[resize].taken = time.Now().Add(-fresh)
		_, ok := g.Enter(resize, 5)
		require.False(t, ok)
		require.True(t, g.AtLimit(resize, 5))
		g.queues[resize].taken = time.Now().Add(-fresh - time.Nanosecond)
		_, ok = g.Enter(resize, 5)
		require.True(t, ok)
		require.False(t, g.AtLimit(resize, 5))
	})
}

func TestQueuesWithoutALimitAreForgotten(t *testing.T) {
	t.Parallel()
	g := New(&none{}, &none{})
	g.take(resize, 1)
	leave, ok := g.Enter(resize, 5)
	require.True(t, ok)
	g.forget(nil)
	require.Contains(t, g.queues, resize, "a message is on its way")
	leave(true)
	g.forget(map[string]int64{resize: 5})
	require.Contains(t, g.queues, resize)
	g.forget(nil)
	require.Empty(t, g.queues)
}

func TestNobodyIsAskedWithoutALimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const periods = 10
		n := &none{rounds: make(chan struct{}, periods+1)}
		g := New(n, n)
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { g.Run(ctx) })
		for range periods + 1 {
			<-n.rounds
		}
		require.Equal(t, periods*samplePeriod, time.Since(began))
		cancel()
		running.Wait()
		require.Zero(t, n.asked)
	})
}
