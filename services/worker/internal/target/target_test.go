package target

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/services/worker/internal/targettest"
)

func TestATargetIsReadyWhileItCanBeReached(t *testing.T) {
	t.Parallel()
	server := serving(t, targettest.Config{}, "one")
	target := watched(t, Config{Names: []string{server.Addr}})
	awaitReady(t, target)
	require.EqualValues(t, 1, target.Connections())
	answer, left, err := call(t, target)
	require.NoError(t, err)
	require.Equal(t, "one", answer)
	require.True(t, left)

	server.Stop()
	awaitTrouble(t, target, ErrUnreachable, "connection refused")
	_, left, err = call(t, target)
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.False(t, left, "nobody listens")

	serving(t, targettest.Config{Addr: server.Addr}, "two")
	awaitReady(t, target)
	require.EqualValues(t, 2, target.Connections())
}

func TestATargetThatIsNotServingIsNotReady(t *testing.T) {
	t.Parallel()
	server := serving(t, targettest.Config{}, "one")
	server.Health.SetServingStatus("acme", grpc_health_v1.HealthCheckResponse_SERVING)
	target := watched(t, Config{Names: []string{server.Addr}, HealthService: "acme"})
	awaitReady(t, target)
	server.Health.SetServingStatus("acme", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	awaitTrouble(t, target, ErrUnreachable, "NOT_SERVING")
	_, left, err := call(t, target)
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.False(t, left)
	server.Health.SetServingStatus("acme", grpc_health_v1.HealthCheckResponse_SERVING)
	awaitReady(t, target)
	require.EqualValues(t, 1, target.Connections(), "the connection was kept")
}

func TestATargetWithoutHealthCountsAsServing(t *testing.T) {
	t.Parallel()
	server := targettest.Start(t, targettest.Config{NoHealth: true})
	awaitReady(t, watched(t, Config{Names: []string{server.Addr}, HealthService: "acme"}))
}

func TestChangesAreSignalled(t *testing.T) {
	t.Parallel()
	server := serving(t, targettest.Config{}, "one")
	target := watched(t, Config{Names: []string{server.Addr}})
	awaitReady(t, target)
	ctx, cancel := target.UntilUnready(t.Context())
	defer cancel()
	server.Stop()
	<-ctx.Done()
	require.ErrorIs(t, context.Cause(ctx), ErrUnreachable)
	for target.Ready() {
		<-target.Changed()
	}
	for len(target.Changed()) > 0 {
		<-target.Changed()
	}
	target.Recheck()
	target.Recheck()
	<-target.Changed()
}

// seen gives what has been answered by calls until all of the answers were.
func seen(t *testing.T, target *Target, want ...string) {
	t.Helper()
	got := map[string]bool{}
	brokertest.Eventually(t, patience, func() bool {
		if answer, _, err := call(t, target); err == nil {
			got[answer] = true
		}
		return len(got) == len(want)
	})
	for _, answer := range want {
		require.Contains(t, got, answer)
	}
}

func TestSeveralTargetsAreBalanced(t *testing.T) {
	t.Parallel()
	one, two := serving(t, targettest.Config{}, "one"), serving(t, targettest.Config{}, "two")
	target := watched(t, Config{Names: []string{one.Addr, two.Addr}})
	awaitReady(t, target)
	seen(t, target, "one", "two")

	two.Health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	brokertest.Eventually(t, patience, func() bool {
		for range 10 {
			if answer, _, err := call(t, target); err != nil || answer == "two" {
				return false
			}
		}
		return true
	})
	require.NoError(t, target.Trouble(t.Context()), "one of them is enough")
	two.Health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	seen(t, target, "one", "two")

	one.Stop()
	two.Stop()
	awaitTrouble(t, target, ErrUnreachable, "connection refused")
}

func TestASocketIsATarget(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	require.NoError(t, err)
	targettest.Serve(t, listener, targettest.Config{Handle: answering("here")})
	target := watched(t, Config{Names: []string{"unix:" + path}})
	awaitReady(t, target)
	answer, _, err := call(t, target)
	require.NoError(t, err)
	require.Equal(t, "here", answer)
}

func TestUnixPath(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{"unix:///a/b": "/a/b", "unix:a/b": "a/b", "\x00name": "\x00name"} {
		path, ok := unixPath(address)
		require.True(t, ok, address)
		require.Equal(t, want, path)
	}
	for _, address := range []string{"localhost:80", "127.0.0.1:80", "[::1]:80", "a.b:1"} {
		_, ok := unixPath(address)
		require.False(t, ok, address)
	}
}

func TestDialRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"no target":          {Config{}, "--target is missing"},
		"an empty target":    {Config{Names: []string{""}}, "--target is empty"},
		"a scheme of many":   {Config{Names: []string{"a:1", "dns:///b:1"}}, "dns:///b:1"},
		"a port less":        {Config{Names: []string{"a:1", "b"}}, "HOST:PORT"},
		"a missing CA":       {Config{Names: []string{"a:1"}, TLS: TLS{CAFile: "/nowhere"}}, "--tls-ca"},
		"half of a key pair": {Config{Names: []string{"a:1"}, TLS: TLS{CertFile: "/nowhere"}}, "need each other"},
		"a missing key pair": {Config{Names: []string{"a:1"}, TLS: TLS{CertFile: "/nowhere", KeyFile: "/nowhere"}}, "--tls-cert"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Dial(c.cfg)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// A name that only the scheme of the set knows must not reach the servers.
func TestEachOfSeveralTargetsIsCalledByItsName(t *testing.T) {
	t.Parallel()
	authorities := make(chan string, 100)
	options := []grpc.ServerOption{grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		select {
		case authorities <- strings.Join(incoming(ss.Context())[":authority"], ","):
		default:
		}
		return handler(srv, ss)
	})}
	one, two := serving(t, targettest.Config{Options: options}, "one"), serving(t, targettest.Config{Options: options}, "two")
	target := watched(t, Config{Names: []string{one.Addr, two.Addr}})
	awaitReady(t, target)
	seen(t, target, "one", "two")
	got := map[string]bool{}
	for len(authorities) > 0 {
		got[<-authorities] = true
	}
	require.Equal(t, map[string]bool{one.Addr: true, two.Addr: true}, got)
}
