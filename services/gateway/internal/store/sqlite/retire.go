package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	selectRetirementTime = `SELECT time FROM retirements WHERE method = ?`

	upsertRetirement = `INSERT INTO retirements (method, task_type, input, output, reason, time) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (method) DO UPDATE SET reason = excluded.reason, time = excluded.time, input = excluded.input, output = excluded.output`

	selectRetirements = `SELECT task_type, method, input, output, reason, time FROM retirements ORDER BY task_type`

	selectRetired = `SELECT task_type FROM retirements`

	deleteRetirement = `DELETE FROM retirements WHERE method = ?`

	deleteDefinition = `DELETE FROM definitions WHERE name = ?`

	// 5 and 6 are SUCCEEDED and CANCELLED.
	countUnended = `SELECT state, count(*) FROM tasks WHERE type = ? AND state NOT IN (5, 6) GROUP BY state`
)

// RetireType implements [store.Store].
func (s *Store) RetireType(ctx context.Context, r store.Retirement) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	err := s.db.Write(ctx, func(tx *sql.Tx) error { return retireType(ctx, tx, r) })
	return translate(ctx, "retire the task type "+r.TaskType, err)
}

func retireType(ctx context.Context, tx *sql.Tx, r store.Retirement) error {
	var before sql.Null[int64]
	switch err := tx.QueryRowContext(ctx, selectRetirementTime, r.Method).Scan(&before); {
	case err == nil && before.Valid && before.V == r.Time.UnixMicro():
		return nil
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return err
	}
	if err := noneScheduled(ctx, tx, r.TaskType); err != nil {
		return err
	}
	if err := resetOverride(ctx, tx, r); err != nil {
		return err
	}
	for _, name := range r.Forget {
		if _, err := tx.ExecContext(ctx, deleteDefinition, name); err != nil {
			return err
		}
	}
	for _, query := range []string{deleteBundles, deleteFiles} {
		if _, err := tx.ExecContext(ctx, query); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, upsertRetirement, r.Method, r.TaskType, r.Input, r.Output, r.Reason, r.Time.UnixMicro())
	return err
}

// noneScheduled fails if a task for later was kept since somebody looked: from the
// retirement on none is.
func noneScheduled(ctx context.Context, tx *sql.Tx, taskType string) error {
	var n int64
	if err := tx.QueryRowContext(ctx, selectScheduledOf, taskType).Scan(&n); err != nil {
		return err
	}
	if n > 0 {
		return fmt.Errorf("%w: %d of %s", store.ErrInUse, n, taskType)
	}
	return nil
}

// retiredTypes are the names of the task types of which nothing is to be kept for later.
func retiredTypes(ctx context.Context, tx *sql.Tx) (map[string]bool, error) {
	names, err := collect(ctx, tx, scanOne[string], selectRetired)
	if err != nil {
		return nil, err
	}
	retired := make(map[string]bool, len(names))
	for _, name := range names {
		retired[name] = true
	}
	return retired, nil
}

// resetOverride keeps the version growing, so that no etag is used twice.
func resetOverride(ctx context.Context, tx *sql.Tx, r store.Retirement) error {
	inForce, err := scanOverride(tx.QueryRowContext(ctx, selectOverride, r.TaskType))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if inForce.Version != r.Version {
		return fmt.Errorf("%w: version %d is in force", store.ErrChanged, inForce.Version)
	}
	if r.Version == 0 {
		return nil
	}
	return putOverride(ctx, tx, store.Override{TaskType: r.TaskType, Version: r.Version + 1, Reason: r.Reason, Time: r.Time})
}

// Retirements implements [store.Store].
func (s *Store) Retirements(ctx context.Context) ([]store.Retirement, error) {
	return readAll(ctx, s, "read retirements", func(rows *sql.Rows) (store.Retirement, error) {
		var r store.Retirement
		var at sql.Null[int64]
		err := rows.Scan(&r.TaskType, &r.Method, &r.Input, &r.Output, &r.Reason, &at)
		r.Time = fromMicros(at)
		return r, err
	}, selectRetirements)
}

// CountUnended implements [store.Store].
func (s *Store) CountUnended(ctx context.Context, taskType string) (map[task.State]int64, error) {
	type count struct {
		state task.State
		tasks int64
	}
	counts, err := readAll(ctx, s, "count tasks of "+taskType, func(rows *sql.Rows) (c count, err error) {
		err = rows.Scan(&c.state, &c.tasks)
		return c, err
	}, countUnended, taskType)
	if err != nil {
		return nil, err
	}
	out := make(map[task.State]int64, len(counts))
	for _, c := range counts {
		out[c.state] = c.tasks
	}
	return out, nil
}
