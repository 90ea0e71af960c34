package retry_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/retry"
)

func TestUntilItSucceeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		tries, began := 0, time.Now()
		require.NoError(t, retry.Until(t.Context(), slog.New(slog.NewTextHandler(&out, nil)), "the store", func() error {
			if tries++; tries < 30 {
				return errors.New("locked")
			}
			return nil
		}))
		require.Equal(t, 30, tries)
		took := time.Since(began)
		require.Greater(t, took, 10*time.Second)
		require.Less(t, took, 30*time.Second)
		require.LessOrEqual(t, strings.Count(out.String(), "the store does not work"), 3, "not with every try")
		require.Equal(t, 1, strings.Count(out.String(), "the store works again"))
	})
}

func TestUntilTheContextEnds(t *testing.T) {
	t.Parallel()
	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	tries := 0
	err := retry.Until(ctx, slog.New(slog.DiscardHandler), "the store", func() error {
		if tries++; tries == 3 {
			cancel(stopped)
		}
		return errors.New("locked")
	})
	require.ErrorIs(t, err, stopped)
	require.Equal(t, 3, tries)
	require.False(t, retry.Pause(ctx, time.Hour))
}
