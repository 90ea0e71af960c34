package control

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/telemetry/logtest"
)

// TestEachTroubleIsLogged: none hides another, and none is logged each time.
func TestEachTroubleIsLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(newMemory())
		log := &logtest.Buffer{}
		b.cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
		b.start(t)
		b.Beat(beatOf("w-1", 1, resize), time.Now())
		sleep(quietTime)
		b.mu.Lock()
		b.blind = true
		b.mu.Unlock()
		b.store.fail(errors.New("disk I/O error"))
		sleep(lookAfter + logPeriod/2)
		for n := 1; n <= 2; n++ {
			for _, text := range []string{"control queues can't be looked at now", "the store does not say"} {
				require.Equal(t, n, log.Count(text), text)
			}
			sleep(logPeriod)
		}
	})
}

// TestAStoreThatHangsDoesNotStopAutoscaling, whether it hangs when slots are changed or
// when they are read again.
func TestAStoreThatHangsDoesNotStopAutoscaling(t *testing.T) {
	t.Parallel()
	for _, hangs := range []func(*memory) *bool{func(m *memory) *bool { return &m.hangPut }, func(m *memory) *bool { return &m.stale }} {
		test(t, func(t *testing.T, b *bench) {
			b.Beat(beatOf("w-1", 1, resize), time.Now())
			_, err := b.SetConcurrency(t.Context(), resize, "", 0, &brokerv1.Autoscale{Min: 1, Max: 16}, "a sale")
			require.NoError(t, err)
			b.mu.Lock()
			b.ready = 1000
			b.mu.Unlock()
			b.store.set(hangs(b.store))
			sleep(2 * scalePeriod)
			require.False(t, b.store.once(hangs(b.store)), "it hangs")
			require.False(t, b.store.once(&b.store.hangRead))
			require.EqualValues(t, 1, policyOf(b, "w-1").Concurrency)
			// What hangs is given up by then.
			sleep(storeTimeout)
			b.Beat(beatOf("w-1", 1, resize), time.Now())
			sleep(6 * scalePeriod)
			require.EqualValues(t, 16, policyOf(b, "w-1").Concurrency)
		})
	}
}

// TestATypeThatIsScaledAnewBeginsAnew, wherever its scaling was ended.
func TestATypeThatIsScaledAnewBeginsAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(newMemory())
		other := newBench(b.store)
		set := func(by *bench, a *brokerv1.Autoscale) {
			_, err := by.SetConcurrency(t.Context(), resize, "", 4, a, "a test")
			require.NoError(t, err)
		}
		bounds := &brokerv1.Autoscale{Min: 4, Max: 16}
		for _, by := range []*bench{b, other} {
			set(b, bounds)
			b.noteStreak(resize, streak{idle: 2})
			l, ok := b.loadOf(resize, time.Now())
			require.True(t, ok)
			require.Equal(t, 2, l.idle)
			require.NoError(t, other.Reread(t.Context()))
			set(by, nil)
			if by == other {
				require.NoError(t, b.Reread(t.Context()))
			}
			b.noteStreak(resize, streak{idle: 1}) // of a step that was under way
			set(b, bounds)
			l, ok = b.loadOf(resize, time.Now())
			require.True(t, ok)
			require.Zero(t, l.streak)
		}
		b.noteStreak(crop, streak{idle: 1})
		require.NotContains(t, b.streaks, crop)
	})
}
