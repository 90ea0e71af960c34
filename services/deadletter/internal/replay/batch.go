package replay

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// noteTimeout bounds the note of what was published when the service ends.
const noteTimeout = 5 * time.Second

// errStopped: the replay is paused or over, so that nothing is sent first any more.
var errStopped = errors.New("the replay has stopped")

// parcel is the message of an item, and what has become of it.
type parcel struct {
	one

	traceID string
	span    trace.Span
	// receipt is that of its QUEUED event.
	receipt *broker.Receipt
	// sent says that the message is confirmed, unsent that it was certainly not sent.
	sent, unsent bool
	err          error
}

// publish publishes what was begun, has the QUEUED events confirmed, and notes all that
// at once. What fails is left to [Replayer.publishAll].
func (d *drive) publish(ctx context.Context, batch []one) {
	ids := make([]string, len(batch))
	for i := range batch {
		ids[i] = batch[i].intent.ID
	}
	left := false
	defer func() {
		d.r.occupy(ids, false)
		// While they were occupied, who looked for what is left passed them over.
		if left {
			d.behind.Store(true)
			d.r.begun()
		}
	}()
	work, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	parcels := d.wrap(work, batch)
	d.send(work, parcels)
	var followed []store.Intent
	var sent []store.Sent
	for _, p := range parcels {
		switch published, err := d.confirmed(work, p); {
		case published:
			sent = append(sent, store.Sent{IntentID: p.intent.ID, Published: true})
			followed = append(followed, p.intent)
		default:
			left = true
			d.failed(ctx, p, err)
			if p.unsent {
				sent = append(sent, store.Sent{IntentID: p.intent.ID})
			}
		}
	}
	note, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	if err := d.r.cfg.Store.MarkSent(note, sent); err != nil {
		left = true
		for _, p := range parcels {
			if p.sent {
				d.r.noteSent(p.intent.ID, p.letter)
			}
		}
		return
	}
	d.r.follower.add(followed...)
}

// wrap makes the messages.
func (d *drive) wrap(ctx context.Context, batch []one) []*parcel {
	parcels := make([]*parcel, len(batch))
	for i := range batch {
		x := &batch[i]
		x.letter.Copy = task.NewCopy()
		apply(x.letter, &x.intent)
		span := d.r.startPublish(ctx, x.dead, x.letter, x.intent.Call, x.died)
		parcels[i] = &parcel{one: *x, traceID: telemetry.TraceIDOf(x.died), span: span}
	}
	return parcels
}

// send publishes all messages with one round of confirms, and hands over the QUEUED event
// of each that is confirmed.
func (d *drive) send(ctx context.Context, parcels []*parcel) {
	messages, checks := make([]*broker.TaskMessage, len(parcels)), make([]broker.Check, len(parcels))
	for i, p := range parcels {
		messages[i], checks[i] = p.letter, d.check
	}
	var mu sync.Mutex
	d.r.cfg.Publisher.PublishTasks(ctx, messages, func(i int, err error) {
		p := parcels[i]
		var receipt *broker.Receipt
		var eventErr error
		if err == nil {
			receipt, eventErr = d.r.cfg.Status.Write(ctx, queuedEvent(p.letter, p.traceID))
		} else {
			telemetry.Fail(p.span, "publish", err.Error())
		}
		p.span.End()
		mu.Lock()
		defer mu.Unlock()
		p.sent, p.receipt, p.err = err == nil, receipt, errors.Join(err, eventErr)
		p.unsent = errors.Is(err, broker.ErrNotSent) || errors.Is(err, errStopped)
	}, checks...)
}

func (d *drive) check() error {
	if d.stopped.Load() {
		return errStopped
	}
	return nil
}

// confirmed waits for the QUEUED event of a message.
func (d *drive) confirmed(ctx context.Context, p *parcel) (bool, error) {
	if p.err != nil || p.receipt == nil {
		return false, p.err
	}
	err := p.receipt.Wait(ctx)
	return err == nil, err
}

// failed leaves an item to be published by others.
func (d *drive) failed(ctx context.Context, p *parcel, err error) {
	if p.sent {
		d.r.noteSent(p.intent.ID, p.letter)
	}
	if errors.Is(err, broker.ErrUnroutable) {
		err = errors.Join(err, d.r.cfg.Store.MarkUnroutable(ctx, p.intent.ID))
	}
	if !errors.Is(err, errStopped) {
		d.warn(ctx, err)
	}
}
