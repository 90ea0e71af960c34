//go:build unix

package rabbitnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/warrenmq/warren/pkg/ports"
)

// Start runs a node and returns once it is ready: a guest can log in over AMQP and, with Management, over HTTP. It takes
// about five seconds. The context bounds the start only, not the node's life. The caller must Close the node.
func (i Install) Start(ctx context.Context, cfg NodeConfig) (*Node, error) {
	mapper, err := i.startEpmd(ctx)
	if err != nil {
		return nil, err
	}
	n, err := i.prepare(ctx, cfg, mapper, "")
	if err != nil {
		return nil, errors.Join(err, mapper.close())
	}
	n.ownsEpmd = true
	if err := n.firstStart(ctx, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("starting RabbitMQ %s: %w", i.Version, err), n.Close())
	}
	return n, nil
}

// prepare makes a node that does not run yet, with a data folder that is its own.
func (i Install) prepare(ctx context.Context, cfg NodeConfig, mapper *epmd, cookie string) (*Node, error) {
	dir, err := openDataDir(ctx, cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("opening a node's data folder: %w", err)
	}
	n := &Node{install: i, cfg: cfg, dir: dir, epmd: mapper}
	if n.name, err = dir.settleName(cfg.Name); err == nil {
		_, err = dir.settleCookie(cookie)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing a node: %w", err), dir.close())
	}
	return n, nil
}

// firstStart chooses ports, and others when somebody took one between the choice and its use.
func (n *Node) firstStart(ctx context.Context, peers []string) error {
	n.starting.Lock()
	defer n.starting.Unlock()
	var lastErr error
	for range startTries {
		p, err := choosePorts(ctx, n.cfg)
		if err != nil {
			return err
		}
		n.setPorts(p)
		if err := n.dir.writeConfig(n.cfg, p, peers); err != nil {
			return err
		}
		if lastErr = n.start(ctx); lastErr == nil {
			return nil
		}
		if err := n.Kill(); err != nil {
			return errors.Join(lastErr, err)
		}
		if ctx.Err() != nil || !anyTaken(ctx, p) {
			return lastErr
		}
	}
	return lastErr
}

func choosePorts(ctx context.Context, cfg NodeConfig) (nodePorts, error) {
	amqp, errAMQP := choosePort(ctx, cfg.AMQPPort)
	management, errManagement := choosePort(ctx, cfg.ManagementPort)
	dist, errDist := choosePort(ctx, 0)
	if !cfg.Management {
		management = 0
	}
	return nodePorts{amqp: amqp, management: management, dist: dist}, errors.Join(errAMQP, errManagement, errDist)
}

// choosePort takes any free port for none.
func choosePort(ctx context.Context, fixed int) (int, error) {
	if fixed == 0 {
		return ports.AnyFree(ctx)
	}
	if err := ports.Check(ctx, fixed); err != nil {
		return 0, fmt.Errorf("listening on port %d: %w", fixed, err)
	}
	return fixed, nil
}

func anyTaken(ctx context.Context, p nodePorts) bool {
	for _, port := range []int{p.amqp, p.management, p.dist} {
		if port != 0 && !ports.Free(ctx, port) {
			return true
		}
	}
	return false
}

// start runs the process and waits until it serves. The caller holds n.starting.
func (n *Node) start(ctx context.Context) error {
	if n.isClosed() {
		return ErrClosed
	}
	console, err := os.OpenFile(filepath.Join(n.dir.path, "log", "console.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the console log: %w", err)
	}
	defer console.Close()
	var out io.Writer = console
	if n.cfg.LogWriter != nil {
		out = n.cfg.LogWriter
	}
	notices, err := newNotifier()
	if err != nil {
		return err
	}
	env := n.install.serverEnv(n.dir.path, erlangName(n.name), n.epmd.port, n.ports.dist)
	argv, env := n.install.command(n.dir.path, append(env, notices.env()...), n.install.script("rabbitmq-server"))
	proc, err := n.launch(groupSpec{argv: argv, env: env, out: out, litter: n.dir.litter(), atEnd: notices.close})
	if err != nil {
		notices.close()
		return err
	}
	return n.awaitReady(ctx, proc, notices)
}

// launch makes the process known as it starts, so that Close and Kill find it whenever they come.
func (n *Node) launch(spec groupSpec) (*group, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, ErrClosed
	}
	if n.proc != nil && !n.proc.ended() {
		return nil, errors.New("the node runs already")
	}
	proc, err := startGroup(spec)
	if err != nil {
		return nil, err
	}
	n.proc = proc
	return proc, nil
}
