package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	overrideColumns = `task_type, version, options, paths, reason, time`

	selectOverride = `SELECT ` + overrideColumns + ` FROM overrides WHERE task_type = ?`

	selectOverrides = `SELECT ` + overrideColumns + ` FROM overrides ORDER BY task_type`

	upsertOverride = `INSERT INTO overrides (` + overrideColumns + `) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (task_type) DO UPDATE SET version = excluded.version, options = excluded.options,
	paths = excluded.paths, reason = excluded.reason, time = excluded.time`

	insertPastOverride = `INSERT INTO override_history (` + overrideColumns + `) VALUES (?, ?, ?, ?, ?, ?)`
)

// PutOverride implements [store.Store].
func (s *Store) PutOverride(ctx context.Context, o store.Override) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	err := s.db.Write(ctx, func(tx *sql.Tx) error { return putOverride(ctx, tx, o) })
	return translate(ctx, fmt.Sprintf("put override %d of %s", o.Version, o.TaskType), err)
}

func putOverride(ctx context.Context, tx *sql.Tx, o store.Override) error {
	inForce, err := scanOverride(tx.QueryRowContext(ctx, selectOverride, o.TaskType))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if sameOverride(inForce, o) {
		return nil
	}
	if o.Version != inForce.Version+1 {
		return fmt.Errorf("%w: version %d is in force", store.ErrChanged, inForce.Version)
	}
	paths, err := encodePaths(o.Paths)
	if err != nil {
		return err
	}
	for _, query := range []string{upsertOverride, insertPastOverride} {
		if _, err := tx.ExecContext(ctx, query, o.TaskType, o.Version, orEmpty(o.Options), paths, o.Reason, micros(o.Time)); err != nil {
			return err
		}
	}
	return nil
}

// sameOverride says whether two overrides are stored as the same.
func sameOverride(a, b store.Override) bool {
	return a.TaskType == b.TaskType && a.Version == b.Version && bytes.Equal(a.Options, b.Options) &&
		slices.Equal(a.Paths, b.Paths) && a.Reason == b.Reason && micros(a.Time) == micros(b.Time)
}

// Overrides implements [store.Store].
func (s *Store) Overrides(ctx context.Context) ([]store.Override, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	tx, err := s.db.Reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, translate(ctx, "read overrides", err)
	}
	defer func() { _ = tx.Rollback() }()
	overrides, err := collect(ctx, tx, func(rows *sql.Rows) (store.Override, error) { return scanOverride(rows) }, selectOverrides)
	if err != nil {
		return nil, translate(ctx, "read overrides", err)
	}
	return overrides, nil
}

func scanOverride(row interface{ Scan(...any) error }) (store.Override, error) {
	var o store.Override
	var options []byte
	var paths sql.Null[string]
	var at sql.Null[int64]
	if err := row.Scan(&o.TaskType, &o.Version, &options, &paths, &o.Reason, &at); err != nil {
		return store.Override{}, err
	}
	if len(options) > 0 {
		o.Options = options
	}
	o.Time = fromMicros(at)
	var err error
	o.Paths, err = decodePaths(paths)
	return o, err
}
