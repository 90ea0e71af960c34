//go:build unix

package rabbitnode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/warrenmq/warren/pkg/process"
	"github.com/warrenmq/warren/pkg/retry"
)

// A group is a child process with a process group of its own, killed as a whole when this process ends in whatever way.
//
// Beside the child runs a watcher, a shell that reads from a pipe whose other end only this process holds. End of file
// there means that this process is gone. The watcher has its own process group, so that stopping the child's (SIGSTOP)
// does not stop the watcher.
type group struct {
	child    *exec.Cmd
	watcher  *exec.Cmd
	lifeline *os.File
	atEnd    func()

	// done is closed when the child has ended; err is its exit then.
	done chan struct{}
	err  error
}

// groupSpec says what a group runs.
type groupSpec struct {
	argv []string
	// env is the whole environment.
	env []string
	// out receives what the child prints.
	out io.Writer
	// inherit are files that the child and its descendants keep open.
	inherit []*os.File
	// litter are paths that the watcher removes when this process ended before it could do so itself.
	litter []string
	// atEnd, when not nil, is called once the child has ended.
	atEnd func()
}

const (
	// A child runs its program only after its watcher is there: at the line that this process then writes.
	awaitWatcher = `read -r go || exit 125; exec "$@" </dev/null`

	// A watcher ends quietly at a line, and acts at end of file. It waits for the group to be gone before it removes
	// anything, up to five seconds, since unreaped processes count as members.
	watch = `read -r released && exit 0
kill -s KILL -- "-$1" 2>/dev/null
n=0
while [ "$n" -lt 50 ] && kill -s 0 -- "-$1" 2>/dev/null; do sleep 0.1; n=$((n + 1)); done
shift
[ "$#" -eq 0 ] || rm -rf -- "$@"`

	// outputGrace is how long to wait for the output of a child that has ended while a descendant holds the pipe.
	outputGrace = 2 * time.Second

	// stopTimeout is how long a process may take to stop, on a machine that is very busy.
	stopTimeout = 10 * time.Second
)

func startGroup(spec groupSpec) (*group, error) {
	goRead, goWrite, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	defer goRead.Close()
	defer goWrite.Close()
	child := exec.Command("/bin/sh", append([]string{"-c", awaitWatcher, "sh"}, spec.argv...)...)
	child.Env = spec.env
	child.Stdin = goRead
	child.Stdout, child.Stderr = spec.out, spec.out
	child.ExtraFiles = spec.inherit
	child.WaitDelay = outputGrace
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", spec.argv[0], err)
	}
	g := &group{child: child, atEnd: spec.atEnd, done: make(chan struct{})}
	if err := g.startWatcher(spec.litter); err != nil {
		return nil, errors.Join(err, g.signal(syscall.SIGKILL), ignoreExit(child.Wait()))
	}
	go g.reap()
	if _, err := goWrite.WriteString("go\n"); err != nil {
		return nil, fmt.Errorf("letting %s go: %w", spec.argv[0], errors.Join(err, g.kill()))
	}
	return g, nil
}

func (g *group) startWatcher(litter []string) error {
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe: %w", err)
	}
	defer read.Close()
	g.watcher = exec.Command("/bin/sh", append([]string{"-c", watch, "sh", strconv.Itoa(g.pid())}, litter...)...)
	g.watcher.Dir = "/"
	g.watcher.Stdin = read
	g.watcher.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := g.watcher.Start(); err != nil {
		return errors.Join(fmt.Errorf("starting a watcher: %w", err), write.Close())
	}
	g.lifeline = write
	return nil
}

// reap waits for the child and dismisses the watcher, whose group number may go to others from then on.
func (g *group) reap() {
	g.err = g.child.Wait()
	_, _ = g.lifeline.WriteString("released\n")
	_ = g.lifeline.Close()
	_ = g.watcher.Wait()
	if g.atEnd != nil {
		g.atEnd()
	}
	close(g.done)
}

func (g *group) pid() int { return g.child.Process.Pid }

// signal sends to the whole group. A group that is gone is no error.
func (g *group) signal(s syscall.Signal) error {
	if g.ended() {
		return nil
	}
	if err := syscall.Kill(-g.pid(), s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("sending %s to process group %d: %w", s, g.pid(), err)
	}
	return nil
}

// awaitStopped waits until what was sent SIGSTOP has stopped.
func (g *group) awaitStopped() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	for {
		stopped, err := process.Stopped(g.pid())
		switch {
		case err != nil || stopped || g.ended():
			return err
		case !retry.Pause(ctx, time.Millisecond):
			return fmt.Errorf("process group %d goes on %s after SIGSTOP", g.pid(), stopTimeout)
		}
	}
}

// kill ends the group and waits for the end.
func (g *group) kill() error {
	if err := g.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-g.done
	return nil
}

func (g *group) ended() bool {
	select {
	case <-g.done:
		return true
	default:
		return false
	}
}

func ignoreExit(err error) error {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil
	}
	return err
}

// runTool runs a program of this machine to its end, or kills it when ctx ends, and returns what it printed to both of
// its outputs. An error carries the last lines.
func runTool(ctx context.Context, lock *os.File, argv ...string) (string, error) {
	var out bytes.Buffer
	env := append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	g, err := startGroup(groupSpec{argv: argv, env: env, out: &out, inherit: []*os.File{lock}})
	if err != nil {
		return "", err
	}
	select {
	case <-g.done:
	case <-ctx.Done():
		err := errors.Join(context.Cause(ctx), g.kill())
		return "", fmt.Errorf("running %s: %w", argv[0], err)
	}
	if g.err != nil {
		return "", fmt.Errorf("running %s: %w; it printed last:\n%s", argv[0], g.err, lastLines(out.Bytes(), 15))
	}
	return out.String(), nil
}

func lastLines(b []byte, n int) []byte {
	b = bytes.TrimSpace(b)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] == '\n' {
			if n--; n == 0 {
				return b[i+1:]
			}
		}
	}
	return b
}
