package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Stopped says whether SIGSTOP has reached every thread of the process with an id, and of
// the process group with it: the signal is sent at once, and threads that run stop when
// the kernel comes to them. It is false where there are none.
//
// https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
func Stopped(id int) (bool, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return false, fmt.Errorf("list the processes: %w", err)
	}
	any := false
	for _, path := range stats {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if _, group := stateOf(path); pid != id && group != id {
			continue
		}
		any = true
		threads, err := filepath.Glob(filepath.Join(filepath.Dir(path), "task", "*", "stat"))
		if err != nil {
			return false, fmt.Errorf("list the threads of process %d: %w", pid, err)
		}
		for _, thread := range threads {
			// One that has ended moves as little as one that is stopped.
			if state, _ := stateOf(thread); state != "T" && state != "Z" && state != "" {
				return false, nil
			}
		}
	}
	return any, nil
}

// stateOf is the state of a process or thread, and the process group that it is in;
// empty if it is gone.
func stateOf(path string) (state string, group int) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", 0
	}
	// The name before them, in brackets, may have spaces and brackets.
	_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 3 {
		return "", 0
	}
	group, _ = strconv.Atoi(fields[2])
	return fields[0], group
}
