package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// line is the state of one channel that messages are published on.
type line struct {
	ch *amqp091.Channel
	// slots bounds the messages that await their confirm.
	slots chan struct{}
	// closed has a value, or is closed, once the channel is.
	closed <-chan *amqp091.Error
	// over is closed when the channel is no longer served.
	over    chan struct{}
	waiters sync.WaitGroup
	returns chan amqp091.Return
	// next numbers the messages of the channel: ids may repeat.
	next uint64

	mu    sync.Mutex
	ended bool
	// returned has the numbers of messages that came back and whose confirm is awaited.
	returned map[string]struct{}
}

func newLine(ch *amqp091.Channel) *line {
	return &line{
		ch: ch, slots: make(chan struct{}, maxInFlight), over: make(chan struct{}),
		// Roomy enough for every message in flight to come back: amqp091-go drops
		// what a full listener does not take.
		returns:  ch.NotifyReturn(make(chan amqp091.Return, 2*maxInFlight)),
		closed:   ch.NotifyClose(make(chan *amqp091.Error, 1)),
		returned: map[string]struct{}{},
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
	if err := out.checked(); err != nil {
		<-l.slots
		out.tell(sent{err: err})
		return true
	}
	l.next++ // send is called by one goroutine only
	out.msg.CorrelationId = strconv.FormatUint(l.next, 36)
	confirm, err := l.ch.PublishWithDeferredConfirm(out.exchange, out.key, out.mandatory, false, out.msg)
	if err != nil {
		<-l.slots
		out.tell(sent{err: publishError(err)})
		return false
	}
	out.tell(sent{line: l, confirm: confirm})
	return true
}

// checked says why a message must not be sent any more.
func (out *outgoing) checked() error {
	if out.check == nil {
		return nil
	}
	if err := out.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	return nil
}

// tell hands over what has become of a message that was claimed: to its caller, or in
// its place if that has left.
func (out *outgoing) tell(s sent) {
	out.sent <- s
	if out.left.Load() {
		out.abandon()
	}
}

// publishError tells a channel that was closed before, on which nothing is
// sent whole, from a write that failed midway.
func publishError(err error) error {
	if errors.Is(err, amqp091.ErrClosed) {
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}

// lost says whether the channel is closed. It is before the confirms that are awaited
// then end.
func (l *line) lost() bool {
	select {
	case <-l.closed: //nolint:errcheck // why it was closed does not matter
		return true
	default:
		return false
	}
}

// finish frees what a message that was confirmed held, and says whether the broker
// has returned it.
func (l *line) finish(out *outgoing) bool {
	out.free()
	<-l.slots
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.returns) > 0 {
		r, ok := <-l.returns
		if !ok {
			break
		}
		l.returned[r.CorrelationId] = struct{}{}
	}
	_, returned := l.returned[out.msg.CorrelationId]
	delete(l.returned, out.msg.CorrelationId)
	return returned
}

// abandon waits in the caller's place: what the message holds is held until the
// confirm, whether or not the caller waits so long.
func (l *line) abandon(out *outgoing, confirm *amqp091.DeferredConfirmation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		out.free()
		return
	}
	l.waiters.Go(func() {
		select {
		case <-confirm.Done():
			l.finish(out)
		case <-l.over:
			out.free()
		}
	})
}

// end lets nobody wait any more.
func (l *line) end() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	close(l.over)
	l.waiters.Wait()
}
