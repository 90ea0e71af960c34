package sqldb_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/sqldb"
)

func TestKind(t *testing.T) {
	t.Parallel()
	require.Equal(t, "sqlite", sqldb.Kind("sqlite:a.db"))
	require.Equal(t, "postgres", sqldb.Kind("postgres://user:password@host/name"))
}

func TestSize(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "a.db")
	_, err := sqldb.Size("sqlite:" + file)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = sqldb.Size("mysql:x")
	require.ErrorIs(t, err, sqldb.ErrURL)
	require.NoError(t, os.WriteFile(file, make([]byte, 100), 0o600))
	size, err := sqldb.Size("sqlite:" + file)
	require.NoError(t, err)
	require.EqualValues(t, 100, size)
	require.NoError(t, os.WriteFile(file+"-wal", make([]byte, 20), 0o600))
	size, err = sqldb.Size("sqlite:" + file)
	require.NoError(t, err)
	require.EqualValues(t, 120, size)
}
