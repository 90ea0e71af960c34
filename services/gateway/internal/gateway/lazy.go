package gateway

import (
	"context"
	"time"

	"github.com/warrenmq/warren/pkg/lazy"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// lazyStore is a store that need not be open yet: until it is, it answers that it
// is unavailable; then it passes all on. What it is asked is measured, by the method.
type lazyStore struct {
	*lazy.Resource[store.Store]
	metrics *sqldb.Metrics
}

var _ store.Store = lazyStore{}

// measure is deferred by methods that neither ask nor tell.
func (l lazyStore) measure(ctx context.Context, operation string, began time.Time, err *error) {
	l.metrics.Done(ctx, operation, began, *err)
}

// ask is [lazy.Ask], measured.
func ask[T any](ctx context.Context, l lazyStore, operation string, f func(store.Store) (T, error)) (T, error) {
	began := time.Now()
	answer, err := lazy.Ask(l.Resource, f)
	l.metrics.Done(ctx, operation, began, err)
	return answer, err
}

// tell is [lazy.Tell], measured.
func tell(ctx context.Context, l lazyStore, operation string, f func(store.Store) error) error {
	began := time.Now()
	err := lazy.Tell(l.Resource, f)
	l.metrics.Done(ctx, operation, began, err)
	return err
}

// Apply implements [store.Store].
func (l lazyStore) Apply(ctx context.Context, events []task.Event) ([]store.Change, error) {
	return ask(ctx, l, "Apply", func(s store.Store) ([]store.Change, error) { return s.Apply(ctx, events) })
}

// Task implements [store.Store].
func (l lazyStore) Task(ctx context.Context, id string) (task.Task, error) {
	return ask(ctx, l, "Task", func(s store.Store) (task.Task, error) { return s.Task(ctx, id) })
}

// Tasks implements [store.Store].
func (l lazyStore) Tasks(ctx context.Context, ids []string) ([]task.Task, error) {
	return ask(ctx, l, "Tasks", func(s store.Store) ([]task.Task, error) { return s.Tasks(ctx, ids) })
}

// List implements [store.Store].
func (l lazyStore) List(ctx context.Context, q store.Query) (store.Page, error) {
	return ask(ctx, l, "List", func(s store.Store) (store.Page, error) { return s.List(ctx, q) })
}

// Feed implements [store.Store].
func (l lazyStore) Feed(ctx context.Context, q store.FeedQuery) (store.FeedPage, error) {
	return ask(ctx, l, "Feed", func(s store.Store) (store.FeedPage, error) { return s.Feed(ctx, q) })
}

// FeedEnd implements [store.Store].
func (l lazyStore) FeedEnd(ctx context.Context) (store.FeedPosition, error) {
	return ask(ctx, l, "FeedEnd", func(s store.Store) (store.FeedPosition, error) { return s.FeedEnd(ctx) })
}

// TrimFeed implements [store.Store].
func (l lazyStore) TrimFeed(ctx context.Context, before time.Time, limit int) (int, error) {
	return ask(ctx, l, "TrimFeed", func(s store.Store) (int, error) { return s.TrimFeed(ctx, before, limit) })
}

// Body implements [store.Store].
func (l lazyStore) Body(ctx context.Context, id string, number int64) ([]byte, error) {
	return ask(ctx, l, "Body", func(s store.Store) ([]byte, error) { return s.Body(ctx, id, number) })
}

// Event implements [store.Store].
func (l lazyStore) Event(ctx context.Context, id string, key task.Key) (task.NumberedEvent, error) {
	return ask(ctx, l, "Event", func(s store.Store) (task.NumberedEvent, error) { return s.Event(ctx, id, key) })
}

// Events implements [store.Store].
func (l lazyStore) Events(ctx context.Context, id string, after int64, limit int, bodies bool) ([]task.NumberedEvent, error) {
	return ask(ctx, l, "Events", func(s store.Store) ([]task.NumberedEvent, error) { return s.Events(ctx, id, after, limit, bodies) })
}

// History implements [store.Store].
func (l lazyStore) History(ctx context.Context, id string) ([]task.NumberedEvent, error) {
	return ask(ctx, l, "History", func(s store.Store) ([]task.NumberedEvent, error) { return s.History(ctx, id) })
}

// Start implements [store.Store].
func (l lazyStore) Start(ctx context.Context, requests []task.StartRequest) ([]task.StartAnswer, error) {
	return ask(ctx, l, "Start", func(s store.Store) ([]task.StartAnswer, error) { return s.Start(ctx, requests) })
}

// ClaimRun implements [store.Store].
func (l lazyStore) ClaimRun(ctx context.Context, id string, run int, c task.Copy) (held, ended bool, err error) {
	defer l.measure(ctx, "ClaimRun", time.Now(), &err)
	s, err := l.Get()
	if err != nil {
		return false, false, err
	}
	return s.ClaimRun(ctx, id, run, c)
}

// PutOverride implements [store.Store].
func (l lazyStore) PutOverride(ctx context.Context, o store.Override) error {
	return tell(ctx, l, "PutOverride", func(s store.Store) error { return s.PutOverride(ctx, o) })
}

// Overrides implements [store.Store].
func (l lazyStore) Overrides(ctx context.Context) ([]store.Override, error) {
	return ask(ctx, l, "Overrides", func(s store.Store) ([]store.Override, error) { return s.Overrides(ctx) })
}

// PurgeEnded implements [store.Store].
func (l lazyStore) PurgeEnded(ctx context.Context, which store.Ended, limit int) (int, error) {
	return ask(ctx, l, "PurgeEnded", func(s store.Store) (int, error) { return s.PurgeEnded(ctx, which, limit) })
}

// PurgeTombstones implements [store.Store].
func (l lazyStore) PurgeTombstones(ctx context.Context, purgedBefore time.Time, limit int) (int, error) {
	return ask(ctx, l, "PurgeTombstones", func(s store.Store) (int, error) { return s.PurgeTombstones(ctx, purgedBefore, limit) })
}

// PutBundle implements [store.Store].
func (l lazyStore) PutBundle(ctx context.Context, b store.BundleRecord) error {
	return tell(ctx, l, "PutBundle", func(s store.Store) error { return s.PutBundle(ctx, b) })
}

// Bundles implements [store.Store].
func (l lazyStore) Bundles(ctx context.Context) ([]store.BundleRecord, error) {
	return ask(ctx, l, "Bundles", func(s store.Store) ([]store.BundleRecord, error) { return s.Bundles(ctx) })
}

// RetireType implements [store.Store].
func (l lazyStore) RetireType(ctx context.Context, r store.Retirement) error {
	return tell(ctx, l, "RetireType", func(s store.Store) error { return s.RetireType(ctx, r) })
}

// Retirements implements [store.Store].
func (l lazyStore) Retirements(ctx context.Context) ([]store.Retirement, error) {
	return ask(ctx, l, "Retirements", func(s store.Store) ([]store.Retirement, error) { return s.Retirements(ctx) })
}

// CountUnended implements [store.Store].
func (l lazyStore) CountUnended(ctx context.Context, taskType string) (map[task.State]int64, error) {
	return ask(ctx, l, "CountUnended", func(s store.Store) (map[task.State]int64, error) { return s.CountUnended(ctx, taskType) })
}

// Check implements [store.Store].
func (l lazyStore) Check(ctx context.Context) error {
	return tell(ctx, l, "Check", func(s store.Store) error { return s.Check(ctx) })
}
