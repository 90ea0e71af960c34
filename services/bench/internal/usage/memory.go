package usage

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Memory is how much memory a process has, in bytes.
type Memory struct {
	// Resident is what it has now, and Peak the most that it has had.
	Resident, Peak int64
}

// ProcessMemory is the memory of a process.
func ProcessMemory(pid int) (Memory, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return Memory{}, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	m, err := parseMemory(string(text))
	if err != nil {
		return Memory{}, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	return m, nil
}

// kibi is the unit of sizes in /proc/PID/status, which calls it kB
// (proc_pid_status(5)).
const kibi = 1 << 10

func parseMemory(status string) (Memory, error) {
	var m Memory
	found := 0
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		var into *int64
		switch name {
		case "VmRSS":
			into = &m.Resident
		case "VmHWM":
			into = &m.Peak
		default:
			continue
		}
		size, unit, _ := strings.Cut(strings.TrimSpace(value), " ")
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil || unit != "kB" {
			return Memory{}, fmt.Errorf("the line %q is not understood", line)
		}
		*into = n * kibi
		found++
	}
	if found != 2 {
		return Memory{}, fmt.Errorf("its status has %d of the lines VmRSS and VmHWM", found)
	}
	return m, nil
}
