package process

import "syscall"

// attributes kills the child with its parent. The kernel means the thread that
// started it; Go ends a thread only when a goroutine that is locked to it
// returns: start children from none of those.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
