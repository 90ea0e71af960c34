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
	// IS holds of two NULLs, too.
	updateNext = `UPDATE schedules SET next = ? WHERE id = ? AND version = ? AND next IS ?`

	selectFirings = `SELECT number, time, encoded FROM schedule_firings WHERE schedule_id = ? ORDER BY number DESC`

	insertFiring = `INSERT INTO schedule_firings (schedule_id, number, time, encoded) VALUES (?, ?, ?, ?)`

	deleteFirings = `DELETE FROM schedule_firings WHERE schedule_id = ? AND number <= ?`
)

// Fire implements [store.Scheduler].
func (s *Store) Fire(ctx context.Context, f store.Fire) ([]store.Change, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	what := fmt.Sprintf("fire schedule %q", f.ScheduleID)
	if f.Task != nil {
		if err := validScheduled(f.Task); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
	}
	var changes []store.Change
	err := s.db.Write(ctx, func(tx *sql.Tx) (err error) {
		changes, err = s.fire(ctx, tx, &f)
		return err
	})
	switch {
	case errors.Is(err, errKnown):
		return nil, nil
	case err != nil:
		return nil, translateEvents(ctx, what, err)
	}
	return changes, nil
}

// errKnown undoes a firing that is for a new task only.
var errKnown = errors.New("the task is known")

func (s *Store) fire(ctx context.Context, tx *sql.Tx, f *store.Fire) ([]store.Change, error) {
	ok, err := changesOne(tx.ExecContext(ctx, updateNext, micros(f.Next), f.ScheduleID, f.Version, micros(f.Was)))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, store.ErrChanged
	}
	if err := recordFiring(ctx, tx, f.ScheduleID, f.Firing); err != nil || f.Task == nil {
		return nil, err
	}
	changes, err := s.schedule(ctx, tx, []store.Scheduled{*f.Task})
	if err == nil && f.OnlyNew && len(changes) == 0 {
		return nil, errKnown
	}
	return changes, err
}

// numberedFiring is a firing with its place among those of its schedule.
type numberedFiring struct {
	store.Firing
	number int64
}

func firingsOf(ctx context.Context, tx *sql.Tx, scheduleID string) ([]numberedFiring, error) {
	return collect(ctx, tx, func(rows *sql.Rows) (numberedFiring, error) {
		var f numberedFiring
		var at sql.Null[int64]
		err := rows.Scan(&f.number, &at, &f.Encoded)
		f.Time = fromMicros(at)
		return f, err
	}, selectFirings, scheduleID)
}

// readFirings fills in the last firings of schedules.
func readFirings(ctx context.Context, tx *sql.Tx, schedules []store.Schedule) error {
	for i := range schedules {
		firings, err := firingsOf(ctx, tx, schedules[i].ID)
		if err != nil {
			return err
		}
		for _, f := range firings {
			schedules[i].Firings = append(schedules[i].Firings, f.Firing)
		}
	}
	return nil
}

// recordFiring makes a firing the last one of its schedule, unless it is recorded:
// a trigger whose answer was lost is repeated.
func recordFiring(ctx context.Context, tx *sql.Tx, scheduleID string, f store.Firing) error {
	last := int64(0)
	firings, err := firingsOf(ctx, tx, scheduleID)
	if err != nil {
		return err
	}
	for _, known := range firings {
		if known.Time.Equal(f.Time.Truncate(time.Microsecond)) && bytes.Equal(known.Encoded, f.Encoded) {
			return nil
		}
		last = max(last, known.number)
	}
	if _, err := tx.ExecContext(ctx, insertFiring, scheduleID, last+1, micros(f.Time), orEmpty(f.Encoded)); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, deleteFirings, scheduleID, last+1-store.MaxFirings)
	return err
}
