//go:build unix

package rabbitnode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
)

// Ctl runs rabbitmqctl against the node with the arguments and returns what it printed, without informational messages.
// It takes a second or two. The context bounds it.
func (n *Node) Ctl(ctx context.Context, args ...string) (string, error) {
	if n.dir == nil {
		return "", ErrNotOwned
	}
	env := n.install.ctlEnv(n.dir.path, erlangName(n.name), n.epmd.port)
	program := append([]string{n.install.script("rabbitmqctl"), "--quiet"}, args...)
	argv, env := n.install.command(n.dir.path, env, program...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = outputGrace
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(context.Cause(ctx), err)
		}
		return "", fmt.Errorf("running rabbitmqctl %s: %w: %s", strings.Join(args, " "), err, lastLines(stderr.Bytes(), 15))
	}
	return stdout.String(), nil
}

// Sync makes the node write down what it knows of its quorum queues, so that those declared before survive a Kill that
// comes at once (see [Node.Kill]). It takes about a second.
func (n *Node) Sync(ctx context.Context) error {
	if _, err := n.Ctl(ctx, "eval", "[ok = dets:sync(Table) || Table <- dets:all()]."); err != nil {
		return fmt.Errorf("syncing node %s: %w", n.Name(), err)
	}
	return nil
}
