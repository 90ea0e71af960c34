package notify

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	// measurePeriod is the time between two looks at whether conditions hold.
	measurePeriod = 5 * time.Second
	// measureShare bounds the part of the time that is spent on looking, to one in so many:
	// what is OPEN may be a million.
	measureShare = 20
)

// seen is a condition as it was measured last.
type seen struct {
	etag  string
	holds bool
}

// watchConditions measures the rules' conditions until ctx ends.
func (n *Notifier) watchConditions(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	problems := occasionally{log: n.log}
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		problems.warn(ctx, "conditions of notification rules wait for the store", n.measureAll(ctx, began))
		timer.Reset(max(measurePeriod, measureShare*time.Since(began)))
	}
}

// measureAll looks at each rule's condition once.
func (n *Notifier) measureAll(ctx context.Context, now time.Time) error {
	rules, err := n.store.Rules(ctx)
	if err != nil {
		return fmt.Errorf("read the rules: %w", err)
	}
	n.warnOfChannels(rules)
	var open []store.OpenByCode
	if slices.ContainsFunc(rules, asksForOpen) {
		if open, err = n.store.OpenByCode(ctx); err != nil {
			return fmt.Errorf("count what is open: %w", err)
		}
	}
	known := map[string]seen{}
	for i := range rules {
		r := &rules[i]
		if r.Disabled || !r.Trigger.IsCondition() {
			continue
		}
		found, holds, err := n.measure(ctx, r, open, now)
		if err != nil {
			return err
		}
		is := seen{r.Etag, holds}
		// Nothing is written while nothing changes.
		if n.seen[r.ID] != is {
			noted, err := n.store.Measure(ctx, r.ID, r.Etag, holds, found)
			if err != nil {
				return fmt.Errorf("note what rule %s has found: %w", r.ID, err)
			}
			if noted.Told {
				n.Wake()
			}
			if !noted.Settled {
				continue
			}
		}
		known[r.ID] = is
	}
	n.seen = known
	return nil
}

func asksForOpen(r store.Rule) bool {
	return !r.Disabled && (r.Trigger == store.TriggerCount || r.Trigger == store.TriggerOldestAge)
}

// measure says whether a rule's condition holds, and what there is.
func (n *Notifier) measure(ctx context.Context, r *store.Rule, open []store.OpenByCode, now time.Time) (store.Measured, bool, error) {
	var found store.Measured
	if r.Trigger == store.TriggerRate {
		count, err := n.store.CountArrivals(ctx, r.ID, now.Add(-r.Window))
		if err != nil {
			return found, false, fmt.Errorf("count what rule %s has seen: %w", r.ID, err)
		}
		return store.Measured{Count: count, Threshold: r.Threshold, Window: r.Window}, count > r.Threshold, nil
	}
	oldest := now
	for i := range open {
		o := &open[i]
		if !r.Matches(o.Type, o.Code) {
			continue
		}
		found.Count += o.Count
		if o.Oldest.Before(oldest) {
			oldest = o.Oldest
		}
	}
	if r.Trigger == store.TriggerCount {
		found.Threshold = r.Threshold
		return found, found.Count > r.Threshold, nil
	}
	found = store.Measured{Age: now.Sub(oldest), Window: r.Window}
	return found, found.Age > r.Window, nil
}

// warnOfChannels says once which channels rules name that are not there.
func (n *Notifier) warnOfChannels(rules []store.Rule) {
	for i := range rules {
		for _, name := range rules[i].Channels {
			if !n.warned[name] && !slices.ContainsFunc(n.channels, func(c *Channel) bool { return c.name == name }) {
				n.warned[name] = true
				n.log.Warn("a notification rule names a channel that is not configured", "rule_id", rules[i].ID, "channel", name)
			}
		}
	}
}
