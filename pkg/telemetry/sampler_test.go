package telemetry

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSamplerTakesSamplesWhileAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		taken := 0
		var fails error
		s := NewSampler(5*time.Second, func(context.Context) (int, error) {
			taken++
			return taken, fails
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
		require.Zero(t, taken, "nobody asks")

		_, ok := s.Last()
		require.False(t, ok)
		advance(time.Second)
		last, ok := s.Last()
		require.True(t, ok)
		require.Equal(t, 1, last)
		advance(5 * time.Second)
		last, _ = s.Last()
		require.Equal(t, 2, last, "one in a period")

		fails = errors.New("no answer")
		advance(5 * time.Second)
		_, ok = s.Last()
		require.False(t, ok, "what is not known now is not shown")
		fails = nil

		advance(time.Hour)
		before := taken
		advance(time.Hour)
		require.Equal(t, before, taken, "nobody asks any more")
		_, ok = s.Last()
		require.False(t, ok, "an old sample says nothing")
		cancel()
		<-done
	})
}
