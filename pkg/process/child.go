//go:build unix

package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Spec says what to run.
type Spec struct {
	// Name is what people call the child.
	Name string
	// Program is the path of the executable.
	Program string
	// Args are its arguments, without the program's own name.
	Args []string
	// Env are variables, in the form NAME=VALUE, beside those of this process.
	// Of these the child gets no WARREN_ ones: they are this process's
	// settings, and not its children's.
	Env []string
	// LogFile gets the child's standard output and error. What it held before
	// is lost.
	LogFile string
	// Stdout, if it is not nil, gets the standard output in the log's place.
	Stdout *os.File
}

// Child is a program that was started. Its methods may be called from any
// goroutine.
type Child struct {
	name    string
	logFile string
	cmd     *exec.Cmd
	done    chan struct{}
	err     error // how it exited, once done is closed
}

// Start starts the program.
func Start(spec Spec) (*Child, error) {
	log, err := os.Create(spec.LogFile)
	if err != nil {
		return nil, fmt.Errorf("create the log of %s: %w", spec.Name, err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(spec.Program, spec.Args...) //nolint:noctx // Stop ends it, asking first
	cmd.Env = append(withoutWarren(os.Environ()), spec.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	if spec.Stdout != nil {
		cmd.Stdout = spec.Stdout
	}
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	c := &Child{name: spec.Name, logFile: spec.LogFile, cmd: cmd, done: make(chan struct{})}
	go func() {
		c.err = cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// Name is what people call the child.
func (c *Child) Name() string { return c.name }

// Pid is the child's process id.
func (c *Child) Pid() int { return c.cmd.Process.Pid }

// LogFile is the path of the file with the child's output.
func (c *Child) LogFile() string { return c.logFile }

// Done is closed when the child has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Ended says how the child ended, once Done is closed. A child that nobody
// stopped was not meant to end, so it is an error even after exit status 0.
func (c *Child) Ended() error {
	<-c.done
	if c.err == nil {
		return fmt.Errorf("%s ended by itself", c.name)
	}
	return fmt.Errorf("%s ended by itself: %w", c.name, c.err)
}

// Stop asks the child to end, with SIGTERM, and kills it when it has not done
// so within the grace. That, or an exit status other than 0, is an error. It
// returns when the child has ended; a second call changes nothing.
func (c *Child) Stop(grace time.Duration) error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", c.name, err)
	}
	if c.endedWithin(grace) {
		if c.err != nil {
			return fmt.Errorf("stop %s: %w", c.name, c.err)
		}
		return nil
	}
	// The group, because what the child started must not stay either.
	if err := syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill %s: %w", c.name, err)
	}
	<-c.done
	return fmt.Errorf("stop %s: still there %v after SIGTERM, so it was killed", c.name, grace)
}

// endedWithin waits for the end, also where it has come and there is no time left.
func (c *Child) endedWithin(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.done:
		return true
	case <-timer.C:
	}
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// withoutWarren is env without the variables that Warren's programs read.
func withoutWarren(env []string) []string {
	var kept []string
	for _, variable := range env {
		if !strings.HasPrefix(variable, "WARREN_") {
			kept = append(kept, variable)
		}
	}
	return kept
}
