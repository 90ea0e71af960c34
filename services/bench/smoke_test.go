//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/bench/internal/report"
)

// binDir has the binaries under test, built by TestMain.
var binDir string

func TestMain(m *testing.M) {
	code, err := withBinaries(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withBinaries(m *testing.M) (code int, err error) {
	if binDir, err = os.MkdirTemp("", "warren-bench-test-"); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(binDir)) }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binDir+"/", ".", "../gateway").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build the binaries: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// bench is the benchmark, about to be run with a folder for what is temporary.
func bench(t *testing.T, args ...string) (cmd *exec.Cmd, dir string) {
	t.Helper()
	dir = t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, filepath.Join(binDir, "bench"), append([]string{"--bin-dir", binDir}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	// CI can name a broker for tests, where none can be started.
	if url := os.Getenv("WARREN_TEST_AMQP_URL"); url != "" {
		cmd.Env = append(cmd.Env, "WARREN_AMQP_URL="+url)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	return cmd, dir
}

// requireNothingLeft fails when the benchmark left processes or files behind.
func requireNothingLeft(t *testing.T, dir string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	require.NoError(t, err)
	for _, link := range links {
		if exe, err := os.Readlink(link); err == nil {
			require.False(t, strings.HasPrefix(exe, binDir), "%s still runs: %s", exe, link)
		}
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// measured is what the benchmark prints, and reads the report that it writes.
func measured(t *testing.T, into any, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	cmd, dir := bench(t, append(args, "--json="+file)...)
	var log strings.Builder
	cmd.Stderr = &log
	table, err := cmd.Output()
	require.NoError(t, err, "%s\n%s", log.String(), table)
	requireNothingLeft(t, dir)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
	return string(table)
}

func TestEverythingIsMeasured(t *testing.T) {
	var r report.Report
	table := measured(t, &r, "--rounds=1", "--tasks=300", "--duration=1s")
	require.Empty(t, r.Failures)
	require.Equal(t, map[string]int{"L1": 1200, "L64": 600, "unary": 300, "call": 300, "bulk": 300, "stream": 300, "latency": 100, "lateness": 200, "call-latency": 100}, r.Settings.Tasks)
	require.Regexp(t, `^RabbitMQ 4\.3\.`, r.Broker)

	var values, ratios []string
	for _, v := range r.Values {
		require.Len(t, v.Rounds, 1)
		require.Positive(t, v.Median, "%s %s", v.Measure, v.Name)
		values = append(values, v.Measure+" "+v.Name)
	}
	require.Equal(t, []string{
		"L1 rate", "bulk accepted", "bulk done", "stream accepted", "stream done", "L64 rate", "unary accepted", "unary done", "call done",
		"latency accepted p50", "latency accepted p90", "latency accepted p99",
		"latency start p50", "latency start p90", "latency start p99", "latency done p50", "latency done p90", "latency done p99",
		"lateness start p50", "lateness start p90", "lateness start p99", "lateness done p50", "lateness done p90", "lateness done p99",
		"call-latency durable p50", "call-latency durable p90", "call-latency durable p99",
		"call-latency direct p50", "call-latency direct p90", "call-latency direct p99",
	}, values)
	for _, ratio := range r.Ratios {
		ratios = append(ratios, ratio.Measure+" "+ratio.Name+"/"+ratio.Of)
	}
	require.Equal(t, []string{
		"L64 rate/L1", "unary done/L64", "unary done/L1", "call done/L64", "call done/unary", "bulk accepted/L1", "bulk done/L1",
		"stream accepted/L1", "bulk accepted/unary", "stream accepted/unary", "stream done/unary",
	}, ratios)
	for _, measure := range []string{"L1", "L64", "unary", "bulk", "stream", "call", "latency", "lateness", "call-latency"} {
		require.Contains(t, table, "\n  "+measure+" ")
	}
}

func TestSettingsAreCompared(t *testing.T) {
	var r report.Tuning
	table := measured(t, &r, "tune", "--concurrency=2", "--prefetch=1,400%", "--retries=0,0.5", "--work=1ms", "--seconds=0.6")
	require.Len(t, r.Combinations, 4)
	for i, c := range r.Combinations {
		require.Equal(t, 2, c.Concurrency)
		require.Equal(t, []int{1, 1, 8, 8}[i], c.Prefetch)
		require.InDelta(t, []float64{0, 0.5, 0, 0.5}[i], c.Retries, 0)
		require.InDelta(t, 1, c.WorkMillis, 0)
		require.Positive(t, c.Throughput)
		require.Less(t, c.Throughput, 2100.0, "two tasks at a time of 1 ms each")
		require.InDelta(t, c.Throughput/2, c.Offered, 0.01)
		require.Positive(t, c.StartP50)
		require.GreaterOrEqual(t, c.StartP99, c.StartP50)
		require.Positive(t, c.CriticalP50)
		require.Positive(t, c.CriticalTasks)
	}
	require.Contains(t, table, "\n  work 1 ms, 50 % retried ")
}

func TestTracingIsMeasured(t *testing.T) {
	var r report.Report
	table := measured(t, &r, "traces", "--rounds=2", "--tasks=500", "--concurrency=8")
	require.Empty(t, r.Failures)
	require.Equal(t, map[string]int{"off": 500, "1 %": 500, "100 %": 500}, r.Settings.Tasks)
	spans := map[string]float64{}
	for _, v := range r.Values {
		require.Len(t, v.Rounds, 2)
		if v.Name == "spans" {
			for _, n := range v.Rounds {
				spans[v.Measure] += n
			}
			continue
		}
		require.Positive(t, v.Median, "%s %s", v.Measure, v.Name)
	}
	require.Zero(t, spans["off"])
	require.Greater(t, spans["100 %"], 1.0, "a task alone has three")
	require.Less(t, spans["1 %"], spans["100 %"])
	require.Len(t, r.Ratios, 2)
	require.Contains(t, table, "100 % done / off")
}

func TestScheduledTasksAreMeasured(t *testing.T) {
	var r report.Scheduling
	table := measured(t, &r, "scheduled", "--tasks=2000", "--duration=1s")
	require.Positive(t, r.Rate)
	require.Equal(t, 2000, r.After.Tasks)
	require.Greater(t, r.After.StoreBytes, r.Before.StoreBytes)
	for _, w := range []report.Waiting{r.Before, r.After} {
		require.Positive(t, w.ResidentBytes)
		require.GreaterOrEqual(t, w.PeakBytes, w.ResidentBytes)
		require.Positive(t, w.RunNow.P50)
		require.GreaterOrEqual(t, w.RunNow.P99, w.RunNow.P50)
		require.Positive(t, w.Due.P50)
		require.GreaterOrEqual(t, w.Due.P99, w.Due.P50)
	}
	require.Contains(t, table, "\n  tasks that wait ")
}

func TestAnInterruptedRunLeavesNothing(t *testing.T) {
	cmd, dir := bench(t, "--measures=unary", "--rounds=1000", "--tasks=1000")
	log, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(log)
	interrupted := false
	for lines.Scan() {
		if !interrupted && strings.HasPrefix(lines.Text(), "round 1 ") {
			require.NoError(t, cmd.Process.Signal(os.Interrupt))
			interrupted = true
		}
	}
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	require.Equal(t, 1, exit.ExitCode())
	require.True(t, interrupted)
	requireNothingLeft(t, dir)
}

func TestMistakesAreNamed(t *testing.T) {
	for want, args := range map[string][]string{
		"rounds, tasks": {"--rounds=0"},
		"from 0 to 1":   {"tune", "--retries=2"},
		"tasks, dur":    {"scheduled", "--tasks=0"},
		"L2":            {"--measures=L2"},
		"make build":    {"--bin-dir=" + t.TempDir()},
	} {
		cmd, dir := bench(t, args...)
		out, err := cmd.CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), want)
		requireNothingLeft(t, dir)
	}
}
