package gateway

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/broker"
)

// config is a valid one; nobody listens at its broker.
func config(t *testing.T) Config {
	t.Helper()
	return Config{
		Broker: broker.Config{URLs: []string{"amqp://127.0.0.1:1/"}, Namespace: "warren", Name: "a test", Logger: quiet()},
		Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0", StoreURL: "sqlite:" + filepath.Join(t.TempDir(), "store.db"),
		MaxPayloadBytes: 1 << 20, Retention: time.Hour, Grace: time.Second, Logger: quiet(),
	}
}

func TestRunRefusesMistakes(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for name, c := range map[string]struct {
		edit func(*Config)
		says string
	}{
		"no payload":             {func(c *Config) { c.MaxPayloadBytes = 0 }, "--max-payload-bytes"},
		"payload too large":      {func(c *Config) { c.MaxPayloadBytes = MaxPayloadLimit + 1 }, "--max-payload-bytes"},
		"broker":                 {func(c *Config) { c.Broker.URLs = []string{"http://x"} }, "configure the broker"},
		"listen is taken":        {func(c *Config) { c.Listen = taken.Addr().String() }, "--listen"},
		"metrics is taken":       {func(c *Config) { c.MetricsListen = taken.Addr().String() }, "--metrics-listen"},
		"metrics for all to see": {func(c *Config) { c.MetricsListen = "0.0.0.0:0" }, "--insecure"},
		"store":                  {func(c *Config) { c.StoreURL = "mysql:x" }, "open the store"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			c.edit(&cfg)
			require.ErrorContains(t, Run(t.Context(), cfg), c.says)
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for name, metrics := range map[string]string{"metrics": "127.0.0.1:0", "no metrics": ""} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		cfg := config(t)
		cfg.MetricsListen = metrics
		require.NoError(t, Run(ctx, cfg), name)
	}
}
