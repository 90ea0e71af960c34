package replay

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Bounds of publishing: how many at once, the time for one, the wait before what
// failed is tried again, and the time between two log lines about that.
const (
	publishPage    = 64
	publishers     = 16
	publishTimeout = 30 * time.Second
	minBackoff     = 100 * time.Millisecond
	maxBackoff     = 5 * time.Second
	logPeriod      = 10 * time.Second
)

// publishAll publishes what is pending, now and whenever a replay was begun,
// until ctx ends.
func (r *Replayer) publishAll(ctx context.Context) {
	var logged time.Time
	backoff := minBackoff
	for ctx.Err() == nil {
		err := r.publishPending(ctx)
		if err == nil {
			if !logged.IsZero() {
				r.log.InfoContext(ctx, "all replays are published")
			}
			logged, backoff = time.Time{}, minBackoff
			select {
			case <-r.news:
			case <-ctx.Done():
			}
			continue
		}
		if ctx.Err() == nil && time.Since(logged) >= logPeriod {
			r.log.WarnContext(ctx, "replays can't be published, trying again until they are", "error", err)
			logged = time.Now()
		}
		pause(ctx, backoff)
		backoff = min(2*backoff, maxBackoff)
	}
}

// publishPending tries once to publish everything that is pending.
func (r *Replayer) publishPending(ctx context.Context) error {
	var after int64
	var why error
	for ctx.Err() == nil {
		page, err := r.cfg.Store.Intents(ctx, store.IntentPending, after, publishPage)
		if err != nil {
			return fmt.Errorf("read what is to be replayed: %w", err)
		}
		if len(page) == 0 {
			if after == 0 {
				r.forgetSent()
			}
			return why
		}
		var group errgroup.Group
		group.SetLimit(publishers)
		for _, intent := range page {
			if !r.isBusy(intent.ID) {
				group.Go(func() error { return r.publish(ctx, intent) })
			}
		}
		if err := group.Wait(); err != nil {
			why = err
		}
		after = page[len(page)-1].Sequence
	}
	return ctx.Err()
}

// publish carries an intent out.
func (r *Replayer) publish(ctx context.Context, intent store.Intent) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	d, err := r.cfg.Store.Get(ctx, intent.DeadLetterID, true)
	if err != nil {
		return fmt.Errorf("read dead letter %s to replay it: %w", intent.DeadLetterID, err)
	}
	if err := r.revise(ctx, &d, intent.Revision); err != nil {
		return err
	}
	m, died, err := rebuild(&d, intent.Run, time.Now().UTC())
	if err != nil {
		return err
	}
	apply(m, &intent)
	if intent.Unroutable {
		return r.unroutable(ctx, &d, m, &intent)
	}
	if sent := r.sentAs(intent.ID); sent != nil {
		return r.queued(ctx, sent, &intent, telemetry.TraceIDOf(died))
	}
	marked, err := r.cfg.Store.MarkPublishing(ctx, intent.ID)
	if errors.Is(err, store.ErrNotPending) {
		r.forget(intent.ID)
		return nil
	}
	if err != nil {
		return fmt.Errorf("note that dead letter %s is published: %w", d.ID, err)
	}
	m.Copy, m.Resend = task.NewCopy(), marked.Publishes > 1
	err = r.send(ctx, &d, m, marked.Call, died)
	if errors.Is(err, broker.ErrUnroutable) {
		if err = r.cfg.Store.MarkUnroutable(ctx, intent.ID); err == nil {
			err = r.unroutable(ctx, &d, m, &intent)
		}
	} else if err == nil {
		r.noteSent(intent.ID, m)
		err = r.queued(ctx, m, &intent, telemetry.TraceIDOf(died))
	}
	if intent.ReplayID != "" && errors.Is(err, broker.ErrNotSent) {
		// Should its replay be over, it is taken back.
		err = errors.Join(err, r.cfg.Store.MarkSent(context.WithoutCancel(ctx), []store.Sent{{IntentID: intent.ID}}))
	}
	if err != nil {
		return fmt.Errorf("replay task %s as run %d: %w", m.ID, m.Run, err)
	}
	return nil
}

// lastSpan is that of the attempt that died, or of what published it if nobody can
// see the attempt's.
func lastSpan(d *store.DeadLetter, died map[string]string) trace.SpanContext {
	if n := len(d.Occurrences); n > 0 {
		if attempts := d.Occurrences[n-1].Attempts; len(attempts) > 0 {
			span := attempts[len(attempts)-1].Span
			if sc := telemetry.SpanContext(span.TraceID, span.SpanID); sc.IsValid() {
				return sc
			}
		}
	}
	return telemetry.SpanContextOf(died)
}

// send publishes the message.
func (r *Replayer) send(ctx context.Context, d *store.DeadLetter, m *broker.TaskMessage, call string, died map[string]string) error {
	span := r.startPublish(ctx, d, m, call, died)
	defer span.End()
	err := r.cfg.Publisher.PublishTask(ctx, m)
	if err != nil {
		telemetry.Fail(span, "publish", err.Error())
	}
	return err
}

// startPublish starts the span of a message's publish, and of its trace: a root that is
// linked to the attempt that died and to the call that began the replay.
func (r *Replayer) startPublish(ctx context.Context, d *store.DeadLetter, m *broker.TaskMessage, call string, died map[string]string) trace.Span {
	span, headers := telemetry.StartPublish(ctx, r.tracer, telemetry.Message{
		Exchange: r.cfg.Names.Tasks(), TaskID: m.ID, TaskType: m.Type, Run: m.Run, BodySize: len(m.Payload),
	}, telemetry.Apart(lastSpan(d, died), telemetry.SpanContextOf(map[string]string{"traceparent": call}))...)
	m.Trace = headers
	return span
}

// queued has the QUEUED event confirmed and marks the intent.
func (r *Replayer) queued(ctx context.Context, m *broker.TaskMessage, i *store.Intent, traceID string) error {
	if err := r.write(ctx, queuedEvent(m, traceID)); err != nil {
		return err
	}
	return r.published(ctx, i)
}

// queuedEvent says that a run's message is in its queue.
func queuedEvent(m *broker.TaskMessage, traceID string) *task.Event {
	digest := sha256.Sum256(m.Payload)
	payload := &task.Payload{Bytes: m.Payload, Size: int64(len(m.Payload)), SHA256: digest[:]}
	if len(m.Payload) > task.MaxPayloadInStatus {
		payload.Bytes, payload.Omitted = nil, true
	}
	e := eventOf(m, task.PhaseQueued, traceID)
	e.Payload = payload
	return e
}

func (r *Replayer) published(ctx context.Context, i *store.Intent) error {
	if err := r.cfg.Store.MarkPublished(ctx, i.ID); err != nil {
		return fmt.Errorf("note that it was published: %w", err)
	}
	r.forget(i.ID)
	r.follower.add(*i)
	return nil
}

// isBusy says whether a drive publishes an intent.
func (r *Replayer) isBusy(intentID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.busy[intentID]
}

// occupy keeps intents from being published by others, or lets that go.
func (r *Replayer) occupy(intentIDs []string, on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range intentIDs {
		if on {
			r.busy[id] = true
		} else {
			delete(r.busy, id)
		}
	}
}

// forget forgets the message of a replay.
func (r *Replayer) forget(intentID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sent, intentID)
}

func (r *Replayer) noteSent(intentID string, m *broker.TaskMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent[intentID] = m
}

// forgetSent forgets all messages: no intent is pending.
func (r *Replayer) forgetSent() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.sent)
}

// sentAs is the message that an intent was published as, nil if it is not known to
// have been.
func (r *Replayer) sentAs(intentID string) *broker.TaskMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent[intentID]
}

func (r *Replayer) write(ctx context.Context, e *task.Event) error {
	receipt, err := r.cfg.Status.Write(ctx, e)
	if err == nil {
		err = receipt.Wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("write its status event: %w", err)
	}
	return nil
}

func eventOf(m *broker.TaskMessage, phase task.Phase, traceID string) *task.Event {
	head := m.Head()
	head.TraceID = traceID
	return &task.Event{
		TaskID: m.ID, Type: m.Type, Time: m.RunTime, Head: head,
		Key: task.Key{Run: m.Run, Attempt: 1, Phase: phase, Copy: m.Copy},
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
