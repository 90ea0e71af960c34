package gateway

import (
	"context"
	"time"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// Schedule implements [store.Store].
func (l lazyStore) Schedule(ctx context.Context, tasks []store.Scheduled) ([]store.Change, error) {
	return ask(ctx, l, "Schedule", func(s store.Store) ([]store.Change, error) { return s.Schedule(ctx, tasks) })
}

// Unschedule implements [store.Store].
func (l lazyStore) Unschedule(ctx context.Context, ids []string) error {
	return tell(ctx, l, "Unschedule", func(s store.Store) error { return s.Unschedule(ctx, ids) })
}

// ScheduledMessage implements [store.Store].
func (l lazyStore) ScheduledMessage(ctx context.Context, id string) ([]byte, error) {
	return ask(ctx, l, "ScheduledMessage", func(s store.Store) ([]byte, error) { return s.ScheduledMessage(ctx, id) })
}

// CountScheduled implements [store.Store].
func (l lazyStore) CountScheduled(ctx context.Context, taskType string) (int64, error) {
	return ask(ctx, l, "CountScheduled", func(s store.Store) (int64, error) { return s.CountScheduled(ctx, taskType) })
}

// PutSchedule implements [store.Store].
func (l lazyStore) PutSchedule(ctx context.Context, sc store.Schedule) error {
	return tell(ctx, l, "PutSchedule", func(s store.Store) error { return s.PutSchedule(ctx, sc) })
}

// GetSchedule implements [store.Store].
func (l lazyStore) GetSchedule(ctx context.Context, id string) (store.Schedule, error) {
	return ask(ctx, l, "GetSchedule", func(s store.Store) (store.Schedule, error) { return s.GetSchedule(ctx, id) })
}

// ListSchedules implements [store.Store].
func (l lazyStore) ListSchedules(ctx context.Context, after string, limit int) ([]store.Schedule, error) {
	return ask(ctx, l, "ListSchedules", func(s store.Store) ([]store.Schedule, error) { return s.ListSchedules(ctx, after, limit) })
}

// DeleteSchedule implements [store.Store].
func (l lazyStore) DeleteSchedule(ctx context.Context, id string, version int64) error {
	return tell(ctx, l, "DeleteSchedule", func(s store.Store) error { return s.DeleteSchedule(ctx, id, version) })
}

// Unended implements [store.Store].
func (l lazyStore) Unended(ctx context.Context, scheduleID string) (string, error) {
	return ask(ctx, l, "Unended", func(s store.Store) (string, error) { return s.Unended(ctx, scheduleID) })
}

// Fire implements [store.Store].
func (l lazyStore) Fire(ctx context.Context, f store.Fire) ([]store.Change, error) {
	return ask(ctx, l, "Fire", func(s store.Store) ([]store.Change, error) { return s.Fire(ctx, f) })
}

// Update implements [store.Store].
func (l lazyStore) Update(ctx context.Context, version int64, e task.Event, message []byte) (store.Change, error) {
	return ask(ctx, l, "Update", func(s store.Store) (store.Change, error) { return s.Update(ctx, version, e, message) })
}

// Cancel implements [store.Store].
func (l lazyStore) Cancel(ctx context.Context, requests []store.CancelRequest) ([]store.CancelAnswer, error) {
	return ask(ctx, l, "Cancel", func(s store.Store) ([]store.CancelAnswer, error) { return s.Cancel(ctx, requests) })
}

// Cancellations implements [store.Store].
func (l lazyStore) Cancellations(ctx context.Context, after int64, limit int) ([]store.Cancellation, error) {
	return ask(ctx, l, "Cancellations", func(s store.Store) ([]store.Cancellation, error) { return s.Cancellations(ctx, after, limit) })
}

// CancelPosition implements [store.Store].
func (l lazyStore) CancelPosition(ctx context.Context) (int64, error) {
	return ask(ctx, l, "CancelPosition", func(s store.Store) (int64, error) { return s.CancelPosition(ctx) })
}

// ForgetCancellations implements [store.Store].
func (l lazyStore) ForgetCancellations(ctx context.Context, seenBefore time.Time, limit int) ([]store.Cancellation, error) {
	return ask(ctx, l, "ForgetCancellations", func(s store.Store) ([]store.Cancellation, error) {
		return s.ForgetCancellations(ctx, seenBefore, limit)
	})
}

// PutControl implements [store.Store].
func (l lazyStore) PutControl(ctx context.Context, c store.Control) error {
	return tell(ctx, l, "PutControl", func(s store.Store) error { return s.PutControl(ctx, c) })
}

// Controls implements [store.Store].
func (l lazyStore) Controls(ctx context.Context) ([]store.Control, error) {
	return ask(ctx, l, "Controls", func(s store.Store) ([]store.Control, error) { return s.Controls(ctx) })
}

// PutWorkers implements [store.Store].
func (l lazyStore) PutWorkers(ctx context.Context, workers []store.WorkerRecord) error {
	return tell(ctx, l, "PutWorkers", func(s store.Store) error { return s.PutWorkers(ctx, workers) })
}

// Workers implements [store.Store].
func (l lazyStore) Workers(ctx context.Context) ([]store.WorkerRecord, error) {
	return ask(ctx, l, "Workers", func(s store.Store) ([]store.WorkerRecord, error) { return s.Workers(ctx) })
}

// ForgetWorkers implements [store.Store].
func (l lazyStore) ForgetWorkers(ctx context.Context, seenBefore time.Time) error {
	return tell(ctx, l, "ForgetWorkers", func(s store.Store) error { return s.ForgetWorkers(ctx, seenBefore) })
}

// ClaimKeys implements [store.Store].
func (l lazyStore) ClaimKeys(ctx context.Context, now time.Time, claims []store.KeyClaim) ([]store.KeyAnswer, error) {
	return ask(ctx, l, "ClaimKeys", func(s store.Store) ([]store.KeyAnswer, error) { return s.ClaimKeys(ctx, now, claims) })
}

// RenewKeys implements [store.Store].
func (l lazyStore) RenewKeys(ctx context.Context, keys []store.KeyRef, until time.Time) ([]bool, error) {
	return ask(ctx, l, "RenewKeys", func(s store.Store) ([]bool, error) { return s.RenewKeys(ctx, keys, until) })
}

// SettleKeys implements [store.Store].
func (l lazyStore) SettleKeys(ctx context.Context, keys []store.KeyRef, submitted bool) error {
	return tell(ctx, l, "SettleKeys", func(s store.Store) error { return s.SettleKeys(ctx, keys, submitted) })
}

// PurgeKeys implements [store.Store].
func (l lazyStore) PurgeKeys(ctx context.Context, now time.Time, limit int) (int, error) {
	return ask(ctx, l, "PurgeKeys", func(s store.Store) (int, error) { return s.PurgeKeys(ctx, now, limit) })
}

// TakeDue implements [store.Store].
func (l lazyStore) TakeDue(ctx context.Context, now time.Time, lease time.Duration, limit int, most map[string]int) (due []store.Due, next time.Time, err error) {
	defer l.measure(ctx, "TakeDue", time.Now(), &err)
	s, err := l.Get()
	if err != nil {
		return nil, time.Time{}, err
	}
	return s.TakeDue(ctx, now, lease, limit, most)
}

// DueSchedules implements [store.Store].
func (l lazyStore) DueSchedules(ctx context.Context, now time.Time, limit int) (due []store.Schedule, next time.Time, err error) {
	defer l.measure(ctx, "DueSchedules", time.Now(), &err)
	s, err := l.Get()
	if err != nil {
		return nil, time.Time{}, err
	}
	return s.DueSchedules(ctx, now, limit)
}

// CountRetrying implements [store.Store].
func (l lazyStore) CountRetrying(ctx context.Context) (map[string]int64, error) {
	return ask(ctx, l, "CountRetrying", func(s store.Store) (map[string]int64, error) { return s.CountRetrying(ctx) })
}

// NextQueued implements [store.Store].
func (l lazyStore) NextQueued(ctx context.Context, taskType, from string) (store.NextQueued, error) {
	return ask(ctx, l, "NextQueued", func(s store.Store) (store.NextQueued, error) { return s.NextQueued(ctx, taskType, from) })
}

// Queued implements [store.Store].
func (l lazyStore) Queued(ctx context.Context, taskType string) (retrying int64, oldest time.Time, known bool, err error) {
	defer l.measure(ctx, "Queued", time.Now(), &err)
	s, err := l.Get()
	if err != nil {
		return 0, time.Time{}, false, err
	}
	return s.Queued(ctx, taskType)
}
