package rpc_test

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/rpc"
)

// debugging logs everything to where log does.
func debugging(log *slog.Logger) *slog.Logger { return slog.New(everything{log.Handler()}) }

type everything struct{ slog.Handler }

func (everything) Enabled(context.Context, slog.Level) bool { return true }

func TestListenRefusesToBeReachable(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "10.0.0.1:7070", "[2001:db8::1]:0", "[::ffff:10.0.0.1]:0",
		"example.com:0", "localhost.example.com:0", "127.0.0.1.example.com:0",
	} {
		_, err := rpc.Listen(t.Context(), "metrics-listen", address, false)
		require.ErrorContains(t, err, "--metrics-listen "+address)
		require.ErrorContains(t, err, "--insecure")
	}
}

func TestListenOnLoopback(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:0", "localhost:0", "127.1.2.3:0"} {
		l, err := rpc.Listen(t.Context(), "listen", address, false)
		require.NoError(t, err, address)
		require.True(t, l.Addr().(*net.TCPAddr).IP.IsLoopback())
		_, err = rpc.Listen(t.Context(), "listen", l.Addr().String(), false)
		require.ErrorContains(t, err, "--listen", "in use")
		require.NoError(t, l.Close())
	}
}

func TestListenAnywhereIfMeant(t *testing.T) {
	t.Parallel()
	l, err := rpc.Listen(t.Context(), "listen", "0.0.0.0:0", true)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestListenNeedsAnAddress(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "7070", "127.0.0.1", "127.0.0.1:http-ish:1"} {
		_, err := rpc.Listen(t.Context(), "listen", address, true)
		require.ErrorContains(t, err, "--listen", address)
	}
}
