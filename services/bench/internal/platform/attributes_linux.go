package platform

import "syscall"

// attributes give a child a process group, so that Ctrl-C in a terminal reaches
// this process alone, and its end with this process's, even by SIGKILL.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
