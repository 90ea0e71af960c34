//go:build unix

package rabbitnode

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFirstDebianArchive(t *testing.T) {
	t.Parallel()
	const targets = `http://packages.example/linux/debian/|Docker|Docker CE|stable
http://mirror.example/debian-security/|Debian|Debian-Security|main
http://mirror.example/debian/|Debian|Debian|contrib
http://mirror.example/debian/|Debian|Debian|main
http://second.example/debian/|Debian|Debian|main
`
	mirror, ok := firstDebianArchive(targets)
	assert.True(t, ok)
	assert.Equal(t, "http://mirror.example/debian", mirror)

	_, ok = firstDebianArchive("http://archive.example/ubuntu/|Ubuntu|Ubuntu|main\n")
	assert.False(t, ok)
	_, ok = firstDebianArchive("http://mirror.example/debian/|||main\n")
	assert.False(t, ok, "a source that was never fetched has no origin")
}

func TestResolveMirror(t *testing.T) {
	t.Parallel()
	plain, err := resolveMirror("http://mirror.example/debian")
	require.NoError(t, err)
	assert.Equal(t, "http://mirror.example/debian", plain)

	list := filepath.Join(t.TempDir(), "debian.list")
	require.NoError(t, os.WriteFile(list, []byte("# mirrors\n\nhttps://near.example/debian/\tpriority:1\n"), 0o600))
	for _, uri := range []string{"mirror+file:" + list, "mirror+file://" + list} {
		first, err := resolveMirror(uri)
		require.NoError(t, err)
		assert.Equal(t, "https://near.example/debian", first)
	}
}
