package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// Apply implements [store.Store].
func (s *Store) Apply(ctx context.Context, events []task.Event) ([]store.Change, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	const what = "apply events"
	for i := range events {
		if err := events[i].Validate(); err != nil {
			return nil, fmt.Errorf("%s: %w: event %d of task %s: %w", what, store.ErrBadEvent, i, events[i].TaskID, err)
		}
	}
	if len(events) == 0 {
		return nil, nil
	}
	var changes []store.Change
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		// The transaction watches the context. The statements don't, which would
		// cost each a goroutine.
		stmtCtx := context.WithoutCancel(ctx)
		b := s.newBatch(stmtCtx, tx)
		for i := range events {
			id, err := uuid.Parse(events[i].TaskID)
			if err != nil {
				return err
			}
			b.add(id)
		}
		if err := b.load(stmtCtx); err != nil {
			return err
		}
		for i := range events {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := b.apply(stmtCtx, events[i]); err != nil {
				return fmt.Errorf("event %d of task %s: %w", i, events[i].TaskID, err)
			}
		}
		var err error
		changes, err = b.save(stmtCtx)
		return err
	})
	if err != nil {
		if sqldb.IsBadData(err) {
			err = fmt.Errorf("%w: %w", store.ErrBadEvent, err)
		}
		return nil, translate(ctx, what, err)
	}
	return changes, nil
}

// updateTrace is for the rare task whose trace is learned after its row was made.
// That saving a task leaves it alone spares the index of traces nearly all of its
// writes.
const updateTrace = `UPDATE tasks SET trace_id = ? WHERE id = ?`

// batch is a transaction of Apply.
type batch struct {
	entries
	saveTask, saveTrace, insertEvent, insertBody, insertFeed *sql.Stmt
	saveRareTask, saveRareEvent                              *sql.Stmt
	unseen, markSeen                                         *sql.Stmt
	// now is when the transaction began, by the store's clock.
	now  int64
	feed feedRows
	// seen are the runs whose messages are gone.
	seen map[runKey]struct{}
}

func (s *Store) newBatch(ctx context.Context, tx *sql.Tx) *batch {
	return &batch{
		entries:       s.newEntries(ctx, tx),
		saveTask:      tx.StmtContext(ctx, s.stmts.saveTask),
		saveTrace:     tx.StmtContext(ctx, s.stmts.saveTrace),
		insertEvent:   tx.StmtContext(ctx, s.stmts.insertEvent),
		insertBody:    tx.StmtContext(ctx, s.stmts.insertBody),
		insertFeed:    tx.StmtContext(ctx, s.stmts.insertFeed),
		saveRareTask:  tx.StmtContext(ctx, s.stmts.saveRareTask),
		saveRareEvent: tx.StmtContext(ctx, s.stmts.saveRareEvent),
		unseen:        tx.StmtContext(ctx, s.stmts.unseen),
		markSeen:      tx.StmtContext(ctx, s.stmts.markSeen),
		seen:          map[runKey]struct{}{},
		now:           s.clock().UnixMicro(),
	}
}

func (b *batch) apply(ctx context.Context, e task.Event) error {
	id, err := uuid.Parse(e.TaskID)
	if err != nil {
		return err
	}
	if seesMessage(&e) {
		b.seen[runKey{id, e.Key.Run}] = struct{}{}
	}
	t := b.tasks[id]
	if e.Key.Run <= t.purgedRun {
		return nil
	}
	normalize(&e, id)
	joined := t.task
	applied := joined.Apply(&e)
	if applied.Number == 0 {
		t.takeProgress(&joined)
		return nil
	}
	fresh, err := b.insert(ctx, id, &e, applied)
	if err == nil && fresh {
		t.task, t.changed = joined, true
		b.feed.add(id, applied.Number)
	}
	return err
}

// normalize gives an event the shape in which it will be read.
func normalize(e *task.Event, id uuid.UUID) {
	e.TaskID = id.String()
	e.Time, e.NextAttemptTime = e.Time.Truncate(time.Microsecond), e.NextAttemptTime.Truncate(time.Microsecond)
	e.ScheduleTime = e.ScheduleTime.Truncate(time.Microsecond)
	if h := e.Head; h != nil && (h.CreateTime.Nanosecond()%1000 != 0 || h.ExpireTime.Nanosecond()%1000 != 0) {
		head := *h
		head.CreateTime, head.ExpireTime = h.CreateTime.Truncate(time.Microsecond), h.ExpireTime.Truncate(time.Microsecond)
		e.Head = &head
	}
}

// takeProgress takes over what a PROGRESS event changed, if it did.
func (t *entry) takeProgress(joined *task.Task) {
	progress := joined.ProgressKey != t.task.ProgressKey
	if !progress && joined.Run == t.task.Run && joined.CreateTime.Equal(t.task.CreateTime) {
		return
	}
	t.task, t.changed = *joined, true
	t.progress = t.progress || progress
}

// insert enters an event and its body into the history; false when the
// history has it already.
func (b *batch) insert(ctx context.Context, id uuid.UUID, e *task.Event, a task.Applied) (bool, error) {
	args, err := eventArgs(id, e, a)
	if err != nil {
		return false, err
	}
	result, err := b.insertEvent.ExecContext(ctx, args...)
	if err != nil {
		return false, err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return false, err
	}
	if rare, some, err := rareColumnsOf(e); err != nil {
		return false, err
	} else if some {
		if _, err := b.saveRareEvent.ExecContext(ctx, rare[0], rare[1], rare[2], id[:], a.Number); err != nil {
			return false, err
		}
	}
	if body, _ := bodyOf(e); len(body) > 0 {
		_, err = b.insertBody.ExecContext(ctx, id[:], a.Number, body)
	}
	return true, err
}

// save writes the rows of the tasks that changed, and of the feed.
func (b *batch) save(ctx context.Context) ([]store.Change, error) {
	var changes []store.Change
	for _, t := range b.order {
		if !t.changed {
			continue
		}
		args, err := taskArgs(t.id, &t.task, t.purgedRun, t.purgedVersion)
		if err != nil {
			return nil, err
		}
		if _, err := b.saveTask.ExecContext(ctx, args...); err != nil {
			return nil, fmt.Errorf("task %s: %w", t.id, err)
		}
		if t.known && t.task.TraceID != t.traceID {
			if _, err := b.saveTrace.ExecContext(ctx, t.task.TraceID, t.id[:]); err != nil {
				return nil, fmt.Errorf("trace of task %s: %w", t.id, err)
			}
		}
		if r := rareOf(&t.task); r != t.rare {
			if _, err := b.saveRareTask.ExecContext(ctx, r[0], r[1], r[2], r[3], t.id[:]); err != nil {
				return nil, fmt.Errorf("times of task %s: %w", t.id, err)
			}
		}
		changes = append(changes, store.Change{
			TaskID: t.id.String(), Version: t.task.Version, State: t.task.State, Progress: t.progress,
		})
	}
	for _, entries := range b.feed {
		if _, err := b.insertFeed.ExecContext(ctx, b.now, entries); err != nil {
			return nil, fmt.Errorf("feed: %w", err)
		}
	}
	return changes, b.noteSeen(ctx)
}
