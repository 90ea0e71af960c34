package sqlite

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// A store that is full answers that it is unavailable, keeps what it has, and takes all
// of a batch or nothing; with room again it works.
func TestFullStoreIsUnavailable(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	batch := func(n int) []store.Arrival {
		arrivals := make([]store.Arrival, n)
		for i := range arrivals {
			arrivals[i] = store.Arrival{
				ID: task.NewID(), Type: "a.v1.A.B", Message: store.Message{Body: make([]byte, 10_000)},
				Occurrence: store.Occurrence{Run: 1, Cause: task.CauseExpired},
			}
		}
		return arrivals
	}
	limit := func(pages int) {
		_, err := s.db.Writer.ExecContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", pages))
		require.NoError(t, err)
	}
	count := func() int64 {
		n, err := s.Count(t.Context(), store.Query{})
		require.NoError(t, err)
		return n
	}
	_, err = s.Put(t.Context(), batch(1))
	require.NoError(t, err)
	var pages int
	require.NoError(t, s.db.Writer.QueryRowContext(t.Context(), "PRAGMA page_count").Scan(&pages))
	limit(pages + 5)
	many := batch(20)
	for range 2 {
		_, err = s.Put(t.Context(), many)
		require.ErrorIs(t, err, store.ErrUnavailable)
		require.ErrorContains(t, err, "full")
		require.EqualValues(t, 1, count())
	}
	limit(1 << 30)
	_, err = s.Put(t.Context(), many)
	require.NoError(t, err)
	require.EqualValues(t, 21, count())
}
