package ports_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/ports"
)

func TestAPortIsFreeUntilSomebodyListens(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", ports.Loopback(0))
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	require.False(t, ports.Free(t.Context(), listener.Addr().(*net.TCPAddr).Port))

	port, err := ports.AnyFree(t.Context())
	require.NoError(t, err)
	require.NotZero(t, port)
}
