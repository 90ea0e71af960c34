package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// empty is the file of a store with nothing in it. It is migrated once for all
// tests, which costs most of what opening a new store does. Stores that begin with
// it have the same identity.
var empty = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "empty-store-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "store.db")
	s, err := Open(context.Background(), "sqlite:"+file, Options{})
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
})

// EmptyFile makes the file of an empty store.
func EmptyFile(t testing.TB) string {
	t.Helper()
	content, err := empty()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "store.db")
	require.NoError(t, os.WriteFile(file, content, 0o600))
	return file
}

// OpenHasty opens the store in a file for a test that is not about what outlives a
// crash of the machine: commits don't wait for the disk.
func OpenHasty(t testing.TB, file string) *Store {
	t.Helper()
	s, err := Open(t.Context(), "sqlite:"+file, Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	_, err = s.db.Writer.ExecContext(t.Context(), `PRAGMA synchronous = OFF`)
	require.NoError(t, err)
	return s
}

// openHere opens an empty store.
func openHere(t testing.TB) *Store {
	t.Helper()
	return OpenHasty(t, EmptyFile(t))
}
