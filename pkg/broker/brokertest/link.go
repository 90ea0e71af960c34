//go:build unix

package brokertest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// link is one client's connection through a proxy. The proxy's lock guards protocol and server.
type link struct {
	client   net.Conn
	protocol Protocol
	// server is nil until the link reaches the broker.
	server net.Conn

	// dead is closed by reset and close.
	dead chan struct{}
	once sync.Once
	// ends guards what they close against a server that is attached meanwhile.
	ends sync.Mutex
}

func newLink(client net.Conn) *link { return &link{client: client, dead: make(chan struct{})} }

func (l *link) attach(server net.Conn) {
	l.ends.Lock()
	defer l.ends.Unlock()
	l.server = server
	if l.isDead() {
		resetConn(server)
	}
}

// reset ends both sides at once, with a TCP reset where possible.
func (l *link) reset() { l.finish(resetConn) }

// close ends both sides in order.
func (l *link) close() { l.finish(func(conn net.Conn) { _ = conn.Close() }) }

func (l *link) finish(end func(net.Conn)) {
	l.once.Do(func() {
		l.ends.Lock()
		defer l.ends.Unlock()
		close(l.dead)
		end(l.client)
		if l.server != nil {
			end(l.server)
		}
	})
}

// end passes on to one side that the other ended with err: its end of file in order, anything else as a reset.
func (l *link) end(to net.Conn, err error) {
	if tcp, ok := to.(*net.TCPConn); ok && errors.Is(err, io.EOF) {
		_ = tcp.CloseWrite()
		return
	}
	l.reset()
}

func (l *link) isDead() bool {
	select {
	case <-l.dead:
		return true
	default:
		return false
	}
}

func resetConn(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// readGreeting reads the eight bytes with which both AMQP versions begin: "AMQP", a protocol id, and a version.
func readGreeting(client io.Reader) ([]byte, Protocol, error) {
	greeting := make([]byte, 8)
	if _, err := io.ReadFull(client, greeting); err != nil {
		return nil, 0, fmt.Errorf("reading a protocol header: %w", err)
	}
	switch {
	case !bytes.HasPrefix(greeting, []byte("AMQP")):
		return greeting, 0, nil
	case bytes.Equal(greeting[4:], []byte{0, 0, 9, 1}):
		return greeting, AMQP091, nil
	case greeting[5] == 1:
		// The id says what comes first: AMQP itself, TLS or SASL.
		return greeting, AMQP10, nil
	default:
		return greeting, 0, nil
	}
}
