//go:build unix && !linux

package platform

import "syscall"

// attributes give a child a process group, so that Ctrl-C in a terminal reaches
// this process alone.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
