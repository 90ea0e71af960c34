package main

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/cli"
	"github.com/warrenmq/warren/services/worker/internal/target"
)

func parse(args ...string) (*flags, error) {
	f := &flags{}
	_, err := cli.Parse(f, "worker", "", "v-test", args)
	return f, err
}

func TestFlags(t *testing.T) {
	t.Setenv("WARREN_CONCURRENCY", "5")
	f, err := parse("--target=a:1", "--target=b:1", "--tls-ca=ca.pem", "--service=x.Y", "--descriptors=set", "--health-service=h")
	require.NoError(t, err)
	c := f.config(slog.New(slog.DiscardHandler))
	require.Equal(t, []string{"a:1", "b:1"}, c.Target.Names)
	require.Equal(t, target.TLS{CAFile: "ca.pem"}, c.Target.TLS)
	require.Equal(t, "h", c.Target.HealthService)
	require.Equal(t, []string{"x.Y"}, c.Services)
	require.Equal(t, "set", c.DescriptorsFile)
	require.Equal(t, 5, c.Concurrency)
	require.Zero(t, c.Prefetch)
	require.Equal(t, 30*time.Second, c.Grace)
	require.Equal(t, "127.0.0.1:9072", c.MetricsListen)
	require.False(t, c.Profiling)
	require.NoError(t, c.Broker.Validate())
}

func TestFlagsFromTheEnvironment(t *testing.T) {
	t.Setenv("WARREN_TARGET", "a:1 b:1")
	f, err := parse()
	require.NoError(t, err)
	require.Equal(t, []string{"a:1", "b:1"}, f.Target)
	t.Setenv("WARREN_TARGTE", "c:1")
	_, err = parse()
	require.ErrorContains(t, err, "WARREN_TARGTE")
}

func TestProfilesAreAskedFor(t *testing.T) {
	f, err := parse("--target=a:1", "--pprof")
	require.NoError(t, err)
	require.True(t, f.config(slog.New(slog.DiscardHandler)).Profiling)
}

func TestATargetIsRequired(t *testing.T) {
	_, err := parse()
	require.ErrorContains(t, err, "--target")
}
