//go:build unix

package service

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
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

func TestProbes(t *testing.T) {
	t.Parallel()
	out := &logged{}
	h := newHealth(slog.New(slog.NewTextHandler(out, nil)), check{"a", nil}, check{"b", nil})
	requireReady := func(code int, text string) {
		t.Helper()
		w := httptest.NewRecorder()
		h.probes().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		require.Equal(t, code, w.Code)
		require.Equal(t, text, w.Body.String())
	}
	requireReady(http.StatusServiceUnavailable, "a: not checked yet\nb: not checked yet\n")
	h.note("a", nil)
	h.note("b", errors.New("queue missing"))
	requireReady(http.StatusServiceUnavailable, "b: queue missing\n")
	require.Contains(t, out.String(), `service=b for="queue missing"`)
	h.note("b", nil)
	requireReady(http.StatusOK, "ready\n")
	h.note("b", errors.New("locked"))
	requireReady(http.StatusServiceUnavailable, "b: locked\n")
	h.note("b", nil)
	h.shutdown()
	requireReady(http.StatusServiceUnavailable, "this dead-letter service is stopping\n")
}
