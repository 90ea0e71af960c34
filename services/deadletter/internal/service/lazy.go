package service

import (
	"context"
	"time"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/lazy"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// lazyStore is a store that need not be open yet: until it is, it answers that it
// is unavailable; then it passes all on. What it is asked is measured, by the method.
type lazyStore struct {
	*lazy.Resource[store.Store]
	metrics *sqldb.Metrics
}

var _ store.Store = lazyStore{}

// measure is deferred by methods that neither ask nor tell.
func (s lazyStore) measure(ctx context.Context, operation string, began time.Time, err *error) {
	s.metrics.Done(ctx, operation, began, *err)
}

// ask is [lazy.Ask], measured.
func ask[T any](ctx context.Context, s lazyStore, operation string, f func(store.Store) (T, error)) (T, error) {
	began := time.Now()
	answer, err := lazy.Ask(s.Resource, f)
	s.metrics.Done(ctx, operation, began, err)
	return answer, err
}

// tell is [lazy.Tell], measured.
func tell(ctx context.Context, s lazyStore, operation string, f func(store.Store) error) error {
	began := time.Now()
	err := lazy.Tell(s.Resource, f)
	s.metrics.Done(ctx, operation, began, err)
	return err
}

// BeginReplay implements [store.Store].
func (s lazyStore) BeginReplay(ctx context.Context, r store.ReplayRequest) (_ store.DeadLetter, _ store.Intent, err error) {
	defer s.measure(ctx, "BeginReplay", time.Now(), &err)
	opened, err := s.Resource.Get()
	if err != nil {
		return store.DeadLetter{}, store.Intent{}, err
	}
	return opened.BeginReplay(ctx, r)
}

// Put implements [store.Store].
func (s lazyStore) Put(ctx context.Context, arrivals []store.Arrival) ([]store.Change, error) {
	return ask(ctx, s, "Put", func(o store.Store) ([]store.Change, error) { return o.Put(ctx, arrivals) })
}

// Get implements [store.Store].
func (s lazyStore) Get(ctx context.Context, id string, full bool) (store.DeadLetter, error) {
	return ask(ctx, s, "Get", func(o store.Store) (store.DeadLetter, error) { return o.Get(ctx, id, full) })
}

// List implements [store.Store].
func (s lazyStore) List(ctx context.Context, q store.Query) (store.Page, error) {
	return ask(ctx, s, "List", func(o store.Store) (store.Page, error) { return o.List(ctx, q) })
}

// Count implements [store.Store].
func (s lazyStore) Count(ctx context.Context, q store.Query) (int64, error) {
	return ask(ctx, s, "Count", func(o store.Store) (int64, error) { return o.Count(ctx, q) })
}

// CountOpen implements [store.Store].
func (s lazyStore) CountOpen(ctx context.Context) ([]store.OpenCount, error) {
	return ask(ctx, s, "CountOpen", func(o store.Store) ([]store.OpenCount, error) { return o.CountOpen(ctx) })
}

// Changes implements [store.Store].
func (s lazyStore) Changes(ctx context.Context, after int64, f filter.Expr, limit int, full bool) (store.ChangePage, error) {
	return ask(ctx, s, "Changes", func(o store.Store) (store.ChangePage, error) { return o.Changes(ctx, after, f, limit, full) })
}

// LatestChange implements [store.Store].
func (s lazyStore) LatestChange(ctx context.Context) (int64, error) {
	return ask(ctx, s, "LatestChange", func(o store.Store) (int64, error) { return o.LatestChange(ctx) })
}

// ResolveNow implements [store.Store].
func (s lazyStore) ResolveNow(ctx context.Context, r store.ResolveRequest) (store.DeadLetter, error) {
	return ask(ctx, s, "ResolveNow", func(o store.Store) (store.DeadLetter, error) { return o.ResolveNow(ctx, r) })
}

// Discard implements [store.Store].
func (s lazyStore) Discard(ctx context.Context, r store.DiscardRequest) (store.DeadLetter, error) {
	return ask(ctx, s, "Discard", func(o store.Store) (store.DeadLetter, error) { return o.Discard(ctx, r) })
}

// Intents implements [store.Store].
func (s lazyStore) Intents(ctx context.Context, state store.IntentState, after int64, limit int) ([]store.Intent, error) {
	return ask(ctx, s, "Intents", func(o store.Store) ([]store.Intent, error) { return o.Intents(ctx, state, after, limit) })
}

// MarkPublishing implements [store.Store].
func (s lazyStore) MarkPublishing(ctx context.Context, intentID string) (store.Intent, error) {
	return ask(ctx, s, "MarkPublishing", func(o store.Store) (store.Intent, error) { return o.MarkPublishing(ctx, intentID) })
}

// MarkUnroutable implements [store.Store].
func (s lazyStore) MarkUnroutable(ctx context.Context, intentID string) error {
	return tell(ctx, s, "MarkUnroutable", func(o store.Store) error { return o.MarkUnroutable(ctx, intentID) })
}

// MarkPublished implements [store.Store].
func (s lazyStore) MarkPublished(ctx context.Context, intentID string) error {
	return tell(ctx, s, "MarkPublished", func(o store.Store) error { return o.MarkPublished(ctx, intentID) })
}

// Resolve implements [store.Store].
func (s lazyStore) Resolve(ctx context.Context, id string, run int, outcome store.Outcome) (bool, error) {
	return ask(ctx, s, "Resolve", func(o store.Store) (bool, error) { return o.Resolve(ctx, id, run, outcome) })
}

// Audit implements [store.Store].
func (s lazyStore) Audit(ctx context.Context, id string) ([]store.AuditEntry, error) {
	return ask(ctx, s, "Audit", func(o store.Store) ([]store.AuditEntry, error) { return o.Audit(ctx, id) })
}

// Check implements [store.Store].
func (s lazyStore) Check(ctx context.Context) error {
	return tell(ctx, s, "Check", func(o store.Store) error { return o.Check(ctx) })
}

// Hold implements [store.Store].
func (s lazyStore) Hold(ctx context.Context, held []store.Held) error {
	return tell(ctx, s, "Hold", func(o store.Store) error { return o.Hold(ctx, held) })
}

// Held implements [store.Store].
func (s lazyStore) Held(ctx context.Context, after int64, limit int) ([]store.Held, error) {
	return ask(ctx, s, "Held", func(o store.Store) ([]store.Held, error) { return o.Held(ctx, after, limit) })
}

// Unhold implements [store.Store].
func (s lazyStore) Unhold(ctx context.Context, keys []string) error {
	return tell(ctx, s, "Unhold", func(o store.Store) error { return o.Unhold(ctx, keys) })
}

// AuditEvents implements [store.Store].
func (s lazyStore) AuditEvents(ctx context.Context, f filter.Expr, before int64, limit int) ([]store.AuditEvent, error) {
	return ask(ctx, s, "AuditEvents", func(o store.Store) ([]store.AuditEvent, error) { return o.AuditEvents(ctx, f, before, limit) })
}

// Freeze implements [store.Store].
func (s lazyStore) Freeze(ctx context.Context, r store.FreezeRequest) (store.Selection, error) {
	return ask(ctx, s, "Freeze", func(o store.Store) (store.Selection, error) { return o.Freeze(ctx, r) })
}

// Select implements [store.Store].
func (s lazyStore) Select(ctx context.Context, r store.FreezeRequest) (store.Selection, error) {
	return ask(ctx, s, "Select", func(o store.Store) (store.Selection, error) { return o.Select(ctx, r) })
}

// Selection implements [store.Store].
func (s lazyStore) Selection(ctx context.Context, token string) (store.Selection, error) {
	return ask(ctx, s, "Selection", func(o store.Store) (store.Selection, error) { return o.Selection(ctx, token) })
}

// Selected implements [store.Store].
func (s lazyStore) Selected(ctx context.Context, sequences []int64, full bool) ([]store.DeadLetter, error) {
	return ask(ctx, s, "Selected", func(o store.Store) ([]store.DeadLetter, error) { return o.Selected(ctx, sequences, full) })
}
