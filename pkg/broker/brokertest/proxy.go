//go:build unix

package brokertest

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"
)

// Proxy is a TCP proxy on loopback between clients and a broker, whose connections can be disturbed as a network would.
// At first everything passes.
//
// Each method that disturbs can be limited to some protocols: a connection's protocol shows in the first eight bytes that
// the client sends, which the proxy reads before it connects to the broker. Without protocols a call is about all
// connections, whatever they speak. Later calls override earlier ones for the protocols that they are about. The methods
// are safe for concurrent use.
type Proxy struct {
	listener net.Listener
	target   string
	url      string

	mu    sync.Mutex
	modes map[Protocol]mode
	// changed is closed, and replaced, whenever modes change.
	changed chan struct{}
	links   map[*link]struct{}
	closed  bool

	// running counts the goroutines of the proxy.
	running sync.WaitGroup
}

// Protocol is what a connection speaks.
type Protocol int

// Protocols that a [Proxy] tells apart. The zero Protocol stands for anything else, such as TLS.
const (
	AMQP091 Protocol = iota + 1
	AMQP10
)

func allProtocols() []Protocol { return []Protocol{0, AMQP091, AMQP10} }

type mode int

const (
	passing mode = iota
	cut
	stalled
)

// dialTimeout bounds how long a client waits for a broker that does not answer.
const dialTimeout = 5 * time.Second

// NewProxy returns a proxy to the broker of the AMQP URL, closed after the test.
func NewProxy(t testing.TB, targetURL string) *Proxy {
	t.Helper()
	u, err := url.Parse(targetURL)
	if err != nil {
		t.Fatalf("brokertest: reading the proxy's target: %v", err)
	}
	p := &Proxy{
		target:  u.Host,
		modes:   make(map[Protocol]mode),
		changed: make(chan struct{}),
		links:   make(map[*link]struct{}),
	}
	if u.Port() == "" {
		p.target = net.JoinHostPort(u.Hostname(), "5672")
	}
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatalf("brokertest: opening a proxy: %v", err)
	}
	u.Host = p.listener.Addr().String()
	p.url = u.String()
	p.running.Go(p.accept)
	t.Cleanup(p.Close)
	return p
}

// URL returns the target's URL with the proxy's address in place of the broker's.
func (p *Proxy) URL() string { return p.url }

// Cut resets the connections and every new one, until [Proxy.Restore]. A new connection is reset once its protocol is
// known, or at once when everything is cut.
func (p *Proxy) Cut(only ...Protocol) {
	p.set(cut, only)
	p.Drop(only...)
}

// Drop resets the connections there are now. New ones pass, unless something else is in force.
func (p *Proxy) Drop(only ...Protocol) {
	for _, l := range p.matching(only) {
		l.reset()
	}
}

// Stall makes the connections, and new ones, a black hole until [Proxy.Restore]: they stay open, and nothing arrives in
// either direction.
func (p *Proxy) Stall(only ...Protocol) { p.set(stalled, only) }

// Restore ends what Cut and Stall began. What clients and the broker sent into a stalled connection arrives now.
func (p *Proxy) Restore(only ...Protocol) { p.set(passing, only) }

// Connections returns the number of connections that reach the broker at the moment, stalled ones included.
func (p *Proxy) Connections(only ...Protocol) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for l := range p.links {
		if l.server != nil && concerns(only, l.protocol) {
			n++
		}
	}
	return n
}

// Close resets all connections and waits until nothing of the proxy runs any more. Closing twice does nothing.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Drop()
	p.running.Wait()
}

func (p *Proxy) set(m mode, only []Protocol) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, protocol := range allProtocols() {
		if concerns(only, protocol) {
			p.modes[protocol] = m
		}
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) matching(only []Protocol) []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	var links []*link
	for l := range p.links {
		if concerns(only, l.protocol) {
			links = append(links, l)
		}
	}
	return links
}

func concerns(only []Protocol, protocol Protocol) bool {
	return len(only) == 0 || slices.Contains(only, protocol)
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	l := newLink(client)
	if !p.add(l) {
		l.reset()
		return
	}
	defer p.remove(l)
	defer l.reset()
	greeting, err := p.identify(l)
	if err != nil {
		return
	}
	server, err := p.connect(l)
	if err != nil {
		return
	}
	if _, err := server.Write(greeting); err != nil {
		return
	}
	var pumps sync.WaitGroup
	pumps.Go(func() { p.pump(l, server, client) })
	pumps.Go(func() { p.pump(l, client, server) })
	pumps.Wait()
	l.close()
}

func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.links[l] = struct{}{}
	}
	return !p.closed
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// identify reads the client's first bytes and gives the link its protocol.
func (p *Proxy) identify(l *link) (greeting []byte, err error) {
	if !p.await(l, p.allAgree) {
		return nil, fmt.Errorf("waiting to read: %w", net.ErrClosed)
	}
	greeting, protocol, err := readGreeting(l.client)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	l.protocol = protocol
	p.mu.Unlock()
	return greeting, nil
}

// connect opens the way to the broker, once the link's protocol may pass.
func (p *Proxy) connect(l *link) (net.Conn, error) {
	if !p.await(l, p.modeOf) {
		return nil, fmt.Errorf("waiting to connect: %w", net.ErrClosed)
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	var dialer net.Dialer
	server, err := dialer.DialContext(ctx, "tcp", p.target)
	if err != nil {
		return nil, fmt.Errorf("connecting to the broker: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l.attach(server)
	return server, nil
}

// pump moves bytes until either side ends. What it has read waits out a stall, so that nothing is lost.
func (p *Proxy) pump(l *link, to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for p.await(l, p.modeOf) {
		n, err := from.Read(buffer)
		if n > 0 {
			if !p.await(l, p.modeOf) {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				l.reset()
				return
			}
		}
		if err != nil {
			// The end of one side reaches the other only when bytes would.
			if p.await(l, p.modeOf) {
				l.end(to, err)
			}
			return
		}
	}
}

// await waits while the link's mode is stalled and reports whether the link may go on.
func (p *Proxy) await(l *link, look func(*link) mode) bool {
	for {
		p.mu.Lock()
		m, changed := look(l), p.changed
		p.mu.Unlock()
		switch m {
		case passing:
			return !l.isDead()
		case cut:
			l.reset()
			return false
		}
		select {
		case <-changed:
		case <-l.dead:
			return false
		}
	}
}

// modeOf is the mode of a link whose protocol is known. The caller holds p.mu.
func (p *Proxy) modeOf(l *link) mode { return p.modes[l.protocol] }

// allAgree is the mode that all protocols have, if they have the same; else a link passes until its protocol is known.
// The caller holds p.mu.
func (p *Proxy) allAgree(*link) mode {
	m := p.modes[0]
	for _, protocol := range allProtocols() {
		if p.modes[protocol] != m {
			return passing
		}
	}
	return m
}
