package worker

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClockWarnsOfSkewOnce(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	var c clock
	c.learn(log, time.Unix(0, 0), now)
	require.Zero(t, c.offset, "a message without a time says nothing")
	c.learn(log, now.Add(-maxSkew), now)
	require.Equal(t, -maxSkew, c.offset)
	require.Empty(t, out.String())
	for range 3 {
		c.learn(log, now.Add(time.Minute), now)
	}
	require.Equal(t, 1, strings.Count(out.String(), "\n"))
	require.Contains(t, out.String(), "1m0s")
	now = now.Add(relearn)
	c.learn(log, now, now)
	now = now.Add(relearn)
	c.learn(log, now.Add(-time.Minute), now)
	require.Equal(t, 2, strings.Count(out.String(), "\n"), "again after it was well")
}

func TestClockTrustsTheMessageThatWasFastest(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	var c clock
	c.learn(log, now.Add(100*time.Millisecond), now)
	c.learn(log, now.Add(-20*time.Second), now.Add(time.Second))
	require.Equal(t, 100*time.Millisecond, c.offset, "a late message says little")
	c.learn(log, now.Add(relearn), now.Add(relearn))
	require.Zero(t, c.offset, "what was learned long ago counts no more")
}
