package sqldb_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/pkg/telemetry/metrictest"
)

func TestMetricsOfOperations(t *testing.T) {
	m := metrictest.New()
	away, absent := errors.New("away"), errors.New("absent")
	metrics := sqldb.NewMetrics(m.Provider(), "gateway", "sqlite:x", func(err error) string {
		if errors.Is(err, away) {
			return "unavailable"
		}
		return ""
	})
	began := time.Now().Add(-time.Second)
	for _, err := range []error{nil, away, absent, fmt.Errorf("x: %w", context.Canceled), context.DeadlineExceeded} {
		metrics.Done(t.Context(), "Apply", began, err)
	}
	const apply = "warren.operation=Apply,warren.store=gateway"
	require.Equal(t, map[string]float64{
		apply: 2, "error.type=unavailable," + apply: 1, "error.type=canceled," + apply: 1, "error.type=timeout," + apply: 1,
	}, m.Series(t, "warren.store.operation.duration"))
	require.GreaterOrEqual(t, m.Sums(t, "warren.store.operation.duration")[apply], 2.0)
	require.Zero(t, testing.AllocsPerRun(100, func() { metrics.Done(context.Background(), "Apply", began, nil) }))
}

func TestMetricOfTheSize(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	_, err := sqldb.Size("sqlite:" + path)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = sqldb.Size("mysql:x")
	require.ErrorIs(t, err, sqldb.ErrURL)
	require.NoError(t, os.WriteFile(path, make([]byte, 1000), 0o600))
	size, err := sqldb.Size("sqlite:" + path)
	require.NoError(t, err)
	require.EqualValues(t, 1000, size)
	require.NoError(t, os.WriteFile(path+"-wal", make([]byte, 234), 0o600))

	m := metrictest.New()
	metrics := sqldb.NewMetrics(m.Provider(), "deadletter", "sqlite:"+path, func(error) string { return "" })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		metrics.Run(ctx)
	}()
	require.Eventually(t, func() bool { return m.Series(t, "warren.store.size")["warren.store=deadletter"] == 1234 }, time.Minute, time.Millisecond)
	cancel()
	<-done
	require.Empty(t, m.Series(t, "warren.store.size"))
}
