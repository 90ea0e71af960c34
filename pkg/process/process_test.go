//go:build unix

package process_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/process"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// script starts a shell that runs the text and waits for it to say "ready".
func script(t *testing.T, text string) *process.Child {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready")
	require.NoError(t, syscall.Mkfifo(ready, 0o600))
	child, err := process.Start(process.Spec{
		Name:    "the child",
		Program: "/bin/sh",
		Args:    []string{"-c", text, "sh", ready},
		Env:     []string{"WARREN_GIVEN=given"},
		LogFile: filepath.Join(t.TempDir(), "log"),
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = child.Stop(0) })
	pipe, err := os.Open(ready)
	require.NoError(t, err)
	defer func() { _ = pipe.Close() }()
	line, err := bufio.NewReader(pipe).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	return child
}

func TestStopAsksFirst(t *testing.T) {
	child := script(t, `sleep 1000 & nap=$!; trap 'kill $nap; echo asked; exit 0' TERM; echo ready >"$1"; wait`)
	require.NoError(t, child.Stop(time.Minute))
	require.NoError(t, child.Stop(time.Minute), "a second stop")
	tail, err := process.Tail(child.LogFile(), 1)
	require.NoError(t, err)
	require.Equal(t, "asked", tail)
}

func TestStopKillsAfterTheGrace(t *testing.T) {
	child := script(t, `trap '' TERM; echo ready >"$1"; while :; do sleep 1000; done`)
	require.ErrorContains(t, child.Stop(10*time.Millisecond), "it was killed")
	<-child.Done()
}

func TestEndedTellsHowAChildEnded(t *testing.T) {
	child := script(t, `echo ready >"$1"; exit 3`)
	require.ErrorContains(t, child.Ended(), "the child ended by itself: exit status 3")
	child = script(t, `echo ready >"$1"`)
	require.EqualError(t, child.Ended(), "the child ended by itself")
}

func TestChildrenDoNotSeeOurSettings(t *testing.T) {
	t.Setenv("WARREN_LISTEN", "127.0.0.1:1")
	t.Setenv("OTEL_SERVICE_NAME", "seen")
	child := script(t, `echo ready >"$1"; echo "${WARREN_LISTEN-none} $OTEL_SERVICE_NAME $WARREN_GIVEN"`)
	<-child.Done()
	tail, err := process.Tail(child.LogFile(), 5)
	require.NoError(t, err)
	require.Equal(t, "none seen given", tail)
}

func TestStandardOutputMayGoElsewhere(t *testing.T) {
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "out"))
	require.NoError(t, err)
	child, err := process.Start(process.Spec{
		Name: "the child", Program: "/bin/sh", Args: []string{"-c", "echo out; echo err >&2; echo $$"}, LogFile: filepath.Join(dir, "log"), Stdout: out,
	})
	require.NoError(t, err)
	require.NoError(t, out.Close())
	<-child.Done()
	text, err := os.ReadFile(out.Name())
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("out\n%d\n", child.Pid()), string(text))
	tail, err := process.Tail(child.LogFile(), 5)
	require.NoError(t, err)
	require.Equal(t, "err", tail)
}

func TestStartOfWhatDoesNotExist(t *testing.T) {
	_, err := process.Start(process.Spec{
		Name: "nothing", Program: filepath.Join(t.TempDir(), "no"), LogFile: filepath.Join(t.TempDir(), "log"),
	})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestTail(t *testing.T) {
	var long strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&long, "line %d\n", i)
	}
	for name, test := range map[string]struct {
		text  string
		lines int
		want  string
	}{
		"empty":           {"", 3, ""},
		"one line":        {"a\n", 3, "a"},
		"fewer":           {"a\nb\n", 3, "a\nb"},
		"exactly":         {"a\nb\nc\n", 3, "a\nb\nc"},
		"more":            {"a\nb\nc\nd\n", 3, "b\nc\nd"},
		"no newline":      {"a\nb", 1, "b"},
		"a large one":     {long.String(), 2, "line 19998\nline 19999"},
		"no lines wanted": {"a\n", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "log")
			require.NoError(t, os.WriteFile(file, []byte(test.text), 0o600))
			tail, err := process.Tail(file, test.lines)
			require.NoError(t, err)
			require.Equal(t, test.want, tail)
		})
	}
	_, err := process.Tail(filepath.Join(t.TempDir(), "none"), 1)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestStoppedIsSoOnceNothingRuns(t *testing.T) {
	child := script(t, `echo ready >"$1"; while :; do :; done`)
	stopped := func() bool {
		is, err := process.Stopped(child.Pid())
		require.NoError(t, err)
		return is
	}
	require.False(t, stopped())
	require.NoError(t, syscall.Kill(-child.Pid(), syscall.SIGSTOP))
	require.Eventually(t, stopped, time.Minute, time.Millisecond)
	require.NoError(t, syscall.Kill(-child.Pid(), syscall.SIGCONT))
	require.Eventually(t, func() bool { return !stopped() }, time.Minute, time.Millisecond)
	_ = child.Stop(0)
	require.False(t, stopped(), "there is none")
}
