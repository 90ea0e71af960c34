package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// The condition on the state is that of the index tasks_ended, word by
	// word, as SQLite needs it. A task whose next run is known by its progress
	// only has not ended, though its state is still that of the last run.
	selectEnded = `SELECT id, run, version FROM tasks
WHERE state IN (5, 6) AND end_time < ? AND decided_run = run ORDER BY end_time LIMIT ?`

	upsertTombstone = `INSERT INTO tombstones (task_id, run, version, purge_time) VALUES (?, ?, ?, ?)
ON CONFLICT (task_id) DO UPDATE SET
	run = max(run, excluded.run), version = max(version, excluded.version), purge_time = excluded.purge_time`

	deleteTask   = `DELETE FROM tasks WHERE id = ?`
	deleteEvents = `DELETE FROM task_events WHERE task_id = ?`
	deleteBodies = `DELETE FROM task_bodies WHERE task_id = ?`

	deleteTombstones = `DELETE FROM tombstones WHERE task_id IN (
	SELECT task_id FROM tombstones WHERE purge_time < ? ORDER BY purge_time LIMIT ?)`
)

// PurgeEnded implements [store.Store].
func (s *Store) PurgeEnded(ctx context.Context, endedBefore time.Time, limit int) (int, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	n := 0
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		ended, err := s.ended(ctx, tx, endedBefore, bounded(limit))
		if err != nil {
			return err
		}
		n = len(ended)
		now := s.clock().UnixMicro()
		for _, t := range ended {
			if err := s.purge(ctx, tx, t, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, translate(ctx, "purge ended tasks", err)
	}
	return n, nil
}

// tombstone is what is left of a task.
type tombstone struct {
	id      []byte
	run     int
	version int64
}

func (s *Store) ended(ctx context.Context, tx *sql.Tx, before time.Time, limit int) ([]tombstone, error) {
	rows, err := tx.StmtContext(ctx, s.stmts.selectEnded).QueryContext(ctx, before.UnixMicro(), limit)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var ended []tombstone
	for rows.Next() {
		var t tombstone
		if err := rows.Scan(&t.id, &t.run, &t.version); err != nil {
			return nil, err
		}
		ended = append(ended, t)
	}
	return ended, rows.Err()
}

func (s *Store) purge(ctx context.Context, tx *sql.Tx, t tombstone, now int64) error {
	_, err := tx.StmtContext(ctx, s.stmts.insertTombstone).ExecContext(ctx, t.id, t.run, t.version, now)
	if err != nil {
		return err
	}
	for _, stmt := range []*sql.Stmt{s.stmts.deleteBodies, s.stmts.deleteEvents, s.stmts.deleteTask} {
		if _, err := tx.StmtContext(ctx, stmt).ExecContext(ctx, t.id); err != nil {
			return err
		}
	}
	return nil
}

// PurgeTombstones implements [store.Store].
func (s *Store) PurgeTombstones(ctx context.Context, purgedBefore time.Time, limit int) (int, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	var n int64
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		result, err := tx.StmtContext(ctx, s.stmts.deleteTombstones).ExecContext(ctx, purgedBefore.UnixMicro(), bounded(limit))
		if err != nil {
			return err
		}
		n, err = result.RowsAffected()
		return err
	})
	if err != nil {
		return 0, translate(ctx, "purge tombstones", err)
	}
	return int(n), nil
}

// bounded keeps a limit within the contract's; SQLite reads a negative one as
// none.
func bounded(limit int) int { return min(max(limit, 0), store.MaxPurge) }
