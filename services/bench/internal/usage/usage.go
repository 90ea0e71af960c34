// Package usage says how much CPU time and memory is used, and by which processes,
// as Linux's /proc tells it. Elsewhere nothing can be read.
package usage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc/PID/stat: 1/100 s on every architecture
// (USER_HZ, proc_pid_stat(5)).
const tick = 10 * time.Millisecond

// Where fields are after the command's closing parenthesis, by the numbers of
// proc_pid_stat(5), which counts from 1 and has two fields before.
const (
	fieldGroup  = 5 - 3
	fieldUser   = 14 - 3
	fieldSystem = 15 - 3
)

// sample is what a process's stat says.
type sample struct {
	group int
	used  time.Duration
}

// parse reads the one line of a stat file. The command in it may have spaces and
// parentheses of its own.
func parse(stat string) (sample, error) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return sample{}, fmt.Errorf("a process's stat has no command: %q", stat)
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) <= fieldSystem {
		return sample{}, fmt.Errorf("a process's stat has %d fields after the command: %q", len(fields), stat)
	}
	group, groupErr := strconv.Atoi(fields[fieldGroup])
	user, userErr := strconv.ParseInt(fields[fieldUser], 10, 64)
	system, systemErr := strconv.ParseInt(fields[fieldSystem], 10, 64)
	if err := errors.Join(groupErr, userErr, systemErr); err != nil {
		return sample{}, fmt.Errorf("read a process's stat %q: %w", stat, err)
	}
	return sample{group: group, used: time.Duration(user+system) * tick}, nil
}

// Process is how much CPU time a process has used, in user and kernel mode and in
// all its threads, to 10 ms.
func Process(pid int) (time.Duration, error) {
	s, err := read(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return s.used, nil
}

// Group is how much all processes of a process group have used that are there
// now.
func Group(id int) (time.Duration, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, fmt.Errorf("CPU time of process group %d: %w", id, err)
	}
	var used time.Duration
	found := false
	for _, file := range files {
		// One that has ended since is no error.
		if s, err := read(file); err == nil && s.group == id {
			used += s.used
			found = true
		}
	}
	if !found {
		return 0, fmt.Errorf("CPU time of process group %d: no process of it is in /proc", id)
	}
	return used, nil
}

func read(file string) (sample, error) {
	stat, err := os.ReadFile(file)
	if err != nil {
		return sample{}, err
	}
	return parse(string(stat))
}
