package usage

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Meter says how much CPU time something has used so far.
type Meter func() (time.Duration, error)

// Machine is how much CPU time all that runs on the machine has used, on all its
// cores, and what a hypervisor gave to other machines meanwhile.
func Machine() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("CPU time of the machine: %w", err)
	}
	return busy(string(text))
}

// idleFields are the columns of the first line of /proc/stat that are no use of a
// CPU: idle and iowait. The first eight are user, nice, system, idle, iowait,
// irq, softirq and steal; those after are parts of user and nice (proc_stat(5)).
var idleFields = map[int]bool{3: true, 4: true}

const busyFields = 8

func busy(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) <= busyFields || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	var ticks int64
	for i, field := range fields[1 : busyFields+1] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the first line of /proc/stat, %q: %w", line, err)
		}
		if !idleFields[i] {
			ticks += n
		}
	}
	return time.Duration(ticks) * tick, nil
}

// ReadAll reads all meters.
func ReadAll(meters map[string]Meter) (map[string]time.Duration, error) {
	read := make(map[string]time.Duration, len(meters))
	var failed []error
	for name, meter := range meters {
		used, err := meter()
		failed = append(failed, err)
		read[name] = used
	}
	return read, errors.Join(failed...)
}

// Readable says whether this system tells how much CPU time is used.
func Readable() bool {
	_, err := Machine()
	return err == nil
}
