package usage

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// burn uses CPU time until the meter has gone up by so much.
func burn(t *testing.T, meter Meter, by time.Duration) {
	t.Helper()
	before, err := meter()
	require.NoError(t, err)
	deadline := time.Now().Add(20 * time.Second)
	for used := before; used < before+by; {
		require.True(t, time.Now().Before(deadline), "no CPU time was counted")
		used, err = meter()
		require.NoError(t, err)
	}
}

func TestThisProcessAndItsMachine(t *testing.T) {
	require.True(t, Readable())
	burn(t, func() (time.Duration, error) { return Process(os.Getpid()) }, 3*tick)
	burn(t, Machine, 3*tick)
	_, err := Process(1 << 30)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestAGroupHasAllItsProcesses(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "while :; do :; done & cat; kill $!; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	input, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	group := cmd.Process.Pid
	defer func() { _ = syscall.Kill(-group, syscall.SIGKILL) }()
	burn(t, func() (time.Duration, error) { return Group(group) }, 5*tick)
	own, err := Process(group)
	require.NoError(t, err)
	require.Less(t, own, 5*tick, "the shell itself only waits")
	require.NoError(t, input.Close())
	_ = cmd.Wait()
	_, err = Group(group)
	require.ErrorContains(t, err, "no process of it")
}

func TestThisProcessHasMemory(t *testing.T) {
	m, err := ProcessMemory(os.Getpid())
	require.NoError(t, err)
	require.Positive(t, m.Resident)
	require.GreaterOrEqual(t, m.Peak, m.Resident)
	_, err = ProcessMemory(1 << 30)
	require.ErrorIs(t, err, os.ErrNotExist)
}
