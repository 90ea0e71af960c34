//go:build unix

package rabbitnode

import (
	"bytes"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGroupRunsToItsEnd(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	g, err := startGroup(groupSpec{argv: []string{"/bin/sh", "-c", "echo out; echo err >&2; exit 3"}, out: &out})
	require.NoError(t, err)
	<-g.done
	require.ErrorContains(t, g.err, "exit status 3")
	assert.Equal(t, "out\nerr\n", out.String())
	require.NoError(t, g.signal(syscall.SIGTERM), "signalling what has ended")
	require.NoError(t, g.kill(), "killing what has ended")
}

func TestGroupKillReachesDescendants(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer read.Close()
	// The pipe ends when the last process that holds it does.
	g, err := startGroup(groupSpec{
		argv: []string{"/bin/sh", "-c", "sleep 600 & echo up >&3; wait"}, inherit: []*os.File{write},
	})
	require.NoError(t, err)
	require.NoError(t, write.Close())
	b := make([]byte, 3)
	_, err = read.Read(b)
	require.NoError(t, err)
	require.NoError(t, g.kill())
	_, err = read.Read(b)
	require.ErrorContains(t, err, "EOF")
}

func TestLastLines(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "b\nc", string(lastLines([]byte("a\nb\nc\n"), 2)))
	assert.Equal(t, "a", string(lastLines([]byte("a"), 2)))
	assert.Empty(t, lastLines(nil, 2))
}
