package probe_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/warrenmq/warren/pkg/ports/porttest"
	"github.com/warrenmq/warren/services/healthcheck/internal/probe"
)

func TestHTTP(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/fine", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/waits", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "waits for the broker", http.StatusServiceUnavailable)
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	require.NoError(t, probe.Check(t.Context(), s.URL+"/fine"))
	err := probe.Check(t.Context(), s.URL+"/waits")
	require.ErrorContains(t, err, "503")
	require.ErrorContains(t, err, "waits for the broker")
	require.Error(t, probe.Check(t.Context(), s.URL+"/unknown"))
	require.Error(t, probe.Check(t.Context(), "http://"+porttest.Address(t)))
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	server, healthy := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(server, healthy)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	require.NoError(t, probe.Check(t.Context(), l.Addr().String()))
	healthy.Shutdown()
	require.ErrorContains(t, probe.Check(t.Context(), l.Addr().String()), "NOT_SERVING")
	require.Error(t, probe.Check(t.Context(), porttest.Address(t)))
}

// Something that takes the connection and never answers is not healthy.
func TestItIsBounded(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for _, target := range []string{l.Addr().String(), "http://" + l.Addr().String()} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		require.Error(t, probe.Check(ctx, target))
		cancel()
	}
}
