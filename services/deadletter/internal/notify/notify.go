// Package notify tells a webhook of dead letters. What is to be told was stored
// together with the dead letter, so that nothing is forgotten; what was told may
// be told again, under the same id.
package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"
	"google.golang.org/genproto/googleapis/rpc/code"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Bounds of sending: how many at once, how often to look for what is due, the
// wait after a failed attempt, and how long to try at all.
const (
	senders    = 4
	duePage    = 64
	lookPeriod = time.Second
	minBackoff = time.Second
	maxBackoff = time.Hour
	giveUp     = 24 * time.Hour
	logPeriod  = 10 * time.Second
)

// Store is what notifying needs of the store.
type Store interface {
	Get(ctx context.Context, id string, full bool) (store.DeadLetter, error)
	DueNotifications(ctx context.Context, now time.Time, limit int) ([]store.Notification, error)
	NotificationSent(ctx context.Context, id string) error
	NotificationFailed(ctx context.Context, id string, f store.NotificationFailure) error
}

// Notifier sends what is due.
type Notifier struct {
	store   Store
	webhook *Webhook
	log     *slog.Logger
	metrics *metrics
	news    chan struct{}
}

// New makes a notifier. A nil provider of meters is otel's global one.
func New(s Store, w *Webhook, provider metric.MeterProvider, log *slog.Logger) *Notifier {
	return &Notifier{store: s, webhook: w, log: log, metrics: newMetrics(provider), news: make(chan struct{}, 1)}
}

// Wake says that a notification was enqueued. It never blocks.
func (n *Notifier) Wake() {
	select {
	case n.news <- struct{}{}:
	default:
	}
}

// Run sends until ctx ends.
func (n *Notifier) Run(ctx context.Context) {
	defer n.webhook.close()
	ticker := time.NewTicker(lookPeriod)
	defer ticker.Stop()
	var logged time.Time
	for {
		if err := n.sendDue(ctx); err != nil && ctx.Err() == nil && time.Since(logged) >= logPeriod {
			n.log.WarnContext(ctx, "notifications wait for the store", "error", err)
			logged = time.Now()
		}
		select {
		case <-n.news:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// sendDue sends everything that is due.
func (n *Notifier) sendDue(ctx context.Context) error {
	for ctx.Err() == nil {
		due, err := n.store.DueNotifications(ctx, time.Now(), duePage)
		if err != nil {
			return fmt.Errorf("read what is to be sent: %w", err)
		}
		if len(due) == 0 {
			return nil
		}
		var group errgroup.Group
		group.SetLimit(senders)
		for _, notification := range due {
			group.Go(func() error { return n.deliver(ctx, notification) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// deliver tries to send a notification, and notes how that went.
func (n *Notifier) deliver(ctx context.Context, x store.Notification) error {
	body, err := n.body(ctx, x)
	if err == nil {
		err = n.webhook.send(ctx, x.ID, body, time.Now())
	}
	switch {
	case ctx.Err() != nil:
		// An attempt that was broken off counts for nothing.
		return ctx.Err()
	case errors.Is(err, store.ErrUnavailable):
		return err
	case err != nil:
		n.metrics.unsent(ctx)
		return n.failed(ctx, x, err)
	}
	n.metrics.sent(ctx)
	if err := n.store.NotificationSent(ctx, x.ID); err != nil {
		return fmt.Errorf("note that a notification was sent: %w", err)
	}
	return nil
}

// failed decides when to try again.
func (n *Notifier) failed(ctx context.Context, x store.Notification, err error) error {
	now := time.Now()
	failure := store.NotificationFailure{Error: err.Error(), NextTime: now.Add(backoff(x.Attempts))}
	failure.GiveUp = now.Sub(x.Time) >= giveUp
	log, message := n.log.WarnContext, "a notification was not sent, trying again"
	if failure.GiveUp {
		log, message = n.log.ErrorContext, "a notification was not sent and is given up"
	}
	log(ctx, message, "dead_letter_id", x.DeadLetterID, "run", x.Run, "attempts", x.Attempts+1, "error", err)
	if err := n.store.NotificationFailed(ctx, x.ID, failure); err != nil {
		return fmt.Errorf("note that a notification was not sent: %w", err)
	}
	return nil
}

// backoff is the wait after the failed attempt that so many others preceded:
// doubled each time, less up to a half, so that what failed together does not
// come together again.
func backoff(failed int) time.Duration {
	d := maxBackoff
	if failed < 12 {
		d = min(minBackoff<<failed, maxBackoff)
	}
	return max(d-rand.N(d/2), minBackoff)
}

// payload is the body of a notification.
type payload struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      data      `json:"data"`
}

// data says what died. The task's payload, its labels and the failure's details
// are not for everybody, and never leave this way.
type data struct {
	DeadLetterID string    `json:"dead_letter_id"`
	TaskID       string    `json:"task_id,omitempty"`
	TaskType     string    `json:"type"`
	Cause        string    `json:"cause"`
	Code         string    `json:"code,omitempty"`
	Reason       string    `json:"reason,omitempty"`
	Message      string    `json:"message,omitempty"`
	Decision     string    `json:"decision,omitempty"`
	Run          int       `json:"run"`
	Attempt      int       `json:"attempt"`
	WorkerID     string    `json:"worker_id,omitempty"`
	Queue        string    `json:"queue,omitempty"`
	TraceID      string    `json:"trace_id,omitempty"`
	DeadTime     time.Time `json:"dead_time"`
}

// maxMessage bounds a text in a notification, in bytes.
const maxMessage = 1 << 10

// body says the same in each attempt to send a notification.
func (n *Notifier) body(ctx context.Context, x store.Notification) ([]byte, error) {
	d, err := n.store.Get(ctx, x.DeadLetterID, false)
	if err != nil {
		return nil, fmt.Errorf("read a dead letter to tell of it: %w", err)
	}
	o := store.Occurrence{
		Run: d.Run, Attempt: d.Attempt, Cause: d.Cause, Failure: d.Failure, Reason: d.Reason, Decision: d.Decision,
		DeadTime: d.DeadTime, WorkerID: d.WorkerID, TraceID: d.TraceID,
	}
	if d.Run != x.Run {
		if o, err = n.occurrence(ctx, x); err != nil {
			return nil, err
		}
	}
	p := payload{Type: "dead_letter.created", Timestamp: x.Time, Data: data{
		DeadLetterID: d.ID, TaskID: d.TaskID(), TaskType: d.Type, Cause: o.Cause.String(), Reason: o.Reason, Decision: cut(o.Decision),
		Run: o.Run, Attempt: o.Attempt, WorkerID: o.WorkerID, Queue: d.Queue, TraceID: o.TraceID, DeadTime: o.DeadTime,
	}}
	if f := o.Failure; f != nil {
		p.Data.Code, p.Data.Message = codeName(f.Code), cut(f.Message)
	}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode a notification: %w", err)
	}
	return b, nil
}

// occurrence is a run that has died before the last one.
func (n *Notifier) occurrence(ctx context.Context, x store.Notification) (store.Occurrence, error) {
	d, err := n.store.Get(ctx, x.DeadLetterID, true)
	if err != nil {
		return store.Occurrence{}, fmt.Errorf("read a dead letter to tell of it: %w", err)
	}
	for _, o := range d.Occurrences {
		if o.Run == x.Run {
			return o, nil
		}
	}
	return store.Occurrence{}, errors.New("a notification is of a run that the dead letter does not have")
}

// codeName is the name of a google.rpc.Code.
func codeName(c int) string { return code.Code(c).String() }

func cut(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage], "") + "…"
}
