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

// load reads the tasks of the events, and the tombstones of those that are
// unknown.
func (b *batch) load(ctx context.Context, events []task.Event) error {
	for i := range events {
		id, err := uuid.Parse(events[i].TaskID)
		if err != nil {
			return err
		}
		if b.tasks[id] == nil {
			t := &entry{id: id}
			b.tasks[id] = t
			b.order = append(b.order, t)
		}
	}
	if err := b.each(ctx, b.loadTasks, b.order, b.scanTask); err != nil {
		return err
	}
	var unknown []*entry
	for _, t := range b.order {
		if t.task.ID == "" {
			unknown = append(unknown, t)
		}
	}
	return b.each(ctx, b.loadTombstones, unknown, b.scanTombstone)
}

// each passes on the rows that a statement selects by the ids of tasks.
func (b *batch) each(ctx context.Context, stmt *sql.Stmt, tasks []*entry, scan func(*sql.Rows) error) error {
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

func (b *batch) scanTask(rows *sql.Rows) error {
	id, t, purgedRun, err := scanTask(rows)
	if err != nil {
		return err
	}
	b.tasks[id].task, b.tasks[id].purgedRun = t, purgedRun
	return nil
}

func (b *batch) scanTombstone(rows *sql.Rows) error {
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
	b.tasks[u].purgedRun, b.tasks[u].purgedVersion, b.tasks[u].task.Version = run, version, version
	return nil
}
