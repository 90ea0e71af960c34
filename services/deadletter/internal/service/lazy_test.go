package service

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/warrenmq/warren/pkg/lazy"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
	"github.com/warrenmq/warren/services/deadletter/internal/store/sqlite"
	"github.com/warrenmq/warren/services/deadletter/internal/store/storetest"
)

// openFile opens the store in a file.
func openFile(path string) func(context.Context) (store.Store, error) {
	return func(ctx context.Context) (store.Store, error) {
		return sqlite.Open(ctx, "sqlite:"+path, sqlite.Options{})
	}
}

func file(t *testing.T) string { return filepath.Join(t.TempDir(), "store.db") }

func lazily(t *testing.T, open func(context.Context) (store.Store, error)) lazyStore {
	t.Helper()
	r, err := lazy.Open(t.Context(), slog.New(slog.DiscardHandler), "the store", store.ErrUnavailable, open)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return lazyStore{r, sqldb.NewMetrics(noop.NewMeterProvider(), "deadletter", "", storeProblem)}
}

func TestPassesAllOnOnceOpen(t *testing.T) {
	t.Parallel()
	ctx, id := t.Context(), task.NewID()
	s := lazily(t, openFile(file(t)))
	opened := func() bool { return s.Check(ctx) == nil }
	require.Eventually(t, opened, 10*time.Second, 10*time.Millisecond)
	for name, call := range storetest.Calls(ctx, s, id) {
		require.NotErrorIs(t, call(), store.ErrUnavailable, name)
	}
	d, err := s.Get(ctx, id, true)
	require.NoError(t, err)
	require.Equal(t, id, d.ID)
	require.NoError(t, s.Close())
	for name, call := range storetest.Calls(ctx, s, id) {
		require.ErrorIs(t, call(), store.ErrUnavailable, name)
	}
}

func TestUnavailableUntilOpen(t *testing.T) {
	t.Parallel()
	path, there := file(t), make(chan struct{})
	s := lazily(t, func(ctx context.Context) (store.Store, error) {
		select {
		case <-there:
			return openFile(path)(ctx)
		default:
			return nil, fmt.Errorf("%w: locked", store.ErrUnavailable)
		}
	})
	for name, call := range storetest.Calls(t.Context(), s, task.NewID()) {
		require.ErrorIs(t, call(), store.ErrUnavailable, name)
	}
	close(there)
	require.Eventually(t, func() bool { return s.Check(t.Context()) == nil }, 10*time.Second, 10*time.Millisecond)
}
