package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	cancellationColumns = `position, task_id, run, type, reason, time, seen`

	selectCancellation = `SELECT ` + cancellationColumns + ` FROM cancellations WHERE task_id = ? AND run = ?`

	selectCancellations = `SELECT ` + cancellationColumns + ` FROM cancellations WHERE position > ? ORDER BY position LIMIT ?`

	insertCancellation = `INSERT INTO cancellations (task_id, run, type, reason, time) VALUES (?, ?, ?, ?, ?)`

	selectCancelPosition = `SELECT ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'cancellations'), 0)`

	// Positions that were given since the oldest that is kept: as many as are kept,
	// or more.
	selectCancelSpan   = `SELECT (SELECT max(position) FROM cancellations) - (SELECT min(position) FROM cancellations) + 1`
	countCancellations = `SELECT count(*) FROM cancellations`

	deleteCancellations = `DELETE FROM cancellations WHERE position IN (
	SELECT position FROM cancellations WHERE seen < ? ORDER BY seen LIMIT ?) RETURNING ` + cancellationColumns

	selectUnseen = `SELECT EXISTS (SELECT 1 FROM cancellations WHERE seen IS NULL)`
	markSeen     = `UPDATE cancellations SET seen = ? WHERE task_id = ? AND run = ? AND seen IS NULL`
)

// Cancel implements [store.Store].
func (s *Store) Cancel(ctx context.Context, requests []store.CancelRequest) ([]store.CancelAnswer, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if len(requests) == 0 {
		return nil, nil
	}
	var answers []store.CancelAnswer
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		// As in Apply, the transaction watches the context.
		stmtCtx := context.WithoutCancel(ctx)
		c := &cancelling{batch: s.newBatch(stmtCtx, tx), tx: tx}
		for _, r := range requests {
			if id, ok := parseID(r.TaskID); ok {
				c.batch.add(id)
			}
		}
		if err := c.batch.load(stmtCtx); err != nil {
			return err
		}
		for _, r := range requests {
			if err := ctx.Err(); err != nil {
				return err
			}
			answer, err := c.cancel(stmtCtx, r)
			if err != nil {
				return fmt.Errorf("task %s: %w", r.TaskID, err)
			}
			answers = append(answers, answer)
		}
		if err := c.checkBound(stmtCtx, s.maxCancellations); err != nil {
			return err
		}
		_, err := c.batch.save(stmtCtx)
		return err
	})
	if err != nil {
		return nil, translate(ctx, "cancel tasks", err)
	}
	return answers, nil
}

// cancelling is a transaction of Cancel.
type cancelling struct {
	batch *batch
	tx    *sql.Tx
	// added says that cancellations were.
	added bool
}

func (c *cancelling) cancel(ctx context.Context, r store.CancelRequest) (store.CancelAnswer, error) {
	id, ok := parseID(r.TaskID)
	if !ok || c.batch.tasks[id].task.ID == "" {
		return store.CancelAnswer{}, nil
	}
	t := &c.batch.tasks[id].task
	kept, err := scanCancellation(c.tx.QueryRowContext(ctx, selectCancellation, id[:], t.Run))
	known := err == nil
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return store.CancelAnswer{}, err
	}
	// A task whose next run is known by its progress only has not ended, though its
	// state is still that of the last run.
	if known || t.State.Terminal() && t.Decided.Run == t.Run {
		return store.CancelAnswer{Task: *t, Outstanding: kept}, nil
	}
	if t.State == task.StateScheduled {
		cancelled, err := c.cancelScheduled(ctx, id, r)
		if err != nil || cancelled {
			return store.CancelAnswer{Task: *t, Changed: cancelled}, err
		}
	}
	record, err := c.record(ctx, id, t, r)
	return store.CancelAnswer{Task: *t, Outstanding: record}, err
}

// cancelScheduled ends a task that waits for its time, unless somebody publishes
// it just now, or may have.
func (c *cancelling) cancelScheduled(ctx context.Context, id uuid.UUID, r store.CancelRequest) (bool, error) {
	forgotten, err := forgetScheduled(ctx, c.tx, id)
	if err != nil || !forgotten {
		return false, err
	}
	t := &c.batch.tasks[id].task
	err = c.batch.apply(ctx, task.Event{
		TaskID: t.ID, Type: t.Type, Time: r.Time.UTC(), Reason: r.Reason,
		Key: task.Key{Run: t.Run, Attempt: max(t.Attempt, 1), Phase: task.PhaseCancelled},
	})
	return err == nil, err
}

// record puts the cancellation of a task's run on record.
func (c *cancelling) record(ctx context.Context, id uuid.UUID, t *task.Task, r store.CancelRequest) (store.Cancellation, error) {
	result, err := c.tx.ExecContext(ctx, insertCancellation, id[:], t.Run, t.Type, r.Reason, micros(r.Time))
	if err != nil {
		return store.Cancellation{}, err
	}
	position, err := result.LastInsertId()
	c.added = true
	at := r.Time.Truncate(time.Microsecond).UTC()
	return store.Cancellation{TaskID: t.ID, Run: t.Run, Type: t.Type, Position: position, Reason: r.Reason, Time: at}, err
}

// checkBound counts only when the positions alone don't show that there are not
// too many.
func (c *cancelling) checkBound(ctx context.Context, most int64) error {
	if !c.added {
		return nil
	}
	for _, query := range []string{selectCancelSpan, countCancellations} {
		var n int64
		if err := c.tx.QueryRowContext(ctx, query).Scan(&n); err != nil {
			return err
		}
		if n <= most {
			return nil
		}
	}
	return fmt.Errorf("%w: at most %d are kept", store.ErrTooMany, most)
}

// Cancellations implements [store.Store].
func (s *Store) Cancellations(ctx context.Context, after int64, limit int) ([]store.Cancellation, error) {
	return readAll(ctx, s, "read cancellations", scanCancellations, selectCancellations, after, max(limit, 0))
}

// CancelPosition implements [store.Store].
func (s *Store) CancelPosition(ctx context.Context) (int64, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	var position int64
	if err := s.db.Reader.QueryRowContext(ctx, selectCancelPosition).Scan(&position); err != nil {
		return 0, translate(ctx, "position of cancellations", err)
	}
	return position, nil
}

// ForgetCancellations implements [store.Store].
func (s *Store) ForgetCancellations(ctx context.Context, seenBefore time.Time, limit int) ([]store.Cancellation, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	var forgotten []store.Cancellation
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		var err error
		forgotten, err = collect(ctx, tx, scanCancellations, deleteCancellations, seenBefore.UnixMicro(), max(limit, 0))
		return err
	})
	if err != nil {
		return nil, translate(ctx, "forget cancellations", err)
	}
	slices.SortFunc(forgotten, func(a, b store.Cancellation) int { return cmp.Compare(a.Position, b.Position) })
	return forgotten, nil
}

func scanCancellations(rows *sql.Rows) (store.Cancellation, error) { return scanCancellation(rows) }

func scanCancellation(row interface{ Scan(...any) error }) (store.Cancellation, error) {
	var c store.Cancellation
	var id []byte
	var at, seen sql.Null[int64]
	if err := row.Scan(&c.Position, &id, &c.Run, &c.Type, &c.Reason, &at, &seen); err != nil {
		return store.Cancellation{}, err
	}
	u, err := uuid.FromBytes(id)
	c.TaskID, c.Time, c.Seen = u.String(), fromMicros(at), fromMicros(seen)
	return c, err
}

// seesMessage says whether an event tells that a message of its run is gone: it ended
// a delivery, or is that of a dead letter. There may be others, if it was repeated. What gateways decide by themselves has
// no delivery.
func seesMessage(e *task.Event) bool {
	return e.Key.Phase == task.PhaseDeadLettered || e.Key.Phase.State().Terminal() && e.Key.Delivery > 0
}

// noteSeen marks the cancellations of runs whose messages were seen. While no
// cancellation waits for that it is one query.
func (b *batch) noteSeen(ctx context.Context) error {
	if len(b.seen) == 0 {
		return nil
	}
	var some bool
	if err := b.unseen.QueryRowContext(ctx).Scan(&some); err != nil || !some {
		return err
	}
	for run := range b.seen {
		if _, err := b.markSeen.ExecContext(ctx, b.now, run.id[:], run.run); err != nil {
			return fmt.Errorf("cancellation of task %s: %w", run.id, err)
		}
	}
	return nil
}
