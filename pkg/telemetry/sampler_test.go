package telemetry

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSamplerTakesSamplesWhileAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var samples atomic.Int64
		var fails atomic.Bool
		s := NewSampler(5*time.Second, func(context.Context) (int64, error) {
			n := samples.Add(1)
			if fails.Load() {
				return 0, errors.New("no answer")
			}
			return n, nil
		})
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Run(ctx)
		}()
		advance := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		}
		advance(time.Hour)
		require.Zero(t, samples.Load(), "nobody asks")

		_, ok := s.Last()
		require.False(t, ok)
		advance(time.Second)
		last, ok := s.Last()
		require.True(t, ok)
		require.EqualValues(t, 1, last)
		advance(5 * time.Second)
		last, _ = s.Last()
		require.EqualValues(t, 2, last, "one in a period")

		fails.Store(true)
		advance(5 * time.Second)
		_, ok = s.Last()
		require.False(t, ok, "what is not known now is not shown")
		fails.Store(false)

		advance(time.Hour)
		before := samples.Load()
		advance(time.Hour)
		require.Equal(t, before, samples.Load(), "nobody asks any more")
		_, ok = s.Last()
		require.False(t, ok, "an old sample says nothing")
		cancel()
		<-done
	})
}
