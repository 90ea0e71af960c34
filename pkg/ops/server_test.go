package ops_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/ops"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 15 * time.Second

// get asks a port without a network.
func get(c ops.Config, path string) (int, string) {
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func ready() error { return nil }

func TestProbes(t *testing.T) {
	t.Parallel()
	var trouble error
	c := ops.Config{Ready: func() error { return trouble }}
	for _, want := range []struct {
		trouble error
		code    int
		text    string
	}{
		{errors.Join(errors.New("a: locked"), errors.New("b: away")), http.StatusServiceUnavailable, "a: locked\nb: away\n"},
		{nil, http.StatusOK, "ready\n"},
	} {
		trouble = want.trouble
		code, text := get(c, "/readyz")
		require.Equal(t, want.code, code)
		require.Equal(t, want.text, text)
		code, text = get(c, "/healthz")
		require.Equal(t, http.StatusOK, code, "it is up in any case")
		require.Equal(t, "up\n", text)
	}
	code, _ := get(c, "/")
	require.Equal(t, http.StatusNotFound, code)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	c := ops.Config{Ready: ready}
	code, _ := get(c, "/metrics")
	require.Equal(t, http.StatusNotFound, code)
	c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "some 1") })
	code, text := get(c, "/metrics")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "some 1", text)
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/pprof/symbol",
		"/debug/pprof/profile?seconds=1", "/debug/pprof/trace?seconds=0.01",
	} {
		code, _ := get(ops.Config{Ready: ready}, path)
		require.Equal(t, http.StatusNotFound, code, "%s is off by default", path)
		code, text := get(ops.Config{Ready: ready, Profiling: true}, path)
		require.Equal(t, http.StatusOK, code, path)
		require.NotEmpty(t, text)
	}
	_, text := get(ops.Config{Ready: ready, Profiling: true}, "/debug/pprof/goroutine?debug=1")
	require.Contains(t, text, "TestProfiles")
}

func TestItServesUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ops.Config{Ready: ready, Logger: slog.New(slog.NewTextHandler(&out, nil))}.Serve(ctx, l)
	}()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	answer, err := client.Get("http://" + l.Addr().String() + "/readyz")
	require.NoError(t, err)
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, "ready\n", string(body))
	cancel()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
	require.Contains(t, out.String(), l.Addr().String())
	require.NotContains(t, out.String(), "level=ERROR")
	_, err = net.Dial("tcp", l.Addr().String())
	require.Error(t, err, "nobody listens any more")
}

func TestNoPort(t *testing.T) {
	t.Parallel()
	ops.Config{Ready: ready}.Serve(t.Context(), nil)
}
