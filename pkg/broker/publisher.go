package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// What a publish that failed means.
var (
	// ErrNotSent: the broker cannot have the message.
	ErrNotSent = errors.New("not sent to the broker")
	// ErrUnknown: the broker may have the message; it has not said so.
	ErrUnknown = errors.New("the broker did not confirm")
	// ErrUnroutable: no queue took the message.
	ErrUnroutable = errors.New("no queue for the message")
)

// Why the broker has not confirmed a message, where that is known.
var (
	errNacked       = errors.New("the broker refused it")
	errNotConfirmed = errors.New("the wait for its confirm has ended")
)

// Bounds of the publishes that await their confirm.
const (
	// maxInFlight is for all. Each multiple confirm scans them, so more is slower.
	maxInFlight = 768
	// maxInLane is for those with one exchange and routing key: a queue that confirms
	// nothing, having lost its majority, must leave room for others.
	maxInLane = maxInFlight / 3
)

// Publisher publishes with confirms, through one channel of one connection.
// It is safe for concurrent use.
type Publisher struct {
	names Names
	conn  *Connection
	queue chan *outgoing
	lanes lanes

	mu      sync.Mutex
	changed chan struct{}
	open    bool
	blocked string
}

// NewPublisher attaches a publisher to a connection that nothing else uses: a
// blocked connection stalls everything on it.
func NewPublisher(conn *Connection) *Publisher {
	p := &Publisher{names: conn.cfg.Names(), conn: conn, queue: make(chan *outgoing), lanes: lanes{byKey: map[string]*lane{}}, changed: make(chan struct{})}
	conn.users = append(conn.users, p.serve)
	return p
}

// Ready is nil when a publish can be tried now, and else says why not.
func (p *Publisher) Ready() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.readyLocked()
}

func (p *Publisher) readyLocked() error {
	switch {
	case !p.open:
		return fmt.Errorf("%w: no connection", ErrNotSent)
	case p.blocked != "":
		return fmt.Errorf("%w: it takes no messages now (%s)", ErrNotSent, p.blocked)
	}
	return nil
}

// AwaitReady waits until a publish can be tried, or until ctx ends and then
// says why it can't.
func (p *Publisher) AwaitReady(ctx context.Context) error {
	for {
		p.mu.Lock()
		err, changed := p.readyLocked(), p.changed
		p.mu.Unlock()
		if err == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return err
		}
	}
}

func (p *Publisher) update(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

// outgoing is a message on its way. Either the sender takes it or the caller
// withdraws it, never both.
type outgoing struct {
	exchange, key string
	mandatory     bool
	msg           amqp091.Publishing
	// check is asked right before it is sent, nil is always.
	check   Check
	claimed atomic.Bool
	// left says that the caller waits no more, though the message was claimed. Of
	// sender and caller, one finds that sent has a value.
	left atomic.Bool
	sent chan sent
	// free gives back the place in its lane, once.
	free func()
	// meters and began measure how long it takes.
	meters *meters
	began  time.Time
}

func newOutgoing(exchange, key string, mandatory bool, msg amqp091.Publishing) *outgoing {
	return &outgoing{exchange: exchange, key: key, mandatory: mandatory, msg: msg, sent: make(chan sent, 1)}
}

// sent is a message that the channel took, or why it did not.
type sent struct {
	line    *line
	confirm *amqp091.DeferredConfirmation
	err     error
}

// publish sends a message and waits for its confirm. The end of ctx ends the
// wait: ErrUnknown then, or ErrNotSent if it was not sent yet.
func (p *Publisher) publish(ctx context.Context, exchange, key string, mandatory bool, msg amqp091.Publishing) error {
	return p.send(ctx, newOutgoing(exchange, key, mandatory, msg))
}

// send is publish for a message that is made already.
func (p *Publisher) send(ctx context.Context, out *outgoing) error {
	if err := p.enqueue(ctx, out); err != nil {
		return err
	}
	return out.await(ctx)
}

// enqueue hands a message to the sender, once its lane has room.
func (p *Publisher) enqueue(ctx context.Context, out *outgoing) error {
	out.meters, out.began = p.conn.meters, time.Now()
	err := p.hand(ctx, out)
	if err != nil {
		out.measure(ctx, err)
	}
	return err
}

func (p *Publisher) hand(ctx context.Context, out *outgoing) (err error) {
	if err := p.Ready(); err != nil {
		return err
	}
	if out.free, err = p.lanes.enter(ctx, out.exchange+"/"+out.key); err != nil {
		return fmt.Errorf("%w: %d messages to exchange %s with key %s await their confirm: %w", ErrNotSent, maxInLane, out.exchange, out.key, err)
	}
	select {
	case p.queue <- out:
		return nil
	case <-ctx.Done():
		out.free()
		return fmt.Errorf("%w: %w", ErrNotSent, context.Cause(ctx))
	}
}

// measure counts a message once it is known what has become of it.
func (out *outgoing) measure(ctx context.Context, err error) {
	out.meters.published(ctx, out.exchange, time.Since(out.began), err)
}

// await waits for the confirm of a message that was handed to the sender.
func (out *outgoing) await(ctx context.Context) error {
	err := out.confirmed(ctx)
	out.measure(ctx, err)
	return err
}

func (out *outgoing) confirmed(ctx context.Context) error {
	var s sent
	select {
	case s = <-out.sent:
	case <-ctx.Done():
		if out.claimed.CompareAndSwap(false, true) {
			out.free()
			return fmt.Errorf("%w: %w", ErrNotSent, context.Cause(ctx))
		}
		// The sender is writing it at this moment, or has just written it.
		out.left.Store(true)
		out.abandon()
		return fmt.Errorf("%w: %w: %w", ErrUnknown, errNotConfirmed, context.Cause(ctx))
	}
	if s.err != nil {
		out.free()
		return s.err
	}
	select {
	case <-s.confirm.Done():
	case <-ctx.Done():
		s.line.abandon(out, s.confirm)
		return fmt.Errorf("%w: %w: %w", ErrUnknown, errNotConfirmed, context.Cause(ctx))
	}
	// The broker hands a return over before it confirms the message.
	returned := s.line.finish(out)
	switch {
	case !s.confirm.Acked() && s.line.lost():
		// A lost connection confirms as a nack does.
		return fmt.Errorf("%w: the connection was lost", ErrUnknown)
	case !s.confirm.Acked():
		return fmt.Errorf("%w: %w", ErrUnknown, errNacked)
	case returned:
		return fmt.Errorf("%w: exchange %s, key %s", ErrUnroutable, out.exchange, out.key)
	}
	return nil
}

// abandon has the line wait for a message that was sent and whose caller is gone.
func (out *outgoing) abandon() {
	select {
	case s := <-out.sent:
		if s.err != nil {
			out.free()
			return
		}
		s.line.abandon(out, s.confirm)
	default:
	}
}

// serve is the publisher's part of one connection: one channel after another.
func (p *Publisher) serve(ctx context.Context, conn *amqp091.Connection) error {
	stop := p.watchBlocked(conn)
	defer stop()
	for ctx.Err() == nil {
		if err := p.serveChannel(ctx, conn); err != nil {
			return err
		}
	}
	return nil
}

func (p *Publisher) serveChannel(ctx context.Context, conn *amqp091.Connection) error {
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	if err := ch.Confirm(wait); err != nil {
		return fmt.Errorf("select confirms: %w", err)
	}
	l := newLine(ch)
	defer l.end()
	closed := ch.NotifyClose(make(chan *amqp091.Error, 1))
	p.update(func() { p.open = true })
	defer p.update(func() { p.open = false })
	for {
		select {
		case out := <-p.queue:
			if !l.send(ctx, out) {
				return nil
			}
		case e := <-closed:
			if e != nil && !conn.IsClosed() {
				p.conn.cfg.Logger.Warn("the broker closed the publishing channel", "error", e)
				return nil
			}
			return closeError(e)
		case <-ctx.Done():
			return nil
		}
	}
}
