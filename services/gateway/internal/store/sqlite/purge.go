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
		tasks, err := ended(ctx, tx, endedBefore, bounded(limit))
		if err != nil {
			return err
		}
		n = len(tasks)
		p := s.newPurge(ctx, tx)
		for _, t := range tasks {
			if err := p.forget(ctx, t); err != nil {
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

func ended(ctx context.Context, tx *sql.Tx, before time.Time, limit int) ([]tombstone, error) {
	rows, err := tx.QueryContext(ctx, selectEnded, before.UnixMicro(), limit)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var tombstones []tombstone
	for rows.Next() {
		var t tombstone
		if err := rows.Scan(&t.id, &t.run, &t.version); err != nil {
			return nil, err
		}
		tombstones = append(tombstones, t)
	}
	return tombstones, rows.Err()
}

// purge is a transaction of PurgeEnded.
type purge struct {
	now             int64
	insertTombstone *sql.Stmt
	deletes         []*sql.Stmt
}

func (s *Store) newPurge(ctx context.Context, tx *sql.Tx) *purge {
	return &purge{
		now:             s.clock().UnixMicro(),
		insertTombstone: tx.StmtContext(ctx, s.stmts.insertTombstone),
		deletes: []*sql.Stmt{
			tx.StmtContext(ctx, s.stmts.deleteBodies),
			tx.StmtContext(ctx, s.stmts.deleteEvents),
			tx.StmtContext(ctx, s.stmts.deleteTask),
		},
	}
}

// forget leaves nothing of a task but its tombstone.
func (p *purge) forget(ctx context.Context, t tombstone) error {
	if _, err := p.insertTombstone.ExecContext(ctx, t.id, t.run, t.version, p.now); err != nil {
		return err
	}
	for _, stmt := range p.deletes {
		if _, err := stmt.ExecContext(ctx, t.id); err != nil {
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
		result, err := tx.ExecContext(ctx, deleteTombstones, purgedBefore.UnixMicro(), bounded(limit))
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
