package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

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

// maxInFlight bounds the publishes that await their confirm. Each multiple
// confirm scans all of them, so more is slower.
const maxInFlight = 512

// Publisher publishes with confirms, through one channel of one connection.
// It is safe for concurrent use.
type Publisher struct {
	names Names
	conn  *Connection
	queue chan *outgoing

	mu      sync.Mutex
	changed chan struct{}
	open    bool
	blocked string
}

// NewPublisher attaches a publisher to a connection that nothing else uses: a
// blocked connection stalls everything on it.
func NewPublisher(conn *Connection) *Publisher {
	p := &Publisher{names: conn.cfg.Names(), conn: conn, queue: make(chan *outgoing), changed: make(chan struct{})}
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
	claimed       atomic.Bool
	sent          chan sent
}

// sent is a message that the channel took, or why it did not.
type sent struct {
	line    *line
	confirm *amqp091.DeferredConfirmation
	// returned says, once confirm is done, whether no queue took the message.
	returned <-chan bool
	err      error
}

// line is the state of one channel.
type line struct {
	ch *amqp091.Channel
	// slots bounds the messages that await their confirm.
	slots chan struct{}
	// over is closed when the channel is no longer served.
	over    chan struct{}
	waiters sync.WaitGroup
	returns chan amqp091.Return

	mu sync.Mutex
	// next numbers the messages of the channel: ids may repeat.
	next uint64
	// returned has the numbers of messages that came back and whose confirm is awaited.
	returned map[string]struct{}
}

// publish sends a message and waits for its confirm. The end of ctx ends the
// wait: ErrUnknown then, or ErrNotSent if it was not sent yet.
func (p *Publisher) publish(ctx context.Context, exchange, key string, mandatory bool, msg amqp091.Publishing) error {
	if err := p.Ready(); err != nil {
		return err
	}
	out := &outgoing{exchange: exchange, key: key, mandatory: mandatory, msg: msg, sent: make(chan sent, 1)}
	select {
	case p.queue <- out:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrNotSent, context.Cause(ctx))
	}
	var s sent
	select {
	case s = <-out.sent:
	case <-ctx.Done():
		if out.claimed.CompareAndSwap(false, true) {
			return fmt.Errorf("%w: %w", ErrNotSent, context.Cause(ctx))
		}
		// The sender is writing it at this moment, or has just written it.
		return fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
	}
	if s.err != nil {
		return s.err
	}
	acked, err := s.confirm.WaitContext(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
	case !acked:
		// A lost connection and a broker's nack look the same.
		return fmt.Errorf("%w: the connection was lost or the broker refused", ErrUnknown)
	case mandatory && <-s.returned:
		return fmt.Errorf("%w: exchange %s, key %s", ErrUnroutable, exchange, key)
	}
	return nil
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

// watchBlocked follows the broker's resource alarms: on a blocked connection
// the first publish vanishes and the next ones hang.
func (p *Publisher) watchBlocked(conn *amqp091.Connection) (stop func()) {
	blocked := conn.NotifyBlocked(make(chan amqp091.Blocking, 16))
	done := make(chan struct{})
	quit := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case b, ok := <-blocked:
				if !ok {
					return
				}
				p.update(func() {
					if p.blocked = ""; b.Active {
						p.blocked = "blocked: " + b.Reason
					}
				})
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
		p.update(func() { p.blocked = "" })
	}
}

func (p *Publisher) serveChannel(ctx context.Context, conn *amqp091.Connection) error {
	ch, err := conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	if err := ch.Confirm(wait); err != nil {
		return fmt.Errorf("select confirms: %w", err)
	}
	l := &line{
		ch: ch, slots: make(chan struct{}, maxInFlight), over: make(chan struct{}),
		// Roomy enough for every message in flight to come back: amqp091-go drops
		// what a full listener does not take.
		returns:  ch.NotifyReturn(make(chan amqp091.Return, 2*maxInFlight)),
		returned: map[string]struct{}{},
	}
	defer l.waiters.Wait()
	defer close(l.over)
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

// send publishes one message unless its caller has given up, and says whether
// the channel can go on.
func (l *line) send(ctx context.Context, out *outgoing) bool {
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		out.sent <- sent{err: fmt.Errorf("%w: the connection was lost", ErrNotSent)}
		return false
	}
	if !out.claimed.CompareAndSwap(false, true) {
		<-l.slots
		return true
	}
	l.next++ // send is called by one goroutine only
	out.msg.CorrelationId = strconv.FormatUint(l.next, 36)
	confirm, err := l.ch.PublishWithDeferredConfirm(out.exchange, out.key, out.mandatory, false, out.msg)
	if err != nil {
		<-l.slots
		out.sent <- sent{err: publishError(err)}
		return false
	}
	// The slot is held until the confirm, whether or not the caller waits so long.
	returned := make(chan bool, 1)
	l.waiters.Go(func() {
		select {
		case <-confirm.Done():
		case <-l.over:
		}
		// Not in publish, whose caller may have given up by now.
		returned <- l.wasReturned(out.msg.CorrelationId)
		<-l.slots
	})
	out.sent <- sent{line: l, confirm: confirm, returned: returned}
	return true
}

// publishError tells a channel that was closed before, on which nothing is
// sent whole, from a write that failed midway.
func publishError(err error) error {
	if errors.Is(err, amqp091.ErrClosed) {
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}

// wasReturned says whether the broker has returned the message: it hands a
// return over before it confirms the message.
func (l *line) wasReturned(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		select {
		case r, ok := <-l.returns:
			if ok {
				l.returned[r.CorrelationId] = struct{}{}
				continue
			}
		default:
		}
		break
	}
	_, returned := l.returned[id]
	delete(l.returned, id)
	return returned
}
