//go:build unix

package rabbitnode

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/warrenmq/warren/pkg/ports"
)

// Errors of a [Node]'s methods, to be told apart with errors.Is.
var (
	// ErrNotRunning means that the node's process has ended.
	ErrNotRunning = errors.New("the node is not running")
	// ErrClosed means that the node was closed, after which it cannot be started again.
	ErrClosed = errors.New("the node is closed")
	// ErrNotOwned means that the node was not started by this package (see [Attach]), which thus cannot act on it.
	ErrNotOwned = errors.New("the node is not ours to control")
)

// Node is one RabbitMQ node. Its methods are safe for concurrent use.
type Node struct {
	amqpURL       string
	managementURL string

	// The rest stays zero in an attached node.

	install  Install
	cfg      NodeConfig
	name     string
	ports    nodePorts
	dir      *dataDir
	epmd     *epmd
	ownsEpmd bool

	// starting lets one start happen at a time.
	starting sync.Mutex

	mu     sync.Mutex
	proc   *group
	closed bool
}

// Attach returns a Node for a broker that runs already. URL and ManagementURL return the arguments; Close does nothing;
// the methods that act on the process or its host return [ErrNotOwned].
func Attach(amqpURL, managementURL string) *Node {
	return &Node{amqpURL: amqpURL, managementURL: managementURL}
}

// Name returns the node's Erlang name, such as "warren-abc@localhost", or "" for an attached node.
func (n *Node) Name() string {
	if n.dir == nil {
		return ""
	}
	return erlangName(n.name)
}

// URL returns the node's AMQP URL, such as "amqp://guest:guest@127.0.0.1:20123/". It stays the same through restarts.
func (n *Node) URL() string { return n.amqpURL }

// ManagementURL returns the base of the management API, such as "http://guest:guest@127.0.0.1:20124": with credentials
// (which net/http sends) and without a final slash. It is "" when the node runs without the plugin.
func (n *Node) ManagementURL() string { return n.managementURL }

// Log returns the path of the node's log, or "" for an attached node.
func (n *Node) Log() string {
	if n.dir == nil {
		return ""
	}
	return filepath.Join(n.dir.path, "log", "node.log")
}

// Pid returns the id of the node's process, which is also its process group, or 0 when the node does not run or is not
// ours.
func (n *Node) Pid() int {
	if proc := n.current(); proc != nil && !proc.ended() {
		return proc.pid()
	}
	return 0
}

// Kill ends the node with SIGKILL, as a crash would, and waits for its end. Killing a node that does not run does nothing.
//
// RabbitMQ 4.3 writes down which quorum queues a node has up to about a second after they were declared. A node that is
// killed before that starts such a queue again as an empty one, confirmed messages or not; [Node.Sync] prevents it.
func (n *Node) Kill() error {
	if n.dir == nil {
		return ErrNotOwned
	}
	if proc := n.current(); proc != nil {
		return proc.kill()
	}
	return nil
}

// Stop ends the node in order and waits for its end; when the context ends first, the node is killed, and the context's
// cause returned. Stopping a node that does not run does nothing. A paused node is resumed to stop.
func (n *Node) Stop(ctx context.Context) error {
	if n.dir == nil {
		return ErrNotOwned
	}
	proc := n.current()
	if proc == nil || proc.ended() {
		return nil
	}
	if err := errors.Join(proc.signal(syscall.SIGTERM), proc.signal(syscall.SIGCONT)); err != nil {
		return fmt.Errorf("stopping node %s: %w", n.name, err)
	}
	select {
	case <-proc.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stopping node %s: %w", n.name, errors.Join(context.Cause(ctx), proc.kill()))
	}
}

// Restart starts the node again, with the same ports and data, and waits until it is ready. A running node is stopped
// first. After an error the node does not run.
func (n *Node) Restart(ctx context.Context) error {
	if n.dir == nil {
		return ErrNotOwned
	}
	if err := n.Stop(ctx); err != nil {
		return err
	}
	n.starting.Lock()
	defer n.starting.Unlock()
	if err := n.start(ctx); err != nil {
		return fmt.Errorf("restarting node %s: %w", n.name, errors.Join(err, n.Kill()))
	}
	return nil
}

// Pause freezes the node with SIGSTOP: its connections stay open and nothing moves, as with a hung machine. [Node.Resume]
// ends it. When it returns nil nothing of the node runs any more.
func (n *Node) Pause() error {
	if err := n.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	if err := n.current().awaitStopped(); err != nil {
		return fmt.Errorf("pausing node %s: %w", n.name, err)
	}
	return nil
}

// Resume ends a pause with SIGCONT. Resuming a node that is not paused does nothing.
func (n *Node) Resume() error { return n.signal(syscall.SIGCONT) }

// Close kills the node, if it runs, and the epmd it has for itself, and removes its temporary data. A node's data can be
// used again after, in a new node, when NodeConfig.DataDir was set; call [Node.Stop] first to let it end in order. Closing
// twice does nothing.
func (n *Node) Close() error {
	if n.dir == nil || !n.markClosed() {
		return nil
	}
	// Ends a start under way, which the lock would otherwise wait for.
	err := n.Kill()
	n.starting.Lock()
	defer n.starting.Unlock()
	err = errors.Join(err, n.Kill())
	if n.ownsEpmd {
		err = errors.Join(err, n.epmd.close())
	}
	if err = errors.Join(err, n.dir.close()); err != nil {
		return fmt.Errorf("closing node %s: %w", n.name, err)
	}
	return nil
}

func (n *Node) markClosed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	first := !n.closed
	n.closed = true
	return first
}

func (n *Node) isClosed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closed
}

func (n *Node) current() *group {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc
}

func (n *Node) signal(s syscall.Signal) error {
	if n.dir == nil {
		return ErrNotOwned
	}
	proc := n.current()
	if proc == nil || proc.ended() {
		return fmt.Errorf("signalling node %s: %w", n.name, ErrNotRunning)
	}
	return proc.signal(s)
}

func (n *Node) setPorts(p nodePorts) {
	n.ports = p
	guest := url.UserPassword("guest", "guest")
	n.amqpURL = (&url.URL{Scheme: "amqp", User: guest, Host: ports.Loopback(p.amqp), Path: "/"}).String()
	if p.management != 0 {
		n.managementURL = (&url.URL{Scheme: "http", User: guest, Host: ports.Loopback(p.management)}).String()
	}
}

func erlangName(name string) string { return name + "@localhost" }
