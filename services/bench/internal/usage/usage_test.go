package usage

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProcessStat(t *testing.T) {
	for stat, want := range map[string]sample{
		"7 (gateway) S 1 42 7 0 -1 4194560 900 0 0 0 250 30 9 9 20 0 8 0 100 0 0\n":         {42, 2800 * time.Millisecond},
		"7 (a b) R (c) S 1 7 7 0 -1 4194560 900 0 0 0 0 1 0 0 20 0 8 0 100 0 0\n":           {7, 10 * time.Millisecond},
		"7 (2_scheduler) S 1 7 7 0 -1 4194560 900 0 0 0 360000000 0 0 0 20 0 8 0 100 0 0\n": {7, 1000 * time.Hour},
	} {
		got, err := parse(stat)
		require.NoError(t, err, stat)
		require.Equal(t, want, got, stat)
	}
	for _, stat := range []string{"", "7 gateway S 1", "7 (gateway) S 1 42", "7 (g) S 1 7 7 0 -1 0 9 0 0 0 x 30 9 9", "7 (g) S 1 y 7 0 -1 0 9 0 0 0 1 30 9 9"} {
		_, err := parse(stat)
		require.Error(t, err, stat)
	}
}

func FuzzProcessStat(f *testing.F) {
	f.Add("7 (a b) R (c) S 1 7 7 0 -1 4194560 900 0 0 0 0 1 0 0 20 0 8 0 100 0 0\n")
	f.Add("7 ()")
	f.Fuzz(func(t *testing.T, stat string) { _, _ = parse(stat) })
}

func TestProcessStatus(t *testing.T) {
	m, err := parseMemory("Name:\tgateway\nVmHWM:\t  200 kB\nVmRSS:\t  100 kB\nThreads:\t8\n")
	require.NoError(t, err)
	require.Equal(t, Memory{Resident: 100 << 10, Peak: 200 << 10}, m)
	for _, status := range []string{"", "VmRSS: 100 kB\n", "VmRSS: x kB\nVmHWM: 1 kB\n", "VmRSS: 100 MB\nVmHWM: 1 kB\n", "VmRSS: 100\nVmHWM: 1 kB"} {
		_, err := parseMemory(status)
		require.Error(t, err, status)
	}
}

func FuzzProcessStatus(f *testing.F) {
	f.Add("VmHWM:\t  200 kB\nVmRSS:\t  100 kB\n")
	f.Fuzz(func(t *testing.T, status string) { _, _ = parseMemory(status) })
}

func TestMachineStat(t *testing.T) {
	const rest = "\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 5\n"
	used, err := busy("cpu  100 20 30 99999 5000 4 3 2 50 60" + rest)
	require.NoError(t, err)
	require.Equal(t, 1590*time.Millisecond, used, "without idle, iowait, and guests, who are part of user")
	for _, stat := range []string{"", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8 9 10", "cpu 1 2 3 4 5 6 x 8 9 10"} {
		_, err := busy(stat)
		require.Error(t, err, stat)
	}
}

func TestReadAllNamesWhatFailed(t *testing.T) {
	fine := func() (time.Duration, error) { return time.Second, nil }
	read, err := ReadAll(map[string]Meter{"a": fine, "b": fine})
	require.NoError(t, err)
	require.Equal(t, map[string]time.Duration{"a": time.Second, "b": time.Second}, read)
	_, err = ReadAll(map[string]Meter{"a": fine, "b": func() (time.Duration, error) { return Process(1 << 30) }})
	require.Error(t, err)
	require.True(t, strings.Contains(err.Error(), "1073741824"))
}
