package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/warrenmq/warren/pkg/retry"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/wake"
)

const (
	// maxBatchBytes bounds a batch of status events, unless a single one is larger.
	maxBatchBytes = 1 << 20
	// maxPendingBytes bounds what waits to be written: writers wait beyond it.
	maxPendingBytes = 64 << 20
	// batchTimeout bounds the wait for one confirm, after which the batch is
	// published again; events that arrive twice are recognised.
	batchTimeout = 10 * time.Second
	// warnPeriod is how long a batch may be unconfirmed without a word.
	warnPeriod = 10 * time.Second
)

// ErrWriterStopped is answered by a status writer that has been stopped.
var ErrWriterStopped = errors.New("the status writer has stopped")

// StatusWriter writes status events by group commit: nothing waits while
// nothing is in flight, and what gathers while a batch awaits its confirm is
// the next batch. Events are confirmed in the order in which they were
// written. It tries for ever, until it is stopped.
type StatusWriter struct {
	publisher *Publisher

	mu      sync.Mutex
	pending []*Receipt
	bytes   int
	stopped bool
	wake    chan struct{}
	room    chan struct{}
}

// NewStatusWriter makes a writer, which works while [StatusWriter.Run] does.
func NewStatusWriter(p *Publisher) *StatusWriter {
	return &StatusWriter{publisher: p, wake: make(chan struct{}, 1), room: make(chan struct{})}
}

// Receipt stands for one event on its way into the status queue.
type Receipt struct {
	event  []byte
	marker string
	done   chan struct{}
	err    error
}

// Done is closed when the event is confirmed or the writer has stopped.
func (r *Receipt) Done() <-chan struct{} { return r.done }

// Wait waits until the event is confirmed. It fails with [ErrWriterStopped],
// or with the cause of the end of ctx: the event may be confirmed later then.
func (r *Receipt) Wait(ctx context.Context) error {
	select {
	case <-r.done:
		return r.err
	default:
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Write hands an event over. It waits only while too much is pending, and
// fails if ctx ends meanwhile or the writer has stopped.
func (w *StatusWriter) Write(ctx context.Context, e *task.Event) (*Receipt, error) {
	b, err := EncodeEvent(e)
	if err != nil {
		return nil, fmt.Errorf("encode a status event: %w", err)
	}
	if len(b) > MaxMessageBytes {
		// The broker would close the channel on it, again and again.
		return nil, fmt.Errorf("a status event of %d bytes is over the limit of %d", len(b), MaxMessageBytes)
	}
	return w.add(ctx, &Receipt{event: b, done: make(chan struct{})})
}

// Mark puts a marker behind everything written so far, by any process whose
// events are confirmed.
func (w *StatusWriter) Mark(ctx context.Context, marker string) (*Receipt, error) {
	return w.add(ctx, &Receipt{marker: marker, done: make(chan struct{})})
}

func (w *StatusWriter) add(ctx context.Context, r *Receipt) (*Receipt, error) {
	for {
		w.mu.Lock()
		if w.stopped {
			w.mu.Unlock()
			return nil, ErrWriterStopped
		}
		room := w.room
		if w.bytes == 0 || w.bytes+len(r.event) <= maxPendingBytes {
			w.pending = append(w.pending, r)
			w.bytes += len(r.event)
			w.mu.Unlock()
			wake.Signal(w.wake)
			return r, nil
		}
		w.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for room among %d MiB of unconfirmed status events: %w", maxPendingBytes>>20, context.Cause(ctx))
		}
	}
}

// Run writes until ctx ends; what is not confirmed then fails.
func (w *StatusWriter) Run(ctx context.Context) {
	defer w.stop()
	for {
		batch := w.take()
		if batch == nil {
			select {
			case <-w.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := w.commit(ctx, batch)
		for _, r := range batch {
			r.err = err
			close(r.done)
		}
		if err != nil {
			return
		}
	}
}

// take removes the next batch from what is pending, nil if there is none.
func (w *StatusWriter) take() []*Receipt {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, size := 0, 0
	for n < len(w.pending) && (n == 0 || size+len(w.pending[n].event) <= maxBatchBytes) {
		size += len(w.pending[n].event)
		n++
	}
	if n == 0 {
		return nil
	}
	batch := w.pending[:n:n]
	if w.pending = w.pending[n:]; len(w.pending) == 0 {
		w.pending = nil
	}
	w.bytes -= size
	close(w.room)
	w.room = make(chan struct{})
	return batch
}

// commit publishes a batch until it is confirmed or ctx ends.
func (w *StatusWriter) commit(ctx context.Context, batch []*Receipt) error {
	var b StatusBatch
	for _, r := range batch {
		if r.event != nil {
			b.Events = append(b.Events, r.event)
		} else {
			b.Markers = append(b.Markers, r.marker)
		}
	}
	body, err := b.encode()
	if err != nil {
		return fmt.Errorf("encode a status batch: %w", err)
	}
	log := w.publisher.conn.cfg.Logger
	warned := time.Now()
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		err := w.publisher.publishStatus(ctx, body)
		if err == nil {
			return nil
		}
		if time.Since(warned) > warnPeriod && ctx.Err() == nil {
			warned = time.Now()
			log.Warn("status events are not confirmed, trying again until they are", "events", len(batch), "error", err)
		}
		wait, cancel := context.WithTimeout(ctx, backoff)
		if w.publisher.AwaitReady(wait) == nil {
			retry.Pause(ctx, minBackoff)
		}
		cancel()
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ErrWriterStopped, context.Cause(ctx))
		}
	}
}

func (p *Publisher) publishStatus(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	return p.publish(ctx, p.names.Status(), p.names.Status(), true, amqp091.Publishing{
		MessageId:    uuid.NewString(),
		ContentType:  contentType,
		DeliveryMode: amqp091.Persistent,
		Body:         body,
	})
}

func (w *StatusWriter) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	for _, r := range w.pending {
		r.err = ErrWriterStopped
		close(r.done)
	}
	w.pending, w.bytes = nil, 0
	close(w.room)
	w.room = make(chan struct{})
}

// Probe asks whether the status queue takes messages: it publishes an empty
// batch and waits for its confirm.
func (p *Publisher) Probe(ctx context.Context) error {
	return p.publishStatus(ctx, nil)
}
