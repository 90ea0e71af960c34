package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	amqp "github.com/Azure/go-amqp"
	"github.com/google/uuid"
)

// ErrDeliveryLost is the cause with which a handler's context ends when the
// connection that delivered its task is gone: the broker delivers it again.
var ErrDeliveryLost = errors.New("DELIVERY_LOST: the connection to the broker was lost, the task will be delivered again")

// roleWork is what a link is for, as logs, metrics and RabbitMQ show it.
const roleWork = "work"

// linkIdle is after how much silence the peer is taken for dead.
const linkIdle = 5 * time.Second

// Link is one AMQP 1.0 connection, on which a worker takes its tasks and is
// told what gateways have to say.
type Link struct {
	names   Names
	conn    *amqp.Conn
	session *amqp.Session
	heard   *hearing
}

// Fresh says whether the broker was heard of within the last 10 s, and there was
// no longer silence before: by the clock that nobody sets and by the host's, so
// that it is false once the process was stopped, or its host asleep, for longer.
// A link that is not fresh is lost, or about to be; the zero Link is not.
func (l *Link) Fresh() bool { return l.heard != nil && l.heard.fresh() }

// RunLinks keeps a link: serve runs with each that is opened, its ctx ends with
// the cause [ErrDeliveryLost] when the link is lost. RunLinks returns when serve
// has returned nil, or anything once ctx has ended. serve calls up when it is
// in working order.
func RunLinks(ctx context.Context, cfg Config, serve func(ctx context.Context, l *Link, up func()) error) {
	supervise(ctx, cfg.Logger.With("connection", roleWork), newMeters(cfg.MeterProvider, roleWork), cfg.URLs, func(ctx context.Context, a address, up func()) error {
		l, err := dialLink(ctx, a, cfg)
		if err != nil {
			return err
		}
		defer l.conn.Close() //nolint:errcheck // it is over either way
		lost, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			select {
			case <-l.conn.Done():
				cancel(ErrDeliveryLost)
			case <-stop:
			}
		}()
		err = serve(lost, l, up)
		if cause := l.conn.Err(); err != nil && cause != nil {
			return cause
		}
		return err
	})
}

func dialLink(ctx context.Context, a address, cfg Config) (*Link, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	socket, err := dialSocket(ctx, a)
	if err != nil {
		return nil, err
	}
	heard := newHearing(socket)
	writer := newGroupWriter(heard, linkIdle)
	conn, err := amqp.NewConn(ctx, writer, &amqp.ConnOptions{
		SASLType:     amqp.SASLTypePlain(a.Username, a.Password),
		HostName:     "vhost:" + a.Vhost,
		IdleTimeout:  linkIdle,
		WriteTimeout: linkIdle,
		Properties:   map[string]any{"connection_name": cfg.Name + " " + roleWork},
	})
	if err != nil {
		_ = writer.Close()
		return nil, fmt.Errorf("connect over AMQP 1.0: %w", err)
	}
	product, _ := conn.Properties()["product"].(string)
	version, _ := conn.Properties()["version"].(string)
	if err := checkVersion(product, version); err != nil {
		conn.Close() //nolint:errcheck // refused anyway
		return nil, err
	}
	session, err := conn.NewSession(ctx, nil)
	if err != nil {
		conn.Close() //nolint:errcheck // failed anyway
		return nil, fmt.Errorf("open a session: %w", err)
	}
	return &Link{names: cfg.Names(), conn: conn, session: session, heard: heard}, nil
}

// dialSocket opens a connection to a node, with TLS if its URL asks for it.
func dialSocket(ctx context.Context, a address) (net.Conn, error) {
	tlsConfig, err := a.tls()
	if err != nil {
		return nil, err
	}
	if tlsConfig == nil {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", a.hostPort())
		if err != nil {
			return nil, fmt.Errorf("connect over AMQP 1.0: %w", err)
		}
		return conn, nil
	}
	conn, err := (&tls.Dialer{Config: tlsConfig}).DialContext(ctx, "tcp", a.hostPort())
	if err != nil {
		return nil, fmt.Errorf("connect over AMQP 1.0 with TLS: %w", err)
	}
	return conn, nil
}

// Work attaches to the queue of a task type. Nothing arrives before credit is
// issued.
func (l *Link) Work(ctx context.Context, taskType string) (*Receiver, error) {
	return l.receive(ctx, l.names.Work(taskType))
}

// Control attaches to the control queue of a worker's link.
func (l *Link) Control(ctx context.Context, workerID string, link int) (*Receiver, error) {
	return l.receive(ctx, l.names.ControlQueue(workerID, link))
}

func (l *Link) receive(ctx context.Context, queue string) (*Receiver, error) {
	const manual = -1
	r, err := l.session.NewReceiver(ctx, "/queues/"+url.PathEscape(queue), &amqp.ReceiverOptions{Credit: manual})
	if err != nil {
		return nil, fmt.Errorf("attach to queue %s: %w", queue, err)
	}
	return &Receiver{r}, nil
}

// Receiver takes messages from one queue. Its methods are safe for concurrent
// use, but for Receive.
type Receiver struct {
	r *amqp.Receiver
}

// Credit asks for n more messages.
func (r *Receiver) Credit(n int) error { return r.r.IssueCredit(uint32(n)) }

// Drain takes back the credit that is left. Messages that were on their way
// are received before it returns.
func (r *Receiver) Drain(ctx context.Context) error { return r.r.DrainCredit(ctx, nil) }

// Close detaches. What is not settled returns to the queue, which counts for
// no failed delivery.
func (r *Receiver) Close(ctx context.Context) error { return r.r.Close(ctx) }

// Receive waits for the next message.
func (r *Receiver) Receive(ctx context.Context) (*WorkDelivery, error) {
	m, err := r.r.Receive(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &WorkDelivery{r: r.r, m: m}, nil
}

// Prefetched is the next message that has arrived already, nil if none has.
func (r *Receiver) Prefetched() *WorkDelivery {
	if m := r.r.Prefetched(); m != nil {
		return &WorkDelivery{r: r.r, m: m}
	}
	return nil
}

// WorkDelivery is one delivery of a message, to be settled once.
type WorkDelivery struct {
	r *amqp.Receiver
	m *amqp.Message
}

// Body is the message's body.
func (d *WorkDelivery) Body() []byte {
	if len(d.m.Data) == 1 {
		return d.m.Data[0]
	}
	var body []byte
	for _, part := range d.m.Data {
		body = append(body, part...)
	}
	return body
}

// Task decodes the message as a task of the type. What could be read is
// returned with the error too.
func (d *WorkDelivery) Task(taskType string) (TaskMessage, error) {
	m := TaskMessage{Type: taskType, Payload: d.Body(), Run: 1, Trace: map[string]string{}}
	if p := d.m.Properties; p != nil {
		m.ID, _ = p.MessageID.(string)
	}
	for _, k := range traceHeaders {
		if v := bytesOf(d.m.ApplicationProperties[k]); v != nil {
			m.Trace[k] = string(v)
		}
	}
	header := bytesOf(d.m.ApplicationProperties[headerTask])
	if header == nil {
		return m, errors.New("the message has no header " + headerTask + ": it was not published by Warren")
	}
	if err := m.decodeHeader(header); err != nil {
		return m, err
	}
	if _, err := uuid.Parse(m.ID); err != nil {
		return m, fmt.Errorf("the message id %q is no task id", m.ID)
	}
	return m, nil
}
