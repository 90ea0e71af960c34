package lazy_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
	"github.com/warrenmq/warren/services/deadletter/internal/store/lazy"
	"github.com/warrenmq/warren/services/deadletter/internal/store/sqlite"
	"github.com/warrenmq/warren/services/deadletter/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openFile opens the store in a file.
func openFile(path string) func(context.Context) (store.Store, error) {
	return func(ctx context.Context) (store.Store, error) {
		s, err := sqlite.Open(ctx, "sqlite:"+path, sqlite.Options{})
		if err != nil {
			return nil, err
		}
		return s, nil
	}
}

func file(t *testing.T) string { return filepath.Join(t.TempDir(), "store.db") }

func open(t *testing.T, by func(context.Context) (store.Store, error)) *lazy.Store {
	t.Helper()
	s, err := lazy.Open(t.Context(), slog.New(slog.DiscardHandler), by)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestPassesAllOnOnceOpen(t *testing.T) {
	t.Parallel()
	ctx, id := t.Context(), task.NewID()
	s := open(t, openFile(file(t)))
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
	s := open(t, func(ctx context.Context) (store.Store, error) {
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

func TestSlowOpenIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	s, err := lazy.Open(t.Context(), slog.New(slog.DiscardHandler), func(ctx context.Context) (store.Store, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	require.NoError(t, err)
	require.ErrorIs(t, s.Check(t.Context()), store.ErrUnavailable)
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Check(t.Context()), store.ErrUnavailable)
}

func TestFaultShowsAtOnce(t *testing.T) {
	t.Parallel()
	fault := errors.New("no such scheme")
	_, err := lazy.Open(t.Context(), slog.New(slog.DiscardHandler), func(context.Context) (store.Store, error) {
		return nil, fault
	})
	require.ErrorIs(t, err, fault)
}
