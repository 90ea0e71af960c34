package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	insertScheduled = `INSERT INTO scheduled (task_id, type, due, message) VALUES (?, ?, ?, ?)`

	// What was leased before may have been published, though the lease has ended.
	neverLeased = `task_id = ? AND NOT EXISTS (
	SELECT 1 FROM scheduled_leases l WHERE l.task_id = scheduled.task_id)`

	updateScheduled = `UPDATE scheduled SET due = ?, message = ? WHERE ` + neverLeased

	deleteUnleased = `DELETE FROM scheduled WHERE ` + neverLeased

	deleteScheduled = `DELETE FROM scheduled WHERE task_id = ?`

	selectMessage = `SELECT message FROM scheduled WHERE task_id = ?`

	selectScheduledOf = `SELECT ifnull(sum(tasks), 0) FROM scheduled_counts WHERE type = ?`

	selectScheduledCount = `SELECT ifnull(sum(tasks), 0) FROM scheduled_counts WHERE type = ? OR ? = ''`
)

var errNotScheduled = errors.New("it is no SCHEDULED event with a message")

// Schedule implements [store.Scheduler].
func (s *Store) Schedule(ctx context.Context, tasks []store.Scheduled) ([]store.Change, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	const what = "keep tasks for later"
	for i := range tasks {
		if err := validScheduled(&tasks[i]); err != nil {
			return nil, fmt.Errorf("%s: task %d: %w", what, i, err)
		}
	}
	if len(tasks) == 0 {
		return nil, nil
	}
	var changes []store.Change
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		var err error
		changes, err = s.schedule(ctx, tx, tasks)
		return err
	})
	return changes, translateEvents(ctx, what, err)
}

func validScheduled(t *store.Scheduled) error {
	err := t.Event.Validate()
	if err == nil && (t.Event.Key.Phase != task.PhaseScheduled || len(t.Message) == 0) {
		err = errNotScheduled
	}
	if err != nil {
		return fmt.Errorf("%w: task %s: %w", store.ErrBadEvent, t.Event.TaskID, err)
	}
	return nil
}

// translateEvents translates the error of a transaction that applies events.
func translateEvents(ctx context.Context, what string, err error) error {
	if sqldb.IsBadData(err) {
		err = fmt.Errorf("%w: %w", store.ErrBadEvent, err)
	}
	return translate(ctx, what, err)
}

// schedule keeps tasks that are valid for later.
func (s *Store) schedule(ctx context.Context, tx *sql.Tx, tasks []store.Scheduled) ([]store.Change, error) {
	// As in Apply, the transaction watches the context.
	stmtCtx := context.WithoutCancel(ctx)
	b := s.newBatch(stmtCtx, tx)
	for i := range tasks {
		id, err := uuid.Parse(tasks[i].Event.TaskID)
		if err != nil {
			return nil, err
		}
		b.add(id)
	}
	if err := b.load(stmtCtx); err != nil {
		return nil, err
	}
	retired, err := retiredTypes(stmtCtx, tx)
	if err != nil {
		return nil, err
	}
	insert, err := tx.PrepareContext(stmtCtx, insertScheduled)
	if err != nil {
		return nil, err
	}
	defer func() { _ = insert.Close() }()
	for i := range tasks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := b.schedule(stmtCtx, insert, retired, &tasks[i]); err != nil {
			return nil, fmt.Errorf("task %s: %w", tasks[i].Event.TaskID, err)
		}
	}
	return b.save(stmtCtx)
}

// schedule keeps a task of which nothing is known, unless its type is retired.
func (b *batch) schedule(ctx context.Context, insert *sql.Stmt, retired map[string]bool, s *store.Scheduled) error {
	id, err := uuid.Parse(s.Event.TaskID)
	if err != nil {
		return err
	}
	if t := b.tasks[id]; t.task.ID != "" || s.Event.Key.Run <= t.purgedRun {
		return nil
	}
	if retired[s.Event.Type] {
		return fmt.Errorf("%w: %s", store.ErrRetired, s.Event.Type)
	}
	if err := b.apply(ctx, s.Event); err != nil {
		return err
	}
	_, err = insert.ExecContext(ctx, id[:], s.Event.Type, s.Event.ScheduleTime.UnixMicro(), s.Message)
	return err
}

// forgetScheduled forgets the message of a task that waits for its time. It
// returns false if there is none, or it was ever leased.
func forgetScheduled(ctx context.Context, tx *sql.Tx, id uuid.UUID) (bool, error) {
	return changesOne(tx.ExecContext(ctx, deleteUnleased, id[:]))
}

// changesOne says whether a statement has changed a row.
func changesOne(result sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// Unschedule implements [store.Scheduler].
func (s *Store) Unschedule(ctx context.Context, ids []string) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		stmtCtx := context.WithoutCancel(ctx)
		forget := tx.StmtContext(stmtCtx, s.stmts.deleteScheduled) //nolint:sqlclosecheck // the end of the transaction does
		for _, id := range ids {
			if err := ctx.Err(); err != nil {
				return err
			}
			u, ok := parseID(id)
			if !ok {
				continue
			}
			if _, err := forget.ExecContext(stmtCtx, u[:]); err != nil {
				return fmt.Errorf("task %s: %w", id, err)
			}
		}
		return nil
	})
	return translate(ctx, "forget the messages of tasks", err)
}

// ScheduledMessage implements [store.Scheduler].
func (s *Store) ScheduledMessage(ctx context.Context, id string) ([]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	what := fmt.Sprintf("the message of task %q", id)
	u, ok := parseID(id)
	if !ok {
		return nil, fmt.Errorf("%s: %w", what, store.ErrNotFound)
	}
	var message []byte
	err := s.db.Reader.QueryRowContext(ctx, selectMessage, u[:]).Scan(&message)
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	return message, translate(ctx, what, err)
}

// CountScheduled implements [store.Scheduler].
func (s *Store) CountScheduled(ctx context.Context, taskType string) (int64, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	var n int64
	err := s.db.Reader.QueryRowContext(ctx, selectScheduledCount, taskType, taskType).Scan(&n)
	return n, translate(ctx, "count tasks for later", err)
}
