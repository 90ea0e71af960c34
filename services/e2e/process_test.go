package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	processes "github.com/warrenmq/warren/pkg/process"
)

// process is a child of the test, which dies with it.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

var processCount atomic.Int64

// startProcess starts a program with its output in a file. It is killed at the
// end of the test if it still runs; a failed test shows the end of its log.
func startProcess(t testing.TB, name string, env []string, program string, args ...string) *process {
	t.Helper()
	dir := *keepLogs
	if dir == "" {
		dir = t.TempDir()
	}
	p := &process{
		name: name, done: make(chan struct{}),
		log: filepath.Join(dir, fmt.Sprintf("%s-%d.log", name, processCount.Add(1))),
	}
	out, err := os.Create(p.log)
	require.NoError(t, err)
	defer out.Close()
	p.cmd = exec.Command(program, args...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = append(cleanEnv(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("end of %s:\n%s", p.log, tail(p.log))
		}
	})
	return p
}

// cleanEnv is the environment without settings of Warren's.
func cleanEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "WARREN_") && !strings.HasPrefix(e, "OTEL_") {
			env = append(env, e)
		}
	}
	return env
}

func tail(file string) []byte {
	b, err := os.ReadFile(file)
	if err != nil {
		return []byte(err.Error())
	}
	lines := bytes.Split(b, []byte("\n"))
	lines = lines[max(0, len(lines)-12):]
	for i := range lines {
		lines[i] = lines[i][:min(len(lines[i]), 250)]
	}
	return bytes.Join(lines, []byte("\n"))
}

// said is nil once the process has written a text.
func (p *process) said(text string) error {
	b, err := os.ReadFile(p.log)
	if err == nil && !bytes.Contains(b, []byte(text)) {
		err = fmt.Errorf("%s has not said %q", p.name, text)
	}
	return err
}

// pause stops a process without its knowing; resume lets it go on.
func (p *process) pause(t testing.TB) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGSTOP))
	brokertest.Eventually(t, 10*time.Second, func() bool {
		stopped, err := processes.Stopped(p.cmd.Process.Pid)
		require.NoError(t, err)
		return stopped
	})
}

func (p *process) resume(t testing.TB) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGCONT))
}

// kill kills -9 and waits.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// terminate sends SIGTERM and waits for the end, which it demands within the time.
func (p *process) terminate(t testing.TB, within time.Duration) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.done:
	case <-time.After(within):
		t.Errorf("%s did not stop within %s of SIGTERM:\n%s", p.name, within, tail(p.log))
		p.kill()
	}
}
