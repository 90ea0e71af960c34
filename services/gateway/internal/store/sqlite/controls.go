package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	controlColumns = `task_type, worker_id, version, encoded, reason, time`

	selectControl = `SELECT ` + controlColumns + ` FROM controls WHERE task_type = ? AND worker_id = ?`

	selectControls = `SELECT ` + controlColumns + ` FROM controls ORDER BY task_type, worker_id`

	upsertControl = `INSERT INTO controls (` + controlColumns + `) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (task_type, worker_id) DO UPDATE SET version = excluded.version, encoded = excluded.encoded,
	reason = excluded.reason, time = excluded.time`
)

// PutControl implements [store.Store].
func (s *Store) PutControl(ctx context.Context, c store.Control) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	err := s.db.Write(ctx, func(tx *sql.Tx) error { return putControl(ctx, tx, c) })
	return translate(ctx, fmt.Sprintf("put control %d of %s %s", c.Version, c.TaskType, c.WorkerID), err)
}

func putControl(ctx context.Context, tx *sql.Tx, c store.Control) error {
	kept, err := scanControl(tx.QueryRowContext(ctx, selectControl, c.TaskType, c.WorkerID))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err == nil && sameControl(kept, c) {
		return nil
	}
	if c.Version != kept.Version+1 {
		return fmt.Errorf("%w: version %d is kept", store.ErrChanged, kept.Version)
	}
	_, err = tx.ExecContext(ctx, upsertControl, c.TaskType, c.WorkerID, c.Version, orEmpty(c.Encoded), c.Reason, micros(c.Time))
	return err
}

// sameControl says whether two controls of one type and worker are stored as the
// same.
func sameControl(a, b store.Control) bool {
	return a.Version == b.Version && bytes.Equal(a.Encoded, b.Encoded) && a.Reason == b.Reason && micros(a.Time) == micros(b.Time)
}

// Controls implements [store.Store].
func (s *Store) Controls(ctx context.Context) ([]store.Control, error) {
	return readAll(ctx, s, "read controls", func(rows *sql.Rows) (store.Control, error) { return scanControl(rows) }, selectControls)
}

func scanControl(row interface{ Scan(...any) error }) (store.Control, error) {
	var c store.Control
	var encoded []byte
	var at sql.Null[int64]
	if err := row.Scan(&c.TaskType, &c.WorkerID, &c.Version, &encoded, &c.Reason, &at); err != nil {
		return store.Control{}, err
	}
	if len(encoded) > 0 {
		c.Encoded = encoded
	}
	c.Time = fromMicros(at)
	return c, nil
}

// readAll reads the rows of a query.
func readAll[T any](ctx context.Context, s *Store, what string, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	rows, err := s.db.Reader.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, translate(ctx, what, err)
	}
	defer func() { _ = rows.Close() }()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, translate(ctx, what, err)
		}
		all = append(all, one)
	}
	return all, translate(ctx, what, rows.Err())
}
