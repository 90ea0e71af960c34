//go:build unix

package platform

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/warrenmq/warren/pkg/ports"
)

func TestCheckBinariesNamesTheMissingOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{gatewayBinary, deadletterBinary, workerBinary} {
		require.ErrorContains(t, CheckBinaries(dir), "the program "+name+" is not there")
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o755))
	}
	require.NoError(t, CheckBinaries(dir))
}

func TestOldLogsAreRemoved(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: t.TempDir()}
	require.NoError(t, cfg.removeLogs(), "there are none")
	for _, name := range []string{gatewayLog, deadletterLog, workerLog, "gateway.db"} {
		require.NoError(t, os.WriteFile(filepath.Join(cfg.Dir, name), nil, 0o600))
	}
	require.NoError(t, cfg.removeLogs())
	left, err := os.ReadDir(cfg.Dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, "gateway.db", left[0].Name())
}

func TestCheckListenNamesTheFlag(t *testing.T) {
	t.Parallel()
	listener, err := ports.Listen(t.Context())
	require.NoError(t, err)
	address := listener.Addr().String()
	require.ErrorContains(t, CheckListen(t.Context(), "deadletter-listen", address), "--deadletter-listen")
	require.NoError(t, listener.Close())
	require.NoError(t, CheckListen(t.Context(), "deadletter-listen", address))
}
