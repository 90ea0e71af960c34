package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// loadSize is how many tasks one statement loads. Most of what a statement
// costs, it costs once.
const loadSize = 32

var (
	// The greatest key of the task's history is looked up in its index.
	selectTasks = `SELECT ` + taskColumns + `, (SELECT max(key) FROM task_events WHERE task_id = tasks.id)
FROM tasks WHERE id IN (?` + strings.Repeat(", ?", loadSize-1) + `)`
	selectTombstones = `SELECT task_id, run, version FROM tombstones WHERE task_id IN (?` + strings.Repeat(", ?", loadSize-1) + `)`
)

// entries are the tasks that a transaction is about.
type entries struct {
	newestID, loadTasks, loadTombstones *sql.Stmt

	tasks map[uuid.UUID]*entry
	order []*entry
}

// entry is one of them.
type entry struct {
	id uuid.UUID
	// task has no ID as long as it is not known.
	task task.Task
	// stored is the id as a column has it, made once.
	stored any
	// known is what is stored of the task, if that is known; it does not change.
	known *known
	// lastKey is the greatest of the history; nil for none.
	lastKey []byte
	// purgedRun is that of the task's tombstone: events of it, and of earlier
	// runs, were purged.
	purgedRun int
	// purgedVersion is that of a tombstone without a task.
	purgedVersion     int64
	changed, progress bool
	// news is what the transaction's events tell.
	news store.News
}

func (s *Store) newEntries(ctx context.Context, tx *sql.Tx) entries {
	return entries{
		newestID:       tx.StmtContext(ctx, s.stmts.newestID),
		loadTasks:      tx.StmtContext(ctx, s.stmts.loadTasks),
		loadTombstones: tx.StmtContext(ctx, s.stmts.loadTombstones),
		tasks:          map[uuid.UUID]*entry{},
	}
}

// add says that the transaction is about a task, before load.
func (e *entries) add(id uuid.UUID) {
	if e.tasks[id] == nil {
		t := &entry{id: id}
		t.stored = t.id[:]
		e.tasks[id] = t
		e.order = append(e.order, t)
	}
}

// selectNewestID is the greatest id that is stored, of those up to one.
const selectNewestID = `SELECT max(ifnull((SELECT max(id) FROM tasks WHERE id <= ?), x''),
	ifnull((SELECT max(task_id) FROM tombstones WHERE task_id <= ?), x''))`

// load reads the tasks that are not known yet, and the tombstones of those that
// are not stored.
func (e *entries) load(ctx context.Context) error {
	unknown, err := e.unknown(ctx)
	if err != nil {
		return err
	}
	if err := e.each(ctx, e.loadTasks, unknown, e.scanTask); err != nil {
		return err
	}
	unknown = slices.DeleteFunc(unknown, func(t *entry) bool { return t.known != nil })
	return e.each(ctx, e.loadTombstones, unknown, e.scanTombstone)
}

// unknown returns the tasks that are to be looked for. Ids grow with time: most
// tasks are above all that are stored when they are queued. Only ids up to the
// greatest one here are asked about, since tasks of schedules have such of times
// to come.
func (e *entries) unknown(ctx context.Context) ([]*entry, error) {
	var unknown []*entry
	var last *entry
	for _, t := range e.order {
		if t.known != nil {
			continue
		}
		unknown = append(unknown, t)
		if last == nil || bytes.Compare(t.id[:], last.id[:]) > 0 {
			last = t
		}
	}
	if last == nil {
		return nil, nil
	}
	var newest []byte
	if err := e.newestID.QueryRowContext(ctx, last.stored, last.stored).Scan(&newest); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(unknown, func(t *entry) bool { return bytes.Compare(t.id[:], newest) > 0 }), nil
}

// each passes on the rows that a statement selects by the ids of tasks.
func (e *entries) each(ctx context.Context, stmt *sql.Stmt, tasks []*entry, scan func(*sql.Rows) error) error {
	args := make([]any, loadSize)
	for len(tasks) > 0 {
		n := min(len(tasks), loadSize)
		for i := range args {
			// What is left over asks for the last one again, to no effect.
			args[i] = tasks[min(i, n-1)].stored
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
	var lastKey []byte
	id, t, purgedRun, err := scanTask(rows, &lastKey)
	if err != nil {
		return err
	}
	e.tasks[id].know(&known{task: t, purgedRun: purgedRun, lastKey: lastKey})
	return nil
}

// know takes what is stored of the task.
func (t *entry) know(k *known) {
	t.known, t.task, t.purgedRun, t.lastKey = k, k.task, k.purgedRun, k.lastKey
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
