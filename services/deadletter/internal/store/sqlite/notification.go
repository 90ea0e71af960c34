package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	insertNotification = `INSERT INTO notifications (id, dead_letter, run, state, time, attempts, next_time, last_error)
VALUES (?, ?, ?, 1, ?, 0, ?, '')`

	// The condition on the state is that of the index, word by word.
	selectDue = `SELECT n.id, d.id, n.run, n.time, n.attempts, n.next_time, n.last_error
FROM notifications n JOIN dead_letters d ON d.sequence = n.dead_letter
WHERE n.state = 1 AND n.next_time <= ? ORDER BY n.next_time, n.sequence LIMIT ?`

	selectNotification = `SELECT state FROM notifications WHERE id = ?`

	updateSent   = `UPDATE notifications SET state = 2 WHERE id = ?`
	updateFailed = `UPDATE notifications SET state = ?, attempts = attempts + 1, next_time = ?, last_error = ? WHERE id = ?`
)

// The states of a notification.
const (
	notificationDue int64 = iota + 1
	_                     // sent
	notificationGivenUp
)

// notify enqueues the notification of a run that died.
func (w *writing) notify(ctx context.Context, sequence int64, run int) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	return w.exec(ctx, insertNotification, id[:], sequence, int64(run), w.now, w.now)
}

// DueNotifications implements [store.Store].
func (s *Store) DueNotifications(ctx context.Context, now time.Time, limit int) ([]store.Notification, error) {
	var due []store.Notification
	err := s.read(ctx, "read due notifications", func(tx *sql.Tx) (err error) {
		due, err = collect(ctx, tx, scanNotification, selectDue, now.UnixMicro(), bounded(limit))
		return err
	})
	return due, err
}

func scanNotification(row scanner) (store.Notification, error) {
	var n store.Notification
	var id, deadLetter []byte
	var at, next int64
	if err := row.Scan(&id, &deadLetter, &n.Run, &at, &n.Attempts, &next, &n.LastError); err != nil {
		return n, err
	}
	n.Time, n.NextTime = time.UnixMicro(at).UTC(), time.UnixMicro(next).UTC()
	var errs [2]error
	n.ID, errs[0] = idOf(id)
	n.DeadLetterID, errs[1] = idOf(deadLetter)
	return n, errors.Join(errs[:]...)
}

// NotificationSent implements [store.Store].
func (s *Store) NotificationSent(ctx context.Context, id string) error {
	return s.changeNotification(ctx, id, func(ctx context.Context, w *writing, u uuid.UUID) error {
		return w.exec(ctx, updateSent, u[:])
	})
}

// NotificationFailed implements [store.Store].
func (s *Store) NotificationFailed(ctx context.Context, id string, f store.NotificationFailure) error {
	state := notificationDue
	if f.GiveUp {
		state = notificationGivenUp
	}
	return s.changeNotification(ctx, id, func(ctx context.Context, w *writing, u uuid.UUID) error {
		return w.exec(ctx, updateFailed, state, f.NextTime.UnixMicro(), f.Error, u[:])
	})
}

// changeNotification changes one that has not ended.
func (s *Store) changeNotification(ctx context.Context, id string, change func(context.Context, *writing, uuid.UUID) error) error {
	return s.write(ctx, "change notification "+id, func(ctx context.Context, w *writing) error {
		u, err := uuid.Parse(id)
		if err != nil {
			return fmt.Errorf("%w: %q is no id", store.ErrNotFound, id)
		}
		var state int64
		err = w.tx.QueryRowContext(ctx, selectNotification, u[:]).Scan(&state)
		if errors.Is(err, sql.ErrNoRows) {
			return store.ErrNotFound
		}
		if err != nil || state != notificationDue {
			return err
		}
		return change(ctx, w, u)
	})
}
