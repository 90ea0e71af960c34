package sqlite

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// The statements that run all the time must not scan a table, nor sort.
func TestStatementsUseIndices(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	open, err := store.Fields.Parse(`state = OPEN AND message:"timeout" AND labels.customer = "acme"`)
	require.NoError(t, err)
	filtered := selection(store.Query{Filter: open}).SQL()
	const list = `SELECT ` + deadLetterColumns + ` FROM dead_letters d WHERE `
	for _, query := range []string{
		selectLastChange, selectHead, selectDeadLetter, selectOccurrences, selectMessage, selectAudit,
		selectBody, selectRevisions, selectRevision, selectLastRevision, selectRevised, updateRevised,
		updateLatest, updateArrived, updateState, deleteLabels,
		selectIntents, selectIntent, updatePublishing, updatePublished, updateIntentsEnded,
		selectDue, selectNotification, updateSent, updateFailed,
		list + `d.sequence > ? ORDER BY d.sequence LIMIT ?`,
		list + `d.sequence < ? ORDER BY d.sequence DESC LIMIT ?`,
		list + `d.change > ? ORDER BY d.change LIMIT ?`,
		list + filtered + ` AND d.sequence < ? ORDER BY d.sequence DESC LIMIT ?`,
		`SELECT count(*) FROM dead_letters d WHERE ` + filtered,
	} {
		for _, step := range plan(t, s, query) {
			require.NotContains(t, step, "SCAN", query)
			require.NotContains(t, step, "TEMP B-TREE", query)
		}
	}
	require.Contains(t, strings.Join(plan(t, s, countOpen), "\n"), "COVERING INDEX dead_letters_open")
	for _, step := range plan(t, s, list+filtered+` ORDER BY d.sequence LIMIT ?`) {
		if strings.Contains(step, "SEARCH d") {
			require.Contains(t, step, "dead_letters_state")
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
