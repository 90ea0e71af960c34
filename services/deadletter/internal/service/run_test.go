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
	"github.com/warrenmq/warren/pkg/ports/porttest"
)

func TestRunRefusesMistakes(t *testing.T) {
	t.Parallel()
	taken := porttest.Listen(t)
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte(secret), 0o600))
	chat := filepath.Join(t.TempDir(), "chat")
	require.NoError(t, os.WriteFile(chat, []byte("generic://example.com/t0ken?disabletls=yes\n"), 0o600))
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
		"notify without file":     {func(c *Config) { c.Notify = []string{"chat"} }, "give NAME=FILE"},
		"notify with a URL":       {func(c *Config) { c.Notify = []string{"slack://t0ken@x"} }, "put the URL into the file"},
		"notify with a URL too":   {func(c *Config) { c.Notify = []string{"chat=slack://t0ken@x"} }, "the name of a file"},
		"notify file is missing":  {func(c *Config) { c.Notify = []string{"chat=" + chat + "x"} }, "--notify"},
		"notify file is none":     {func(c *Config) { c.Notify = []string{"chat=/dev/null"} }, "smtp://USER:PASSWORD@HOST"},
		"notify name":             {func(c *Config) { c.Notify = []string{"Chat=" + chat} }, "lower-case"},
		"notify in plain http":    {func(c *Config) { c.Notify = []string{"chat=" + chat} }, "--insecure"},
		"notify twice": {func(c *Config) {
			c.Insecure, c.Notify = true, []string{"chat=" + chat, "chat=" + chat}
		}, "twice"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, "amqp://127.0.0.1:1/", "127.0.0.1:1", slog.New(slog.DiscardHandler))
			c.edit(&cfg)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := Run(ctx, cfg)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "t0ken")
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
