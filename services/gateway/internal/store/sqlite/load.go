package sqlite

import (
	"context"
	"database/sql"
	"strings"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/task"
)

// loadSize is how many tasks one statement loads. Most of what a statement
// costs, it costs once.
const loadSize = 32

var (
	selectTasks      = `SELECT ` + taskColumns + ` FROM tasks WHERE id IN (?` + strings.Repeat(", ?", loadSize-1) + `)`
	selectTombstones = `SELECT task_id, run, version FROM tombstones WHERE task_id IN (?` + strings.Repeat(", ?", loadSize-1) + `)`
)

// entries are the tasks that a transaction is about.
type entries struct {
	loadTasks, loadTombstones *sql.Stmt

	tasks map[uuid.UUID]*entry
	order []*entry
}

// entry is one of them.
type entry struct {
	id uuid.UUID
	// task has no ID as long as it is not known.
	task task.Task
	// traceID is the stored task's, if known.
	traceID string
	known   bool
	// rare is what the stored task has of these columns.
	rare rareOfTask
	// purgedRun is that of the task's tombstone: events of it, and of earlier
	// runs, were purged.
	purgedRun int
	// purgedVersion is that of a tombstone without a task.
	purgedVersion     int64
	changed, progress bool
}

func (s *Store) newEntries(ctx context.Context, tx *sql.Tx) entries {
	return entries{
		loadTasks:      tx.StmtContext(ctx, s.stmts.loadTasks),
		loadTombstones: tx.StmtContext(ctx, s.stmts.loadTombstones),
		tasks:          map[uuid.UUID]*entry{},
	}
}

// add says that the transaction is about a task, before load.
func (e *entries) add(id uuid.UUID) {
	if e.tasks[id] == nil {
		t := &entry{id: id}
		e.tasks[id] = t
		e.order = append(e.order, t)
	}
}

// load reads the tasks, and the tombstones of those that are unknown.
func (e *entries) load(ctx context.Context) error {
	if err := e.each(ctx, e.loadTasks, e.order, e.scanTask); err != nil {
		return err
	}
	var unknown []*entry
	for _, t := range e.order {
		if t.task.ID == "" {
			unknown = append(unknown, t)
		}
	}
	return e.each(ctx, e.loadTombstones, unknown, e.scanTombstone)
}

// each passes on the rows that a statement selects by the ids of tasks.
func (e *entries) each(ctx context.Context, stmt *sql.Stmt, tasks []*entry, scan func(*sql.Rows) error) error {
	args := make([]any, loadSize)
	for len(tasks) > 0 {
		n := min(len(tasks), loadSize)
		for i := range args {
			// What is left over asks for the last one again, to no effect.
			args[i] = tasks[min(i, n-1)].id[:]
		}
		if err := query(ctx, stmt, args, scan); err != nil {
			return err
		}
		tasks = tasks[n:]
	}
	return nil
}

func query(ctx context.Context, stmt *sql.Stmt, args []any, scan func(*sql.Rows) error) error {
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (e *entries) scanTask(rows *sql.Rows) error {
	id, t, purgedRun, err := scanTask(rows)
	if err != nil {
		return err
	}
	e.tasks[id].task, e.tasks[id].purgedRun = t, purgedRun
	e.tasks[id].traceID, e.tasks[id].known = t.TraceID, true
	e.tasks[id].rare = rareOf(&t)
	return nil
}

func (e *entries) scanTombstone(rows *sql.Rows) error {
	var id []byte
	var run int
	var version int64
	if err := rows.Scan(&id, &run, &version); err != nil {
		return err
	}
	u, err := uuid.FromBytes(id)
	if err != nil {
		return err
	}
	e.tasks[u].purgedRun, e.tasks[u].purgedVersion, e.tasks[u].task.Version = run, version, version
	return nil
}
