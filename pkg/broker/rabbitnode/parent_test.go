//go:build unix

package rabbitnode_test

import (
	"bufio"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

func TestNodeDiesWithItsKilledParent(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"running", "paused"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			dir, ports := killedParent(t, how)
			for _, port := range ports {
				brokertest.Eventually(t, 10*time.Second, func() error { return refused(port) })
			}
			brokertest.Eventually(t, 10*time.Second, func() bool {
				_, err := os.Stat(dir)
				return errors.Is(err, os.ErrNotExist)
			})
		})
	}
}

// killedParent runs this binary as the parent of a node, kills it with SIGKILL once the node is up, and returns the
// node's data folder and ports.
func killedParent(t *testing.T, how string) (dir string, ports []string) {
	t.Helper()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentEnv+"="+how)
	parent.Stderr = os.Stderr
	_, err := parent.StdinPipe()
	require.NoError(t, err)
	stdout, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, readErr := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, parent.Process.Signal(syscall.SIGKILL))
	_ = parent.Wait()
	require.NoError(t, readErr)
	fields := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" []\n", r) })
	require.GreaterOrEqual(t, len(fields), 4)
	return fields[0], fields[1:]
}

func refused(port string) error {
	conn, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	if err == nil {
		_ = conn.Close()
		err = errors.New("somebody listens")
	}
	return errors.New("port " + port + ": " + err.Error())
}
