package sqlite

import (
	"bytes"
	"cmp"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/pkg/task"
)

func TestPackedKeysSortAsKeys(t *testing.T) {
	t.Parallel()
	key := rapid.Custom(func(t *rapid.T) task.Key {
		k := task.Key{
			Run:      rapid.IntRange(1, math.MaxInt32).Draw(t, "run"),
			Attempt:  rapid.IntRange(1, math.MaxInt32).Draw(t, "attempt"),
			Delivery: rapid.Int64Min(0).Draw(t, "delivery"),
			Phase:    task.Phase(rapid.IntRange(1, 20).Draw(t, "phase")),
			Sequence: rapid.Int64Min(0).Draw(t, "sequence"),
		}
		copy(k.Copy[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "copy"))
		return k
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := key.Draw(t, "a"), key.Draw(t, "b")
		got, err := unpackKey(packKey(a))
		require.NoError(t, err)
		require.Equal(t, a, got)
		require.Equal(t, cmp.Compare(a.Compare(b), 0), cmp.Compare(bytes.Compare(packKey(a), packKey(b)), 0))
	})
	_, err := unpackKey([]byte("short"))
	require.Error(t, err)
}

// The statements that run all the time must not scan a table, nor sort.
func TestStatementsUseIndices(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	for _, query := range []string{
		selectTask, selectTasks, selectTombstones, selectExists, selectBody, selectEvents, selectEventsWithBodies, selectHistory,
		selectEnded, deleteTask, deleteEvents, deleteBodies, deleteTombstones,
	} {
		for _, step := range plan(t, s, query) {
			require.NotContains(t, step, "SCAN", query)
			require.NotContains(t, step, "TEMP B-TREE", query)
		}
	}
}

// plan returns the steps of a query.
func plan(t *testing.T, s *Store, query string) []string {
	t.Helper()
	args := make([]any, strings.Count(query, "?"))
	rows, err := s.db.Writer.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	require.NoError(t, err, query)
	defer func() { require.NoError(t, rows.Close()) }()
	var steps []string
	for rows.Next() {
		var id, parent, unused int
		var step string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &step))
		steps = append(steps, step)
	}
	require.NoError(t, rows.Err())
	return steps
}
