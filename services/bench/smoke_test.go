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

func TestEverythingIsMeasured(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	cmd, dir := bench(t, "--rounds=1", "--tasks=300", "--duration=1s", "--json="+file)
	var log strings.Builder
	cmd.Stderr = &log
	table, err := cmd.Output()
	require.NoError(t, err, "%s\n%s", log.String(), table)
	requireNothingLeft(t, dir)

	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var r report.Report
	require.NoError(t, json.Unmarshal(text, &r))
	require.Empty(t, r.Failures)
	require.Equal(t, map[string]int{"L1": 1200, "L64": 600, "unary": 300, "bulk": 300, "latency": 100}, r.Settings.Tasks)
	require.Regexp(t, `^RabbitMQ 4\.3\.`, r.Broker)

	var values, ratios []string
	for _, v := range r.Values {
		require.Len(t, v.Rounds, 1)
		require.Positive(t, v.Median, "%s %s", v.Measure, v.Name)
		values = append(values, v.Measure+" "+v.Name)
	}
	require.Equal(t, []string{
		"L1 rate", "bulk accepted", "bulk done", "L64 rate", "unary accepted", "unary done",
		"latency accepted p50", "latency accepted p90", "latency accepted p99",
		"latency start p50", "latency start p90", "latency start p99", "latency done p50", "latency done p90", "latency done p99",
	}, values)
	for _, ratio := range r.Ratios {
		ratios = append(ratios, ratio.Measure+" "+ratio.Name+"/"+ratio.Of)
	}
	require.Equal(t, []string{"L64 rate/L1", "unary done/L64", "unary done/L1", "bulk accepted/L1", "bulk done/L1"}, ratios)
	for _, measure := range []string{"L1", "L64", "unary", "bulk", "latency"} {
		require.Contains(t, string(table), "\n  "+measure+" ")
	}
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
