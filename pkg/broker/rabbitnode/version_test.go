//go:build unix

package rabbitnode

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]version{
		"4.3.6":      {4, 3, 6},
		"4.3.6-rc.1": {4, 3, 6},
		"4.3.10.ez":  {4, 3, 10},
	} {
		got, ok := parseVersion(text)
		assert.True(t, ok, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "4.3", "common-4.3.6"} {
		_, ok := parseVersion(text)
		assert.False(t, ok, text)
	}
}

func TestSupportedVersions(t *testing.T) {
	t.Parallel()
	for v, want := range map[version]bool{
		{4, 3, 3}: true, {4, 3, 12}: true, {4, 3, 2}: false, {4, 4, 5}: false, {3, 13, 7}: false, {4, 2, 9}: false,
	} {
		assert.Equal(t, want, v.supported(), v)
	}
}

func TestHomeBehindFindsPackagedAndPlainInstallations(t *testing.T) {
	t.Parallel()
	for name, layout := range map[string]struct{ server, home string }{
		"unpacked": {"opt/rabbitmq_server-4.3.6/sbin/rabbitmq-server", "opt/rabbitmq_server-4.3.6"},
		"packaged": {"usr/sbin/rabbitmq-server", "usr/lib/rabbitmq/lib/rabbitmq_server-4.3.6"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, err := filepath.EvalSymlinks(t.TempDir())
			require.NoError(t, err)
			server, home := filepath.Join(root, layout.server), filepath.Join(root, layout.home)
			require.NoError(t, os.MkdirAll(filepath.Dir(server), 0o755))
			require.NoError(t, os.WriteFile(server, nil, 0o755))
			for _, plugin := range []string{"rabbit-4.3.6", "rabbit_common-4.3.6", "rabbitmq_management-4.3.6"} {
				require.NoError(t, os.MkdirAll(filepath.Join(home, "plugins", plugin), 0o755))
			}
			got, v, ok := homeBehind(server)
			require.True(t, ok)
			assert.Equal(t, home, got)
			assert.Equal(t, version{4, 3, 6}, v)
		})
	}
}
