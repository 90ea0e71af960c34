//go:build unix

package service

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRunRefusesMistakes(t *testing.T) {
	t.Parallel()
	taken := listen(t)
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte(secret), 0o600))
	for name, c := range map[string]struct {
		edit func(*Config)
		says string
	}{
		"broker":                  {func(c *Config) { c.Broker.URLs = []string{"http://x"} }, "configure the broker"},
		"listen is taken":         {func(c *Config) { c.Listen = taken.Addr().String() }, "--listen"},
		"listen for all":          {func(c *Config) { c.Listen = "0.0.0.0:0" }, "--insecure"},
		"metrics is taken":        {func(c *Config) { c.MetricsListen = taken.Addr().String() }, "--metrics-listen"},
		"store":                   {func(c *Config) { c.StoreURL = "mysql:x" }, "open the store"},
		"no gateway":              {func(c *Config) { c.Gateway = "" }, "--gateway"},
		"webhook without secret":  {func(c *Config) { c.Webhook.URL = "https://example.com/" }, "--webhook-secret-file"},
		"secret is missing":       {func(c *Config) { c.Webhook = WebhookConfig{URL: "https://example.com/", SecretFile: file + "x"} }, "--webhook-secret-file"},
		"secret is none":          {func(c *Config) { c.Webhook = WebhookConfig{URL: "https://example.com/", SecretFile: "/dev/null"} }, "whsec_"},
		"webhook beyond, in http": {func(c *Config) { c.Webhook = WebhookConfig{URL: "http://example.com/", SecretFile: file} }, "https"},
		"webhook type":            {func(c *Config) { c.Webhook.Types = []string{"["} }, "--webhook-type"},
		"webhook code":            {func(c *Config) { c.Webhook.Codes = []string{"NONE"} }, "NONE"},
		"webhook code for none":   {func(c *Config) { c.Webhook.Codes = []string{"INTERNAL"} }, "--webhook-url"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, "amqp://127.0.0.1:1/", "127.0.0.1:1", slog.New(slog.DiscardHandler))
			c.edit(&cfg)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			require.ErrorContains(t, Run(ctx, cfg), c.says)
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for name, metrics := range map[string]string{"metrics": "127.0.0.1:0", "no metrics": ""} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		cfg := config(t, "amqp://127.0.0.1:1/", "127.0.0.1:1", slog.New(slog.DiscardHandler))
		cfg.MetricsListen = metrics
		require.NoError(t, Run(ctx, cfg), name)
	}
}
