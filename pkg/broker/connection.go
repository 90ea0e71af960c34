package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// heartbeat finds a dead peer within about twice its length.
const heartbeat = 5 * time.Second

// Connection is one supervised AMQP 0-9-1 connection. What uses it (a
// [Publisher], subscriptions) is attached before [Connection.Run] and runs
// anew on each connection that is opened.
type Connection struct {
	cfg     Config
	role    string
	prepare func(*Topology) error
	users   []func(ctx context.Context, conn *amqp091.Connection) error
	rescued []Subscription
	meters  *meters

	mu      sync.Mutex
	conn    *amqp091.Connection
	changed chan struct{}
}

// NewConnection makes a connection with a role, which is shown in its name in
// RabbitMQ. prepare, if not nil, declares or checks topology each time that a
// connection was opened, before anything else uses it.
func NewConnection(cfg Config, role string, prepare func(*Topology) error) *Connection {
	return &Connection{cfg: cfg, role: role, prepare: prepare, changed: make(chan struct{}), meters: newMeters(cfg.MeterProvider, role)}
}

// Run keeps the connection until ctx ends, and returns when everything that
// used it has stopped.
func (c *Connection) Run(ctx context.Context) {
	log := c.cfg.Logger.With("connection", c.role)
	supervise(ctx, log, c.meters, c.cfg.URLs, c.serve)
}

// prepareTimeout bounds what prepare does: the broker may hang in a declaration.
const prepareTimeout = 30 * time.Second

func (c *Connection) serve(ctx context.Context, a address, up func()) error {
	conn, socket, err := dial091(a, c.cfg.Name+" "+c.role)
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseDeadline(time.Now().Add(dialTimeout)) }()
	// amqp091-go writes without a deadline, and under a lock that closing takes
	// too: only without its socket does everything end that hangs in it.
	served := make(chan struct{})
	defer close(served)
	go cutAfter(ctx, socket, served)
	if err := c.runPrepare(conn, socket); err != nil {
		return err
	}
	closed := conn.NotifyClose(make(chan *amqp091.Error, 1))
	open, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, use := range c.users {
		wg.Go(func() {
			if err := use(open, conn); err != nil {
				cancel(err)
			}
		})
	}
	c.set(conn)
	up()
	select {
	case e := <-closed:
		cancel(closeError(e))
		_ = socket.Close()
	case <-open.Done():
	}
	c.set(nil)
	wg.Wait()
	err = context.Cause(open)
	if oversized(err) {
		c.rescue(ctx, a)
	}
	return err
}

// cutAfter closes the socket if the connection is still served a while after
// ctx has ended.
func cutAfter(ctx context.Context, socket net.Conn, served <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-served:
		return
	}
	t := time.NewTimer(dialTimeout)
	defer t.Stop()
	select {
	case <-t.C:
		_ = socket.Close()
	case <-served:
	}
}

func (c *Connection) runPrepare(conn *amqp091.Connection, socket net.Conn) error {
	if c.prepare == nil {
		return nil
	}
	cut := time.AfterFunc(prepareTimeout, func() { _ = socket.Close() })
	defer cut.Stop()
	return withTopology(conn, c.cfg.Names(), c.prepare)
}

func closeError(e *amqp091.Error) error {
	if e == nil {
		return errors.New("the connection was closed")
	}
	return e
}

func (c *Connection) set(conn *amqp091.Connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn
	close(c.changed)
	c.changed = make(chan struct{})
}

// Connected says whether the connection is open now.
func (c *Connection) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil
}

// Do runs f with a topology on the open connection, waiting for one.
func (c *Connection) Do(ctx context.Context, f func(*Topology) error) error {
	for {
		c.mu.Lock()
		conn, changed := c.conn, c.changed
		c.mu.Unlock()
		if conn != nil {
			return c.do(ctx, conn, f)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for the connection %s: %w", c.role, context.Cause(ctx))
		}
	}
}

// do does not wait for a broker that has blocked the connection: opening a
// channel hangs then, until it is unblocked or closed.
func (c *Connection) do(ctx context.Context, conn *amqp091.Connection, f func(*Topology) error) error {
	done := make(chan error, 1)
	go func() { done <- withTopology(conn, c.cfg.Names(), f) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("use the connection %s: %w", c.role, context.Cause(ctx))
	}
}

func withTopology(conn *amqp091.Connection, names Names, f func(*Topology) error) error {
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	defer ch.Close() //nolint:errcheck // an error has closed it already
	return f(&Topology{names: names, ch: ch})
}

// dial091 gives the socket as well.
func dial091(a address, name string) (*amqp091.Connection, net.Conn, error) {
	properties := amqp091.NewConnectionProperties()
	properties.SetClientConnectionName(name)
	var socket net.Conn
	conn, err := amqp091.DialConfig(a.raw, amqp091.Config{
		Heartbeat:  heartbeat,
		Properties: properties,
		Dial: func(network, addr string) (net.Conn, error) {
			conn, err := amqp091.DefaultDial(dialTimeout)(network, addr)
			if err != nil {
				return nil, err
			}
			socket = newGroupWriter(conn, 0) // a broker that has blocked the connection may take its time
			return socket, nil
		},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("connect: %w", err)
	}
	product, _ := conn.Properties["product"].(string)
	version, _ := conn.Properties["version"].(string)
	if err := checkVersion(product, version); err != nil {
		conn.Close() //nolint:errcheck // refused anyway
		return nil, nil, err
	}
	return conn, socket, nil
}
