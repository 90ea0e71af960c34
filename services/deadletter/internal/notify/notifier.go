// Package notify tells people and programs of dead letters. What is to be told was stored
// together with what it is about, so that nothing is forgotten; what was told may be told
// again, under the same id.
package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Bounds of sending: how often to look for what is due, the wait after a failed attempt,
// and how long to try at all.
const (
	duePage    = 64
	lookPeriod = time.Second
	minBackoff = time.Second
	maxBackoff = time.Hour
	giveUp     = 24 * time.Hour
	logPeriod  = 10 * time.Second
	noteTime   = 5 * time.Second
)

// ErrNoChannel is that no such channel is configured.
var ErrNoChannel = errors.New("no such notification channel is configured")

// Store is what notifying needs of the store.
type Store interface {
	Get(ctx context.Context, id string, full bool) (store.DeadLetter, error)
	Rules(ctx context.Context) ([]store.Rule, error)
	OpenByCode(ctx context.Context) ([]store.OpenByCode, error)
	CountArrivals(ctx context.Context, ruleID string, since time.Time) (int64, error)
	Measure(ctx context.Context, ruleID, etag string, holds bool, m store.Measured) (store.Noted, error)
	DueNotifications(ctx context.Context, channel string, now time.Time, limit int) ([]store.Notification, error)
	NotificationSent(ctx context.Context, id string) error
	NotificationFailed(ctx context.Context, id string, f store.NotificationFailure) error
	NotificationTested(ctx context.Context, channel, problem string, by store.Call) error
	NotificationLog(ctx context.Context, f filter.Expr, before int64, limit int) ([]store.Notification, error)
	ChannelStates(ctx context.Context) ([]store.ChannelState, error)
	GiveUpNotifications(ctx context.Context, channels []string, before time.Time, limit int) (int, error)
	ForgetNotifications(ctx context.Context, before time.Time, limit int) (int, error)
}

// Notifier sends what is due, and finds out whether conditions of rules hold.
type Notifier struct {
	store    Store
	channels []*Channel
	log      *slog.Logger
	metrics  *metrics
	// seen are the conditions as they were measured last, by their rules.
	seen map[string]seen
	// warned are the channels that rules name and nobody has configured.
	warned map[string]bool
}

// New makes a notifier, which closes the channels when its Run ends. A nil provider of
// meters is otel's global one.
func New(s Store, channels []*Channel, provider metric.MeterProvider, log *slog.Logger) *Notifier {
	return &Notifier{
		store: s, channels: channels, log: log, metrics: newMetrics(provider, s, channels),
		seen: map[string]seen{}, warned: map[string]bool{},
	}
}

// Channels are those that are configured.
func (n *Notifier) Channels() []*Channel { return n.channels }

// Wake says that notifications were enqueued. It never blocks.
func (n *Notifier) Wake() {
	for _, c := range n.channels {
		select {
		case c.news <- struct{}{}:
		default:
		}
	}
}

// Run sends until ctx ends. Each channel is sent to by itself, so that none waits for
// another.
func (n *Notifier) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, c := range n.channels {
		running.Go(func() { n.serve(ctx, c) })
	}
	running.Go(func() { n.metrics.run(ctx) })
	running.Go(func() { n.watchConditions(ctx) })
	running.Go(func() { n.keepHouse(ctx) })
	running.Wait()
}

// serve sends what is due to a channel.
func (n *Notifier) serve(ctx context.Context, c *Channel) {
	defer c.out.close()
	ticker := time.NewTicker(lookPeriod)
	defer ticker.Stop()
	problems := occasionally{log: n.log}
	for {
		problems.warn(ctx, "notifications wait for the store", n.sendDue(ctx, c))
		select {
		case <-c.news:
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// occasionally logs what goes on and on now and then.
type occasionally struct {
	log  *slog.Logger
	last time.Time
}

func (o *occasionally) warn(ctx context.Context, message string, err error) {
	if err != nil && ctx.Err() == nil && time.Since(o.last) >= logPeriod {
		o.log.WarnContext(ctx, message, "error", err)
		o.last = time.Now()
	}
}

// sendDue sends everything to a channel that is due.
func (n *Notifier) sendDue(ctx context.Context, c *Channel) error {
	for ctx.Err() == nil {
		due, err := n.store.DueNotifications(ctx, c.name, time.Now(), duePage)
		if err != nil {
			return fmt.Errorf("read what is to be sent: %w", err)
		}
		if len(due) == 0 {
			return nil
		}
		var group errgroup.Group
		group.SetLimit(c.senders)
		for i := range due {
			group.Go(func() error { return n.deliver(ctx, c, &due[i]) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// deliver tries to send a notification, and notes how that went.
func (n *Notifier) deliver(ctx context.Context, c *Channel, x *store.Notification) error {
	m, err := n.compose(ctx, x)
	if err == nil {
		err = n.attempt(ctx, c, m)
	}
	switch {
	case ctx.Err() != nil:
		// An attempt that was broken off counts for nothing.
		return ctx.Err()
	case errors.Is(err, store.ErrUnavailable):
		return err
	case err != nil:
		return n.failed(ctx, c, x, err)
	}
	if err := n.store.NotificationSent(ctx, x.ID); err != nil {
		return fmt.Errorf("note that a notification was sent: %w", err)
	}
	return nil
}

// attempt sends a message once.
func (n *Notifier) attempt(ctx context.Context, c *Channel, m *message) error {
	sending, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err := c.out.send(sending, m)
	if ctx.Err() == nil {
		n.metrics.attempted(ctx, c, err == nil)
	}
	return err
}

// failed decides when to try again.
func (n *Notifier) failed(ctx context.Context, c *Channel, x *store.Notification, err error) error {
	now := time.Now()
	failure := store.NotificationFailure{Error: err.Error(), NextTime: now.Add(backoff(x.Attempts))}
	failure.GiveUp = now.Sub(x.Time) >= giveUp
	log, message := n.log.WarnContext, "a notification was not sent, trying again"
	if failure.GiveUp {
		log, message = n.log.ErrorContext, "a notification was not sent and is given up"
	}
	log(ctx, message, "channel", c.name, "rule_id", x.RuleID, "dead_letter_id", x.DeadLetterID, "run", x.Run,
		"attempts", x.Attempts+1, "error", err)
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

// Test tells a channel something, once, and has that audited. The problem is why it was
// not taken, empty if it was. Errors: ErrNoChannel, the store's, the context's.
func (n *Notifier) Test(ctx context.Context, channel, text string, by store.Call) (problem string, took time.Duration, err error) {
	for _, c := range n.channels {
		if c.name != channel {
			continue
		}
		began := time.Now()
		if err := n.attempt(ctx, c, testMessage(text, began)); err != nil {
			problem = err.Error()
		}
		took = time.Since(began)
		// It was sent, whether the caller is still there or not.
		noting, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
		defer cancel()
		if err := n.store.NotificationTested(noting, channel, problem, by); err != nil {
			return problem, took, fmt.Errorf("note the test of a channel: %w", err)
		}
		return problem, took, ctx.Err()
	}
	return "", 0, ErrNoChannel
}
