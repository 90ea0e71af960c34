package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// However many tasks of a schedule are kept, those that have ended are not looked at.
func TestUnendedIsInAnIndex(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.Equal(t, []string{"SEARCH tasks USING INDEX tasks_unended (schedule_id=?)"}, plan(t, s, selectUnended))
}
