package machine

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

const mounts = `/dev/vda / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/vdb /tmp/with\040space xfs rw 0 0
/dev/vdc /home overlay rw 0 0
/dev/vdd /home btrfs rw 0 0
nonsense
`

func TestFilesystem(t *testing.T) {
	for dir, want := range map[string]string{
		"/": "ext4", "/none/such": "ext4", "/tmp/none-such": "tmpfs", "/tmpfoo": "ext4",
		"/tmp/with space/none": "xfs", "/home/none-such": "btrfs",
	} {
		require.Equal(t, want, filesystem([]byte(mounts), dir), dir)
	}
	require.Empty(t, filesystem(nil, "/"))
}

func TestCPUModel(t *testing.T) {
	require.Equal(t, "Some: Processor", cpuModel([]byte("processor\t: 0\nmodel name\t: Some: Processor\nmodel name\t: Other\n")))
	require.Empty(t, cpuModel([]byte("processor : 0\n")))
}

func TestLook(t *testing.T) {
	facts := Look(t.TempDir())
	require.Equal(t, runtime.NumCPU(), facts.Cores)
	require.Equal(t, runtime.Version(), facts.Go)
	if runtime.GOOS == "linux" {
		require.NotEmpty(t, facts.Filesystem)
		require.NotEmpty(t, facts.Kernel)
	}
}
