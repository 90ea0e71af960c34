package health

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/health/grpc_health_v1"
)

const (
	serving    = grpc_health_v1.HealthCheckResponse_SERVING
	notServing = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	// truth is how late health may be.
	truth = 5 * time.Second
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// dependency works, fails or hangs.
type dependency struct {
	mu  sync.Mutex
	err error
}

func (d *dependency) set(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

var errHangs = errors.New("hangs")

func (d *dependency) works(ctx context.Context) error {
	d.mu.Lock()
	err := d.err
	d.mu.Unlock()
	if errors.Is(err, errHangs) {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func statusOf(t testing.TB, h *Health, service string) grpc_health_v1.HealthCheckResponse_ServingStatus {
	t.Helper()
	r, err := h.server.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
	require.NoError(t, err)
	return r.Status
}

// watching runs a health of two services within a bubble.
func watching(t *testing.T, f func(h *Health, a, b *dependency)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, b := &dependency{}, &dependency{}
		h := New(quiet(), "test", Check{"a", a.works}, Check{"b", b.works})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			h.Run(ctx)
		}()
		synctest.Wait()
		f(h, a, b)
		cancel()
		<-ended
	})
}

func TestHealthIsTrueWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]error{"fails": errors.New("down"), "hangs": errHangs} {
		t.Run(name, func(t *testing.T) {
			watching(t, func(h *Health, a, _ *dependency) {
				require.Equal(t, serving, statusOf(t, h, "a"), "checked at once")
				a.set(fault)
				<-time.After(truth)
				synctest.Wait()
				require.Equal(t, notServing, statusOf(t, h, "a"))
				require.Equal(t, serving, statusOf(t, h, "b"), "each for itself")
				a.set(nil)
				<-time.After(truth)
				synctest.Wait()
				require.Equal(t, serving, statusOf(t, h, "a"))
			})
		})
	}
}

func TestHealthIsUnknownUntilChecked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &dependency{err: errHangs}
		h := New(quiet(), "test", Check{"a", d.works})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			h.Run(ctx)
		}()
		<-time.After(truth)
		synctest.Wait()
		require.Equal(t, notServing, statusOf(t, h, "a"))
		cancel()
		<-ended
	})
}

func TestTrouble(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	h := New(slog.New(slog.NewTextHandler(&out, nil)), "gateway", Check{"a", nil}, Check{"b", nil})
	require.EqualError(t, h.Trouble(), "a: not checked yet\nb: not checked yet")
	h.note("a", nil)
	require.EqualError(t, h.Trouble(), "b: not checked yet")
	h.note("b", errors.New("queue missing"))
	require.EqualError(t, h.Trouble(), "b: queue missing")
	require.Contains(t, out.String(), `service=b for="queue missing"`, "what it waits for at first is said")
	h.note("b", nil)
	require.NoError(t, h.Trouble())
	h.note("b", errors.New("locked"))
	require.EqualError(t, h.Trouble(), "b: locked")
	h.note("b", nil)
	h.Shutdown()
	require.EqualError(t, h.Trouble(), "this gateway is stopping")
}

func TestHealthAfterShutdown(t *testing.T) {
	t.Parallel()
	watching(t, func(h *Health, a, _ *dependency) {
		h.Shutdown()
		require.Equal(t, notServing, statusOf(t, h, "a"))
		a.set(errors.New("down"))
		<-time.After(truth)
		a.set(nil)
		<-time.After(truth)
		synctest.Wait()
		require.Equal(t, notServing, statusOf(t, h, "a"), "for good")
		require.Equal(t, notServing, statusOf(t, h, ""))
	})
}
