package broker

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pipe is a connection whose other end a test writes to, with the time that the
// test says.
func pipe(t *testing.T) (h *hearing, now *instant, say func() error) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() {
		require.NoError(t, ours.Close())
		require.NoError(t, theirs.Close())
	})
	now = &instant{}
	h = newHearing(ours)
	h.clock = func() instant { return *now }
	return h, now, func() error {
		go func() { _, _ = theirs.Write([]byte("x")) }()
		_, err := h.Read(make([]byte, 1))
		return err
	}
}

func TestSilenceEndsAConnection(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		passed instant
		fresh  bool
	}{
		"a while":                 {instant{maxSilence, maxSilence}, true},
		"a process that stood":    {instant{maxSilence + 1, maxSilence + 1}, false},
		"a host that slept":       {instant{time.Second, maxSilence + 1}, false},
		"a clock that was set":    {instant{maxSilence + 1, 0}, false},
		"a clock set back a bit":  {instant{time.Second, -time.Second}, true},
		"a clock set back by far": {instant{time.Second, -maxSilence - 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, now, say := pipe(t)
			for range 3 {
				now.running, now.wall = now.running+maxSilence, now.wall+maxSilence
				require.True(t, h.fresh())
				require.NoError(t, say())
			}
			now.running, now.wall = now.running+c.passed.running, now.wall+c.passed.wall
			require.Equal(t, c.fresh, h.fresh())
			if c.fresh {
				require.NoError(t, say())
				return
			}
			require.ErrorIs(t, say(), errSilent)
			// It is for good.
			now.running, now.wall = time.Duration(h.running.Load()), time.Duration(h.wall.Load())
			require.False(t, h.fresh())
			require.ErrorIs(t, say(), errSilent)
		})
	}
}

func TestTimePassesByBothClocks(t *testing.T) {
	t.Parallel()
	clock := sinceStart()
	first := clock()
	timer := time.NewTimer(20 * time.Millisecond)
	<-timer.C
	second := clock()
	require.GreaterOrEqual(t, second.running-first.running, 20*time.Millisecond)
	require.InDelta(t, second.running-first.running, second.wall-first.wall, float64(5*time.Second))
}
