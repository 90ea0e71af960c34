package lazy

import (
	"context"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/filter"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// with asks the store if it is open.
func with[T any](s *Store, ask func(store.Store) (T, error)) (T, error) {
	opened, err := s.get()
	if err != nil {
		var none T
		return none, err
	}
	return ask(opened)
}

// tell does something to the store if it is open.
func tell(s *Store, do func(store.Store) error) error {
	opened, err := s.get()
	if err != nil {
		return err
	}
	return do(opened)
}

// BeginReplay implements [store.Store].
func (s *Store) BeginReplay(ctx context.Context, r store.ReplayRequest) (store.DeadLetter, store.Intent, error) {
	opened, err := s.get()
	if err != nil {
		return store.DeadLetter{}, store.Intent{}, err
	}
	return opened.BeginReplay(ctx, r)
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, arrivals []store.Arrival) ([]store.Change, error) {
	return with(s, func(o store.Store) ([]store.Change, error) { return o.Put(ctx, arrivals) })
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, id string, full bool) (store.DeadLetter, error) {
	return with(s, func(o store.Store) (store.DeadLetter, error) { return o.Get(ctx, id, full) })
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, q store.Query) (store.Page, error) {
	return with(s, func(o store.Store) (store.Page, error) { return o.List(ctx, q) })
}

// Count implements [store.Store].
func (s *Store) Count(ctx context.Context, q store.Query) (int64, error) {
	return with(s, func(o store.Store) (int64, error) { return o.Count(ctx, q) })
}

// Changes implements [store.Store].
func (s *Store) Changes(ctx context.Context, after int64, f filter.Expr, limit int, full bool) (store.ChangePage, error) {
	return with(s, func(o store.Store) (store.ChangePage, error) { return o.Changes(ctx, after, f, limit, full) })
}

// LatestChange implements [store.Store].
func (s *Store) LatestChange(ctx context.Context) (int64, error) {
	return with(s, func(o store.Store) (int64, error) { return o.LatestChange(ctx) })
}

// ResolveNow implements [store.Store].
func (s *Store) ResolveNow(ctx context.Context, r store.ResolveRequest) (store.DeadLetter, error) {
	return with(s, func(o store.Store) (store.DeadLetter, error) { return o.ResolveNow(ctx, r) })
}

// Discard implements [store.Store].
func (s *Store) Discard(ctx context.Context, r store.DiscardRequest) (store.DeadLetter, error) {
	return with(s, func(o store.Store) (store.DeadLetter, error) { return o.Discard(ctx, r) })
}

// Intents implements [store.Store].
func (s *Store) Intents(ctx context.Context, state store.IntentState, after int64, limit int) ([]store.Intent, error) {
	return with(s, func(o store.Store) ([]store.Intent, error) { return o.Intents(ctx, state, after, limit) })
}

// MarkPublishing implements [store.Store].
func (s *Store) MarkPublishing(ctx context.Context, intentID string) (store.Intent, error) {
	return with(s, func(o store.Store) (store.Intent, error) { return o.MarkPublishing(ctx, intentID) })
}

// MarkUnroutable implements [store.Store].
func (s *Store) MarkUnroutable(ctx context.Context, intentID string) error {
	return tell(s, func(o store.Store) error { return o.MarkUnroutable(ctx, intentID) })
}

// MarkPublished implements [store.Store].
func (s *Store) MarkPublished(ctx context.Context, intentID string) error {
	return tell(s, func(o store.Store) error { return o.MarkPublished(ctx, intentID) })
}

// Resolve implements [store.Store].
func (s *Store) Resolve(ctx context.Context, id string, run int, outcome store.Outcome) (bool, error) {
	return with(s, func(o store.Store) (bool, error) { return o.Resolve(ctx, id, run, outcome) })
}

// Audit implements [store.Store].
func (s *Store) Audit(ctx context.Context, id string) ([]store.AuditEntry, error) {
	return with(s, func(o store.Store) ([]store.AuditEntry, error) { return o.Audit(ctx, id) })
}

// DueNotifications implements [store.Store].
func (s *Store) DueNotifications(ctx context.Context, now time.Time, limit int) ([]store.Notification, error) {
	return with(s, func(o store.Store) ([]store.Notification, error) { return o.DueNotifications(ctx, now, limit) })
}

// NotificationSent implements [store.Store].
func (s *Store) NotificationSent(ctx context.Context, id string) error {
	return tell(s, func(o store.Store) error { return o.NotificationSent(ctx, id) })
}

// NotificationFailed implements [store.Store].
func (s *Store) NotificationFailed(ctx context.Context, id string, f store.NotificationFailure) error {
	return tell(s, func(o store.Store) error { return o.NotificationFailed(ctx, id, f) })
}

// Check implements [store.Store].
func (s *Store) Check(ctx context.Context) error {
	return tell(s, func(o store.Store) error { return o.Check(ctx) })
}

// Hold implements [store.Store].
func (s *Store) Hold(ctx context.Context, held []store.Held) error {
	return tell(s, func(o store.Store) error { return o.Hold(ctx, held) })
}

// Held implements [store.Store].
func (s *Store) Held(ctx context.Context, after int64, limit int) ([]store.Held, error) {
	return with(s, func(o store.Store) ([]store.Held, error) { return o.Held(ctx, after, limit) })
}

// Unhold implements [store.Store].
func (s *Store) Unhold(ctx context.Context, keys []string) error {
	return tell(s, func(o store.Store) error { return o.Unhold(ctx, keys) })
}
