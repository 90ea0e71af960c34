package service

import (
	"context"
	"time"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// DueNotifications implements [store.Store].
func (s lazyStore) DueNotifications(ctx context.Context, channel string, now time.Time, limit int) ([]store.Notification, error) {
	return ask(ctx, s, "DueNotifications", func(o store.Store) ([]store.Notification, error) {
		return o.DueNotifications(ctx, channel, now, limit)
	})
}

// NotificationSent implements [store.Store].
func (s lazyStore) NotificationSent(ctx context.Context, id string) error {
	return tell(ctx, s, "NotificationSent", func(o store.Store) error { return o.NotificationSent(ctx, id) })
}

// NotificationFailed implements [store.Store].
func (s lazyStore) NotificationFailed(ctx context.Context, id string, f store.NotificationFailure) error {
	return tell(ctx, s, "NotificationFailed", func(o store.Store) error { return o.NotificationFailed(ctx, id, f) })
}

// NotificationTested implements [store.Store].
func (s lazyStore) NotificationTested(ctx context.Context, channel, problem string, by store.Call) error {
	return tell(ctx, s, "NotificationTested", func(o store.Store) error { return o.NotificationTested(ctx, channel, problem, by) })
}

// NotificationLog implements [store.Store].
func (s lazyStore) NotificationLog(ctx context.Context, f filter.Expr, before int64, limit int) ([]store.Notification, error) {
	return ask(ctx, s, "NotificationLog", func(o store.Store) ([]store.Notification, error) {
		return o.NotificationLog(ctx, f, before, limit)
	})
}

// ChannelStates implements [store.Store].
func (s lazyStore) ChannelStates(ctx context.Context) ([]store.ChannelState, error) {
	return ask(ctx, s, "ChannelStates", func(o store.Store) ([]store.ChannelState, error) { return o.ChannelStates(ctx) })
}

// GiveUpNotifications implements [store.Store].
func (s lazyStore) GiveUpNotifications(ctx context.Context, channels []string, before time.Time, limit int) (int, error) {
	return ask(ctx, s, "GiveUpNotifications", func(o store.Store) (int, error) { return o.GiveUpNotifications(ctx, channels, before, limit) })
}

// ForgetNotifications implements [store.Store].
func (s lazyStore) ForgetNotifications(ctx context.Context, before time.Time, limit int) (int, error) {
	return ask(ctx, s, "ForgetNotifications", func(o store.Store) (int, error) { return o.ForgetNotifications(ctx, before, limit) })
}

// CreateRule implements [store.Store].
func (s lazyStore) CreateRule(ctx context.Context, r store.Rule, by store.Call) (store.Rule, error) {
	return ask(ctx, s, "CreateRule", func(o store.Store) (store.Rule, error) { return o.CreateRule(ctx, r, by) })
}

// UpdateRule implements [store.Store].
func (s lazyStore) UpdateRule(
	ctx context.Context, id, etag string, change func(store.Rule) (store.Rule, error), by store.Call,
) (store.Rule, error) {
	return ask(ctx, s, "UpdateRule", func(o store.Store) (store.Rule, error) { return o.UpdateRule(ctx, id, etag, change, by) })
}

// DeleteRule implements [store.Store].
func (s lazyStore) DeleteRule(ctx context.Context, id, etag string, by store.Call) error {
	return tell(ctx, s, "DeleteRule", func(o store.Store) error { return o.DeleteRule(ctx, id, etag, by) })
}

// Rules implements [store.Store].
func (s lazyStore) Rules(ctx context.Context) ([]store.Rule, error) {
	return ask(ctx, s, "Rules", func(o store.Store) ([]store.Rule, error) { return o.Rules(ctx) })
}

// CountArrivals implements [store.Store].
func (s lazyStore) CountArrivals(ctx context.Context, ruleID string, since time.Time) (int64, error) {
	return ask(ctx, s, "CountArrivals", func(o store.Store) (int64, error) { return o.CountArrivals(ctx, ruleID, since) })
}

// OpenByCode implements [store.Store].
func (s lazyStore) OpenByCode(ctx context.Context) ([]store.OpenByCode, error) {
	return ask(ctx, s, "OpenByCode", func(o store.Store) ([]store.OpenByCode, error) { return o.OpenByCode(ctx) })
}

// Measure implements [store.Store].
func (s lazyStore) Measure(ctx context.Context, ruleID, etag string, holds bool, m store.Measured) (store.Noted, error) {
	return ask(ctx, s, "Measure", func(o store.Store) (store.Noted, error) { return o.Measure(ctx, ruleID, etag, holds, m) })
}
