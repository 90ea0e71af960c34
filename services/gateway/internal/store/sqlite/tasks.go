package sqlite

import (
	"context"
	"database/sql"
	"strings"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/task"
)

var selectNamed = `SELECT ` + taskColumns + ` FROM tasks WHERE id IN (?` + strings.Repeat(", ?", loadSize-1) + `)`

// Tasks implements [store.Store].
func (s *Store) Tasks(ctx context.Context, ids []string) ([]task.Task, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	named := newNamed(ids)
	err := s.reading(ctx, func(tx *sql.Tx) error { return named.read(ctx, tx.StmtContext(ctx, s.stmts.tasks)) })
	if err != nil {
		return nil, translate(ctx, "read tasks", err)
	}
	return named.found(), nil
}

// named are tasks that were asked for, each once and in their order.
type named struct {
	ids   []uuid.UUID
	tasks map[uuid.UUID]task.Task
}

func newNamed(ids []string) *named {
	n := &named{tasks: make(map[uuid.UUID]task.Task, len(ids))}
	seen := make(map[uuid.UUID]bool, len(ids))
	for _, id := range ids {
		if u, ok := parseID(id); ok && !seen[u] {
			seen[u] = true
			n.ids = append(n.ids, u)
		}
	}
	return n
}

// read reads them, loadSize with one statement.
func (n *named) read(ctx context.Context, stmt *sql.Stmt) error {
	args := make([]any, loadSize)
	for left := n.ids; len(left) > 0; left = left[min(loadSize, len(left)):] {
		for i := range args {
			// What is left over asks for the last one again, to no effect.
			args[i] = left[min(i, len(left)-1)][:]
		}
		if err := query(ctx, stmt, args, n.scan); err != nil {
			return err
		}
	}
	return nil
}

func (n *named) scan(rows *sql.Rows) error {
	id, t, _, err := scanTask(rows)
	n.tasks[id] = t
	return err
}

func (n *named) found() []task.Task {
	found := make([]task.Task, 0, len(n.tasks))
	for _, id := range n.ids {
		if t, ok := n.tasks[id]; ok {
			found = append(found, t)
		}
	}
	return found
}
