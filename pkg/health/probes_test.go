package health

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProbes(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	h := New(slog.New(slog.NewTextHandler(&out, nil)), "gateway", Check{"a", nil}, Check{"b", nil})
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.probes().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	requireReady := func(code int, text string) {
		t.Helper()
		gotCode, got := get("/readyz")
		require.Equal(t, code, gotCode)
		require.Equal(t, text, got)
		gotCode, got = get("/healthz")
		require.Equal(t, http.StatusOK, gotCode, "it is up in any case")
		require.Equal(t, "up\n", got)
	}
	requireReady(http.StatusServiceUnavailable, "a: not checked yet\nb: not checked yet\n")
	h.note("a", nil)
	requireReady(http.StatusServiceUnavailable, "b: not checked yet\n")
	h.note("b", errors.New("queue missing"))
	requireReady(http.StatusServiceUnavailable, "b: queue missing\n")
	require.Contains(t, out.String(), `service=b for="queue missing"`, "what it waits for at first is said")
	h.note("b", nil)
	requireReady(http.StatusOK, "ready\n")
	h.note("b", errors.New("locked"))
	requireReady(http.StatusServiceUnavailable, "b: locked\n")
	h.note("b", nil)
	h.Shutdown()
	requireReady(http.StatusServiceUnavailable, "this gateway is stopping\n")
	code, _ := get("/")
	require.Equal(t, http.StatusNotFound, code)
}
