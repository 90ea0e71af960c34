package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	scheduleColumns = `id, version, spec, next`

	selectSchedule = `SELECT ` + scheduleColumns + ` FROM schedules WHERE id = ?`

	selectSchedules = `SELECT ` + scheduleColumns + ` FROM schedules WHERE id > ? ORDER BY id LIMIT ?`

	// The condition on next is that of the index, as SQLite needs it.
	selectDueSchedules = `SELECT ` + scheduleColumns + ` FROM schedules
WHERE next IS NOT NULL AND next <= ? ORDER BY next, id LIMIT ?`

	selectNextSchedule = `SELECT min(next) FROM schedules WHERE next IS NOT NULL AND next > ?`

	upsertSchedule = `INSERT INTO schedules (` + scheduleColumns + `) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, spec = excluded.spec, next = excluded.next`

	deleteSchedule = `DELETE FROM schedules WHERE id = ?`
)

// PutSchedule implements [store.Scheduler].
func (s *Store) PutSchedule(ctx context.Context, sc store.Schedule) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	err := s.db.Write(ctx, func(tx *sql.Tx) error { return putSchedule(ctx, tx, sc) })
	return translate(ctx, fmt.Sprintf("put version %d of schedule %q", sc.Version, sc.ID), err)
}

func putSchedule(ctx context.Context, tx *sql.Tx, sc store.Schedule) error {
	kept, err := scanSchedule(tx.QueryRowContext(ctx, selectSchedule, sc.ID))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if kept.ID == sc.ID && kept.Version == sc.Version && bytes.Equal(kept.Spec, sc.Spec) {
		return nil // it may have fired since
	}
	if sc.Version != kept.Version+1 {
		return fmt.Errorf("%w: version %d is kept", store.ErrChanged, kept.Version)
	}
	if sc.KeepNext && kept.ID == sc.ID {
		sc.Next = kept.Next
	}
	_, err = tx.ExecContext(ctx, upsertSchedule, sc.ID, sc.Version, orEmpty(sc.Spec), micros(sc.Next))
	return err
}

// GetSchedule implements [store.Scheduler].
func (s *Store) GetSchedule(ctx context.Context, id string) (store.Schedule, error) {
	found, err := s.schedules(ctx, fmt.Sprintf("schedule %q", id), func(tx *sql.Tx) ([]store.Schedule, error) {
		sc, err := scanSchedule(tx.QueryRowContext(ctx, selectSchedule, id))
		if errors.Is(err, sql.ErrNoRows) {
			err = store.ErrNotFound
		}
		return []store.Schedule{sc}, err
	})
	if err != nil {
		return store.Schedule{}, err
	}
	return found[0], nil
}

// ListSchedules implements [store.Scheduler].
func (s *Store) ListSchedules(ctx context.Context, after string, limit int) ([]store.Schedule, error) {
	return s.schedules(ctx, "list schedules", func(tx *sql.Tx) ([]store.Schedule, error) {
		return collect(ctx, tx, scanSchedules, selectSchedules, after, max(limit, 0))
	})
}

// DueSchedules implements [store.Scheduler].
func (s *Store) DueSchedules(ctx context.Context, now time.Time, limit int) ([]store.Schedule, time.Time, error) {
	var next time.Time
	due, err := s.schedules(ctx, "read due schedules", func(tx *sql.Tx) ([]store.Schedule, error) {
		limit := max(limit, 0)
		due, err := collect(ctx, tx, scanSchedules, selectDueSchedules, now.UnixMicro(), limit+1)
		if err != nil {
			return nil, err
		}
		if len(due) > limit {
			next = due[limit].Next
			return due[:limit], nil
		}
		var at sql.Null[int64]
		err = tx.QueryRowContext(ctx, selectNextSchedule, now.UnixMicro()).Scan(&at)
		next = fromMicros(at)
		return due, err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	return due, next, nil
}

// schedules reads schedules, and their firings, all as of one moment.
func (s *Store) schedules(ctx context.Context, what string, read func(*sql.Tx) ([]store.Schedule, error)) ([]store.Schedule, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	var found []store.Schedule
	err := s.reading(ctx, func(tx *sql.Tx) error {
		var err error
		if found, err = read(tx); err != nil {
			return err
		}
		return readFirings(ctx, tx, found)
	})
	if err != nil {
		return nil, translate(ctx, what, err)
	}
	return found, nil
}

func scanSchedules(rows *sql.Rows) (store.Schedule, error) { return scanSchedule(rows) }

func scanSchedule(row interface{ Scan(...any) error }) (store.Schedule, error) {
	var sc store.Schedule
	var next sql.Null[int64]
	if err := row.Scan(&sc.ID, &sc.Version, &sc.Spec, &next); err != nil {
		return store.Schedule{}, err
	}
	sc.Next = fromMicros(next)
	return sc, nil
}

// DeleteSchedule implements [store.Scheduler].
func (s *Store) DeleteSchedule(ctx context.Context, id string, version int64) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		kept, err := scanSchedule(tx.QueryRowContext(ctx, selectSchedule, id))
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return store.ErrNotFound
		case err != nil:
			return err
		case version != 0 && version != kept.Version:
			return fmt.Errorf("%w: version %d is kept", store.ErrChanged, kept.Version)
		}
		_, err = tx.ExecContext(ctx, deleteSchedule, id)
		return err
	})
	return translate(ctx, fmt.Sprintf("delete schedule %q", id), err)
}
