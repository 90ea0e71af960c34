//go:build unix

package platform

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// program says what to run as a child process.
type program struct {
	// name is what people call it.
	name string
	path string
	args []string
	// settings are variables, NAME=VALUE, beside those of this process, of which it
	// gets no WARREN_ ones.
	settings []string
	// log is a file for what it prints, stdout the file for its standard output if
	// that is another one.
	log    string
	stdout *os.File
}

// child is a process that was started.
type child struct {
	name, log string
	cmd       *exec.Cmd
	// done is closed when it has ended; err is how, then.
	done chan struct{}
	err  error
}

func (p program) start() (*child, error) {
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("create the log of %s: %w", p.name, err)
	}
	defer log.Close()
	cmd := exec.Command(p.path, p.args...) //nolint:noctx // stop ends it, and asks first
	cmd.Env = append(foreign(os.Environ()), p.settings...)
	cmd.Stdout, cmd.Stderr = log, log
	if p.stdout != nil {
		cmd.Stdout = p.stdout
	}
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	c := &child{name: p.name, log: p.log, cmd: cmd, done: make(chan struct{})}
	go func() {
		c.err = cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// foreign leaves out the variables that Warren's processes read: here they are
// the benchmark's own.
func foreign(environ []string) []string {
	var others []string
	for _, v := range environ {
		if !strings.HasPrefix(v, "WARREN_") {
			others = append(others, v)
		}
	}
	return others
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// died is how it ended although nobody stopped it, once done is closed.
func (c *child) died() error {
	return fmt.Errorf("%s ended by itself (%s)", c.name, c.cmd.ProcessState)
}

// stop ends it with SIGTERM and, after the grace, with SIGKILL for it and its
// process group, and waits for its end. Having to kill it is an error, and so is
// an exit status other than 0.
func (c *child) stop(grace time.Duration) error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end %s: %w", c.name, err)
	}
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case <-c.done:
		if c.err != nil {
			return fmt.Errorf("end %s: %w", c.name, c.err)
		}
		return nil
	case <-patience.C:
	}
	if err := syscall.Kill(-c.pid(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill %s: %w", c.name, err)
	}
	<-c.done
	return fmt.Errorf("%s had not ended %v after SIGTERM and was killed", c.name, grace)
}
