package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	selectUnfinished = `SELECT task_id, run, version FROM tombstones WHERE unfinished = 1 LIMIT ?`

	// The condition on the state is that of the index tasks_ended, word by
	// word, as SQLite needs it. So is each type found by one step in the index.
	selectNextType = `SELECT min(type) FROM tasks WHERE state IN (5, 6) AND type > ?`

	// A task whose next run is known by its progress only has not ended, though
	// its state is still that of the last run.
	selectOldestEnded = `SELECT id, run, version, end_time FROM tasks
WHERE state IN (5, 6) AND type = ? AND end_time < ? AND decided_run = run ORDER BY end_time LIMIT 1`

	upsertTombstone = `INSERT INTO tombstones (task_id, run, version, purge_time, unfinished) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (task_id) DO UPDATE SET
	run = max(run, excluded.run), version = max(version, excluded.version),
	purge_time = excluded.purge_time, unfinished = excluded.unfinished`

	deleteTask = `DELETE FROM tasks WHERE id = ?`

	// A task that came back has events above the version of its tombstone.
	deleteEvents = `DELETE FROM task_events WHERE task_id = ? AND number IN (
	SELECT number FROM task_events WHERE task_id = ? AND number <= ? LIMIT ?)`
	deleteBodies = `DELETE FROM task_bodies WHERE task_id = ? AND number IN (
	SELECT number FROM task_bodies WHERE task_id = ? AND number <= ? LIMIT ?)`

	deleteTombstones = `DELETE FROM tombstones WHERE task_id IN (
	SELECT task_id FROM tombstones WHERE unfinished = 0 AND purge_time < ? ORDER BY purge_time LIMIT ?)`
)

// PurgeEnded implements [store.Store].
func (s *Store) PurgeEnded(ctx context.Context, which store.Ended, limit int) (int, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	limit = bounded(limit)
	var p *purge
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		p = s.newPurge(ctx, tx, limit)
		if err := p.finish(ctx); err != nil {
			return err
		}
		return p.forgetEnded(ctx, which)
	})
	if err != nil {
		return 0, translate(ctx, "purge ended tasks", err)
	}
	return limit - p.left, nil
}

// purge is a transaction of PurgeEnded.
type purge struct {
	tx  *sql.Tx
	now int64
	// left is how many rows may still be removed.
	left int

	nextType, oldestEnded                                 *sql.Stmt
	saveTombstone, deleteTask, deleteEvents, deleteBodies *sql.Stmt
	deleteClaims, loosenClaims, deleteScheduled           *sql.Stmt
}

func (s *Store) newPurge(ctx context.Context, tx *sql.Tx, limit int) *purge {
	return &purge{
		tx: tx, now: s.clock().UnixMicro(), left: limit,
		nextType:        tx.StmtContext(ctx, s.stmts.nextType),
		oldestEnded:     tx.StmtContext(ctx, s.stmts.oldestEnded),
		saveTombstone:   tx.StmtContext(ctx, s.stmts.saveTombstone),
		deleteTask:      tx.StmtContext(ctx, s.stmts.deleteTask),
		deleteEvents:    tx.StmtContext(ctx, s.stmts.deleteEvents),
		deleteBodies:    tx.StmtContext(ctx, s.stmts.deleteBodies),
		deleteClaims:    tx.StmtContext(ctx, s.stmts.deleteClaims),
		loosenClaims:    tx.StmtContext(ctx, s.stmts.loosenClaims),
		deleteScheduled: tx.StmtContext(ctx, s.stmts.deleteScheduled),
	}
}

// tombstone is what is left of a task.
type tombstone struct {
	id      []byte
	run     int
	version int64
}

func scanTombstone(rows *sql.Rows) (tombstone, error) {
	var t tombstone
	err := rows.Scan(&t.id, &t.run, &t.version)
	return t, err
}

// finish goes on with tasks that earlier transactions have forgotten.
func (p *purge) finish(ctx context.Context) error {
	unfinished, err := collect(ctx, p.tx, scanTombstone, selectUnfinished, p.left)
	if err != nil {
		return err
	}
	for _, t := range unfinished {
		if err := p.empty(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// forget leaves nothing of a task but its tombstone, and what is one row too
// many.
func (p *purge) forget(ctx context.Context, t tombstone) error {
	if _, err := p.deleteTask.ExecContext(ctx, t.id); err != nil {
		return err
	}
	p.left--
	if _, err := p.deleteClaims.ExecContext(ctx, t.id, t.run); err != nil {
		return err
	}
	if _, err := p.loosenClaims.ExecContext(ctx, t.id); err != nil {
		return err
	}
	// One that has ended may have been on its way, and be so for ever.
	if _, err := p.deleteScheduled.ExecContext(ctx, t.id); err != nil {
		return err
	}
	return p.empty(ctx, t)
}

// empty removes the history of a task, which is gone, and saves its tombstone.
func (p *purge) empty(ctx context.Context, t tombstone) error {
	unfinished := false
	for _, stmt := range []*sql.Stmt{p.deleteBodies, p.deleteEvents} {
		result, err := stmt.ExecContext(ctx, t.id, t.id, t.version, p.left)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return err
		}
		unfinished = unfinished || int(n) == p.left
		p.left -= int(n)
	}
	_, err := p.saveTombstone.ExecContext(ctx, t.id, t.run, t.version, p.now, unfinished)
	return err
}

// PurgeTombstones implements [store.Store].
func (s *Store) PurgeTombstones(ctx context.Context, purgedBefore time.Time, limit int) (int, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	var n int64
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		for _, query := range []string{deleteTombstones, deleteLooseClaims} {
			result, err := tx.ExecContext(ctx, query, purgedBefore.UnixMicro(), int64(bounded(limit))-n)
			if err != nil {
				return err
			}
			removed, err := result.RowsAffected()
			if err != nil {
				return err
			}
			n += removed
		}
		return nil
	})
	if err != nil {
		return 0, translate(ctx, "purge tombstones", err)
	}
	return int(n), nil
}

// bounded keeps a limit within the contract's; SQLite reads a negative one as
// none.
func bounded(limit int) int { return min(max(limit, 0), store.MaxPurge) }
