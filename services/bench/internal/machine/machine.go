// Package machine says what the measures were made on.
package machine

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Facts are about the machine and what runs on it. What can't be told is empty.
type Facts struct {
	Cores      int    `json:"cores"`
	CPU        string `json:"cpu"`
	Kernel     string `json:"kernel"`
	System     string `json:"system"`
	Go         string `json:"go"`
	Filesystem string `json:"filesystem"`
}

// Look gives the facts; the file system is that of the folder.
func Look(dir string) Facts {
	return Facts{
		Cores:      runtime.NumCPU(),
		CPU:        cpuModel(read("/proc/cpuinfo")),
		Kernel:     strings.TrimSpace(string(read("/proc/sys/kernel/osrelease"))),
		System:     runtime.GOOS + "/" + runtime.GOARCH,
		Go:         runtime.Version(),
		Filesystem: filesystem(read("/proc/self/mounts"), dir),
	}
}

// read gives nothing for a file that is not there, as on other systems than
// Linux.
func read(file string) []byte {
	text, _ := os.ReadFile(file)
	return text
}

// cpuModel is the first core's.
func cpuModel(cpuinfo []byte) string {
	lines := bufio.NewScanner(bytes.NewReader(cpuinfo))
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// escapes are how the kernel writes what would end a field (fstab(5)).
var escapes = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// filesystem is the type of the one that a folder is on: that of the longest
// mount point that leads to it, the last of equal ones.
func filesystem(mounts []byte, dir string) string {
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	found, length := "", -1
	lines := bufio.NewScanner(bytes.NewReader(mounts))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 {
			continue
		}
		point := strings.TrimSuffix(escapes.Replace(fields[1]), "/")
		if (dir == point || strings.HasPrefix(dir, point+"/")) && len(point) >= length {
			found, length = fields[2], len(point)
		}
	}
	return found
}
