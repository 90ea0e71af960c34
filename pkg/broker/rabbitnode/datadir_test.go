//go:build unix

package rabbitnode

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDataDirKeepsNameAndCookie(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "node")
	d, err := openDataDir(t.Context(), path)
	require.NoError(t, err)
	name, err := d.settleName("")
	require.NoError(t, err)
	cookie, err := d.settleCookie("")
	require.NoError(t, err)
	require.NoError(t, d.close())

	again, err := openDataDir(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, again.close()) })
	sameName, err := again.settleName("")
	require.NoError(t, err)
	assert.Equal(t, name, sameName)
	sameCookie, err := again.settleCookie("")
	require.NoError(t, err)
	assert.Equal(t, cookie, sameCookie)
	_, err = again.settleName("other")
	require.ErrorContains(t, err, name)
}

func TestTemporaryDataDirVanishes(t *testing.T) {
	t.Parallel()
	d, err := openDataDir(t.Context(), "")
	require.NoError(t, err)
	require.NoError(t, d.close())
	_, err = os.Stat(d.path)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestLockFileExcludesAndEndsWithTheContext(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lockFile(t.Context(), path)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = lockFile(ctx, path)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, first.Close())
	second, err := lockFile(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, second.Close())
}

func TestNodeNames(t *testing.T) {
	t.Parallel()
	require.NoError(t, validName("Warren_1-a"))
	for _, name := range []string{"", "a@localhost", "a b", "../a", "a;b", "ä"} {
		require.Error(t, validName(name), name)
	}
}
