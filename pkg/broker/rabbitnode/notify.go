//go:build unix

package rabbitnode

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
)

// A notifier hears from a starting node that its start is complete. That is later than the moment when it accepts its
// first connection: a node that is stopped in between does not end in order. It listens as long as the node runs, which
// notifies of its end too and complains when nobody hears.
//
// It speaks systemd's notification protocol (sd_notify(3)) over an abstract socket, which needs no file and so works
// across the node's root. Abstract sockets exist on Linux only. Elsewhere a notifier says at once that all is well, and
// being able to log in has to do.
type notifier struct {
	conn *net.UnixConn
	// ready is closed when the node has told that it is, which it may repeat.
	ready chan struct{}
	once  sync.Once
	// done is closed when nothing listens any more.
	done chan struct{}
}

func newNotifier() (*notifier, error) {
	n := &notifier{ready: make(chan struct{}), done: make(chan struct{})}
	if runtime.GOOS != "linux" {
		close(n.ready)
		close(n.done)
		return n, nil
	}
	address := &net.UnixAddr{Net: "unixgram", Name: "@warren-rabbitmq-" + rand.Text()}
	conn, err := net.ListenUnixgram(address.Net, address)
	if err != nil {
		return nil, fmt.Errorf("listening for a node's notification: %w", err)
	}
	n.conn = conn
	go n.listen()
	return n, nil
}

func (n *notifier) listen() {
	defer close(n.done)
	datagram := make([]byte, 4<<10)
	for {
		size, err := n.conn.Read(datagram)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		for line := range strings.Lines(string(datagram[:size])) {
			if strings.TrimSpace(line) == "READY=1" {
				n.once.Do(func() { close(n.ready) })
			}
		}
	}
}

// env tells a node where to notify.
func (n *notifier) env() []string {
	if n.conn == nil {
		return nil
	}
	return []string{"NOTIFY_SOCKET=" + n.conn.LocalAddr().String()}
}

// close ends the listening and waits for its end.
func (n *notifier) close() {
	if n.conn != nil {
		_ = n.conn.Close()
	}
	<-n.done
}
