package target

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMetadataGoesToOtherMachinesWithTLSOnly(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "metadata")
	write(t, file, "authorization: Bearer one\n")
	m, err := ReadMetadata(file, quiet())
	require.NoError(t, err)
	here := []string{
		"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "localhost", "::1", "dns:///localhost:1", "dns:127.0.0.1:1",
		"passthrough:///[::1]:1", "unix:/run/x.sock", "unix:///run/x.sock", "unix:x.sock", "unix-abstract:x",
	}
	beyond := []string{
		"images:50051", "10.0.0.1:1", "0.0.0.0:1", "[fe80::1]:1", "dns:///images:50051", "dns://10.0.0.1/localhost:1",
		"dns://localhost/images:1", "passthrough:///images:1", "localhost.example:1", "xds:///localhost:1",
	}
	for _, name := range here {
		require.NoError(t, Config{Names: []string{name}, Metadata: m}.checkMetadata(), name)
	}
	for _, name := range beyond {
		c := Config{Names: []string{name}, Metadata: m}
		_, err := Dial(c)
		require.ErrorContains(t, err, "--metadata-file", name)
		require.ErrorContains(t, err, name)
		require.ErrorContains(t, err, "--insecure")
		require.NoError(t, Config{Names: c.Names}.checkMetadata(), "there is nothing to hide")
		c.TLS.ServerName = "images"
		require.NoError(t, c.checkMetadata())
		c.TLS, c.Insecure = TLS{}, true
		require.NoError(t, c.checkMetadata(), "it is meant")
	}
	require.Error(t, Config{Names: []string{"127.0.0.1:1", "images:1"}, Metadata: m}.checkMetadata(), "each counts")
}
