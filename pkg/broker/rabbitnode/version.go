//go:build unix

package rabbitnode

import (
	"fmt"
	"path/filepath"
	"strings"
)

// oldestPatch is the first patch release of the 4.3 series that Warren works with.
const oldestPatch = 3

type version struct{ major, minor, patch int }

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v.major, v.minor, v.patch) }

func (v version) supported() bool { return v.major == 4 && v.minor == 3 && v.patch >= oldestPatch }

func (v version) less(w version) bool {
	if v.major != w.major {
		return v.major < w.major
	}
	if v.minor != w.minor {
		return v.minor < w.minor
	}
	return v.patch < w.patch
}

// versionOf reads the version of the RabbitMQ whose home directory is given from the name of its core plugin, because
// `rabbitmq-server --version` starts a broker instead of printing one.
func versionOf(home string) (version, bool) {
	cores, _ := filepath.Glob(filepath.Join(home, "plugins", "rabbit-[0-9]*"))
	var newest version
	found := false
	for _, core := range cores {
		v, ok := parseVersion(strings.TrimPrefix(filepath.Base(core), "rabbit-"))
		if ok && (!found || newest.less(v)) {
			newest, found = v, true
		}
	}
	return newest, found
}

// parseVersion reads "4.3.6" and, without its suffix, "4.3.6-rc.1" or "4.3.6.ez".
func parseVersion(s string) (version, bool) {
	var v version
	if n, err := fmt.Sscanf(s, "%d.%d.%d", &v.major, &v.minor, &v.patch); err != nil || n != 3 {
		return version{}, false
	}
	return v, true
}
