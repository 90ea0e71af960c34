package sqlite

import (
	"bytes"
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
	var b *batch
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		// The transaction watches the context. The statements don't, which would
		// cost each a goroutine.
		stmtCtx := context.WithoutCancel(ctx)
		b = s.newBatch(stmtCtx, tx)
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
	s.recent.keep(b.turn, b.order)
	return changes, nil
}

// updateTrace is for the rare task whose trace is learned after its row was made.
// That saving a task leaves it alone spares the index of traces nearly all of its
// writes.
const updateTrace = `UPDATE tasks SET trace_id = ? WHERE id = ?`

// batch is a transaction that applies events: whatever changes tasks is one, but
// for a purge.
type batch struct {
	entries
	dataVersion, knownKey, saveTask, saveState, saveTrace, saveRareTask, insertFeed *sql.Stmt
	unseen, markSeen                                                                *sql.Stmt
	newTasks, newEvents, newBodies                                                  inserter
	// recent has what is known of tasks, as of turn; session is that of the
	// connection.
	recent        *recent
	session, turn int64
	// now is when the transaction began, by the store's clock.
	now  int64
	feed feedRows
	// seen are the runs whose messages are gone.
	seen map[runKey]struct{}
	// row and args are memory for those of one statement.
	row, args []any
}

func (s *Store) newBatch(ctx context.Context, tx *sql.Tx) *batch {
	return &batch{
		entries:      s.newEntries(ctx, tx),
		dataVersion:  tx.StmtContext(ctx, s.stmts.dataVersion),
		knownKey:     tx.StmtContext(ctx, s.stmts.knownKey),
		saveTask:     tx.StmtContext(ctx, s.stmts.saveTask),
		saveState:    tx.StmtContext(ctx, s.stmts.saveState),
		saveTrace:    tx.StmtContext(ctx, s.stmts.saveTrace),
		saveRareTask: tx.StmtContext(ctx, s.stmts.saveRareTask),
		insertFeed:   tx.StmtContext(ctx, s.stmts.insertFeed),
		unseen:       tx.StmtContext(ctx, s.stmts.unseen),
		markSeen:     tx.StmtContext(ctx, s.stmts.markSeen),
		newTasks:     newInserter(tx, &s.stmts.insertTasks),
		newEvents:    newInserter(tx, &s.stmts.insertEvents),
		newBodies:    newInserter(tx, &s.stmts.insertBodies),
		recent:       &s.recent,
		session:      s.db.Session(),
		seen:         map[runKey]struct{}{},
		now:          s.clock().UnixMicro(),
	}
}

// load takes what is known of the tasks from the transactions before, and reads
// the others.
func (b *batch) load(ctx context.Context) (err error) {
	if b.turn, err = b.recent.begin(ctx, b.session, b.dataVersion); err != nil {
		return err
	}
	for _, t := range b.order {
		if k := b.recent.take(t.id); k != nil {
			t.know(k)
		}
	}
	return b.entries.load(ctx)
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
	if e.Key.Phase == task.PhaseProgress {
		joined.Apply(&e)
		t.takeProgress(&joined)
		return nil
	}
	key := packKey(e.Key)
	if known, err := b.has(ctx, t, key); err != nil || known {
		return err
	}
	applied := joined.Apply(&e)
	if err := b.insert(ctx, t, key, &e, applied); err != nil {
		return err
	}
	t.news.Add(&t.task, &joined, &e)
	t.task, t.changed = joined, true
	b.feed.add(id, applied.Number)
	return nil
}

// has says whether a task's history has an event with a key, which it notes as
// the last one if it is. Nearly all events are newer than those before them, and
// are not looked for.
func (b *batch) has(ctx context.Context, t *entry, key []byte) (bool, error) {
	if bytes.Compare(key, t.lastKey) > 0 {
		t.lastKey = key
		return false, nil
	}
	if err := b.newEvents.flush(ctx); err != nil {
		return false, err
	}
	n := 0
	err := b.knownKey.QueryRowContext(ctx, t.stored, key).Scan(&n)
	return n > 0, err
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

// insert enters an event and its body into the history.
func (b *batch) insert(ctx context.Context, t *entry, key []byte, e *task.Event, a task.Applied) (err error) {
	if b.row, err = eventRow(b.row[:0], t.stored, key, e, a); err != nil {
		return err
	}
	if err := b.newEvents.add(ctx, b.row); err != nil {
		return err
	}
	if body, _ := bodyOf(e); len(body) > 0 {
		b.row = append(b.row[:0], t.stored, a.Number, body)
		return b.newBodies.add(ctx, b.row)
	}
	return nil
}

// save writes the rows of the tasks that changed, of the feed, and those that
// wait.
func (b *batch) save(ctx context.Context) ([]store.Change, error) {
	var changes []store.Change
	for _, t := range b.order {
		if !t.changed {
			continue
		}
		if err := b.saveEntry(ctx, t); err != nil {
			return nil, fmt.Errorf("task %s: %w", t.id, err)
		}
		changes = append(changes, store.Change{
			TaskID: t.task.ID, Version: t.task.Version, State: t.task.State, Decided: t.task.Decided, Progress: t.progress,
			Type: t.task.Type, News: t.news,
		})
	}
	for _, n := range []*inserter{&b.newTasks, &b.newEvents, &b.newBodies} {
		if err := n.flush(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", n.stmts.table.name, err)
		}
	}
	for _, entries := range b.feed {
		if _, err := b.insertFeed.ExecContext(ctx, b.now, entries); err != nil {
			return nil, fmt.Errorf("feed: %w", err)
		}
	}
	return changes, b.noteSeen(ctx)
}

func (b *batch) saveEntry(ctx context.Context, t *entry) (err error) {
	if t.known != nil && movedOnly(&t.known.task, &t.task) {
		b.args = stateArgs(b.args[:0], t.stored, &t.task)
		_, err = b.saveState.ExecContext(ctx, b.args...)
		return err
	}
	if b.row, err = taskRow(b.row[:0], t.stored, &t.task, t.purgedRun, t.purgedVersion); err != nil {
		return err
	}
	if t.known == nil {
		return b.newTasks.add(ctx, b.row)
	}
	b.args = append(taskTable.args(b.args[:0], taskUpdates, b.row), t.stored)
	if _, err = b.saveTask.ExecContext(ctx, b.args...); err != nil {
		return err
	}
	if t.task.TraceID != t.known.task.TraceID {
		if _, err = b.saveTrace.ExecContext(ctx, t.task.TraceID, t.stored); err != nil {
			return err
		}
	}
	if r := rareOf(&t.task); r != rareOf(&t.known.task) {
		_, err = b.saveRareTask.ExecContext(ctx, r[0], r[1], r[2], r[3], t.stored)
	}
	return err
}
