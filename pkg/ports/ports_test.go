package ports_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/ports"
)

func TestAPortIsFreeUntilSomebodyListens(t *testing.T) {
	t.Parallel()
	listener, err := ports.Listen(t.Context())
	require.NoError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	require.False(t, ports.Free(t.Context(), port))
	require.ErrorContains(t, ports.Check(t.Context(), port), "in use")
	require.NoError(t, listener.Close())
	require.True(t, ports.Free(t.Context(), port))
}

// What was given back is not given to the next that asks: its owner may be about to use it.
func TestAPortIsGivenOnce(t *testing.T) {
	t.Parallel()
	given := map[int]bool{}
	for range 500 {
		port, err := ports.AnyFree(t.Context())
		require.NoError(t, err)
		require.False(t, given[port])
		require.Less(t, port, 32_768, "Linux gives the ports from there to outgoing connections")
		given[port] = true
	}
}
