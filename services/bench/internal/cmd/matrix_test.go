//go:build unix

package cmd

import (
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/bench/internal/load"
	"github.com/warrenmq/warren/services/bench/internal/platform"
)

func parsed(t *testing.T, args ...string) (tuneCommand, error) {
	t.Helper()
	var f flags
	parser, err := kong.New(&f)
	require.NoError(t, err)
	_, err = parser.Parse(append([]string{"tune"}, args...))
	return f.Tune, err
}

func TestEachWorkerComesOnce(t *testing.T) {
	c, err := parsed(t)
	require.NoError(t, err)
	require.Equal(t, []platform.WorkerSettings{
		{Concurrency: 4, Prefetch: 1}, {Concurrency: 4, Prefetch: 4}, {Concurrency: 4, Prefetch: 16},
		{Concurrency: 16, Prefetch: 1}, {Concurrency: 16, Prefetch: 4}, {Concurrency: 16, Prefetch: 16}, {Concurrency: 16, Prefetch: 64},
		{Concurrency: 64, Prefetch: 1}, {Concurrency: 64, Prefetch: 16}, {Concurrency: 64, Prefetch: 64}, {Concurrency: 64, Prefetch: 256},
	}, c.workers())
	require.Equal(t, []load.Work{
		{}, {Retries: 0.2}, {Take: 10 * time.Millisecond}, {Take: 10 * time.Millisecond, Retries: 0.2},
	}, c.works())

	c, err = parsed(t, "--concurrency=2", "--prefetch=1%,7", "--retries=1", "--work=1s")
	require.NoError(t, err)
	require.Equal(t, []platform.WorkerSettings{{Concurrency: 2, Prefetch: 1}, {Concurrency: 2, Prefetch: 7}}, c.workers())
}

func TestWhatCannotBeTuned(t *testing.T) {
	for arg, want := range map[string]string{
		"--concurrency=0":    "from 1 to 1000",
		"--concurrency=1001": "from 1 to 1000",
		"--concurrency=":     "concurrency",
		"--prefetch=0":       "neither",
		"--prefetch=-5%":     "neither",
		"--prefetch=a%":      "neither",
		"--retries=1.1":      "from 0 to 1",
		"--work=-1s":         "negative",
		"--seconds=0":        "positive",
		"--connections=0":    "positive",
	} {
		_, err := parsed(t, arg)
		require.ErrorContains(t, err, want, arg)
	}
}

func TestABacklogOutlastsTheCriticalTasks(t *testing.T) {
	c := combination{settings: platform.WorkerSettings{Concurrency: 4, Prefetch: 16}, phase: 1}
	b := c.backlog(load.Pace{Accepted: 6000, Done: 400})
	require.Equal(t, 200+20*(4+16), b.Tasks)
	require.Equal(t, 100*time.Millisecond, b.Hold)
	require.Equal(t, 4, b.Slots)
	require.Equal(t, longestHold, c.backlog(load.Pace{Accepted: 1, Done: 400}).Hold)
}
