package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/task"
)

var selectClaims = `SELECT task_id, run, copy, delivery, request_id FROM claims WHERE task_id IN (?` +
	strings.Repeat(", ?", loadSize-1) + `)`

const (
	upsertClaim = `INSERT INTO claims (task_id, run, copy, delivery, request_id, time, loose) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (task_id, run) DO UPDATE SET
	copy = excluded.copy, delivery = excluded.delivery, request_id = excluded.request_id, time = excluded.time`

	// A claim on a later run is one of a replay that is under way.
	deleteClaims = `DELETE FROM claims WHERE task_id = ? AND run <= ?`
	loosenClaims = `UPDATE claims SET loose = 1 WHERE task_id = ?`

	// A claim stays loose when its task becomes known, which is rare.
	deleteLooseClaims = `DELETE FROM claims WHERE (task_id, run) IN (
	SELECT task_id, run FROM claims c
	WHERE loose = 1 AND time < ? AND NOT EXISTS (SELECT 1 FROM tasks WHERE id = c.task_id)
	ORDER BY time LIMIT ?)`
)

// decisions is a transaction of Start or ClaimRun: it reads each task, history
// and claim once, and writes each claim once, whatever is asked about them.
type decisions struct {
	entries
	loadHistory, loadClaims, saveClaim *sql.Stmt

	now       int64
	histories map[uuid.UUID][]task.NumberedEvent
	claims    map[runKey]*task.Claim
	// changed are the claims to save.
	changed map[runKey]struct{}
}

// runKey names a run of a task.
type runKey struct {
	id  uuid.UUID
	run int
}

func (s *Store) newDecisions(ctx context.Context, tx *sql.Tx) *decisions {
	return &decisions{
		entries:     s.newEntries(ctx, tx),
		loadHistory: tx.StmtContext(ctx, s.stmts.loadHistory),
		loadClaims:  tx.StmtContext(ctx, s.stmts.loadClaims),
		saveClaim:   tx.StmtContext(ctx, s.stmts.saveClaim),
		now:         s.clock().UnixMicro(),
		histories:   map[uuid.UUID][]task.NumberedEvent{},
		claims:      map[runKey]*task.Claim{},
		changed:     map[runKey]struct{}{},
	}
}

// load reads the tasks and their claims.
func (d *decisions) load(ctx context.Context) error {
	if err := d.entries.load(ctx); err != nil {
		return err
	}
	return d.each(ctx, d.loadClaims, d.order, func(rows *sql.Rows) error {
		var id, holder []byte
		var run int
		c := &task.Claim{}
		if err := rows.Scan(&id, &run, &holder, &c.Delivery, &c.RequestID); err != nil {
			return err
		}
		if len(id) != len(uuid.UUID{}) || len(holder) != len(c.Copy) {
			return fmt.Errorf("a claim's ids have %d and %d bytes", len(id), len(holder))
		}
		c.Copy = task.Copy(holder)
		d.claims[runKey{uuid.UUID(id), run}] = c
		return nil
	})
}

// start decides about one start.
func (d *decisions) start(ctx context.Context, r task.StartRequest) (task.StartAnswer, error) {
	id, ok := parseID(r.TaskID)
	if !ok {
		return task.StartAnswer{Verdict: task.VerdictGiveUp}, nil
	}
	if r.Run <= d.tasks[id].purgedRun {
		return task.StartAnswer{Verdict: task.VerdictDrop}, nil
	}
	t, history, err := d.known(ctx, id)
	if err != nil {
		return task.StartAnswer{}, err
	}
	key := runKey{id, r.Run}
	answer, c := task.DecideStart(r, t, history, d.claims[key])
	d.record(key, c)
	return answer, nil
}

// hold lets a message hold a run, and says whether it does and whether the run
// has ended.
func (d *decisions) hold(ctx context.Context, id uuid.UUID, run int, c task.Copy) (held, ended bool, err error) {
	if run <= d.tasks[id].purgedRun {
		return false, true, nil
	}
	t, history, err := d.known(ctx, id)
	if err != nil {
		return false, false, err
	}
	key := runKey{id, run}
	holder := task.Holder(t, history, d.claims[key], run, c)
	d.record(key, holder)
	return holder.Copy == c, t != nil && (t.Run > run || t.Decided.Run == run && t.State.Terminal()), nil
}

// known returns what is on record of a task; nil for nothing.
func (d *decisions) known(ctx context.Context, id uuid.UUID) (*task.Task, []task.NumberedEvent, error) {
	t := &d.tasks[id].task
	if t.ID == "" {
		return nil, nil, nil
	}
	if history, ok := d.histories[id]; ok {
		return t, history, nil
	}
	rows, err := d.loadHistory.QueryContext(ctx, id[:])
	if err != nil {
		return nil, nil, err
	}
	history, err := scanEvents(rows, false)
	if err != nil {
		return nil, nil, err
	}
	for i := range history {
		history[i].TaskID, history[i].Type = t.ID, t.Type
	}
	d.histories[id] = history
	return t, history, nil
}

// record notes a claim that follows from a decision.
func (d *decisions) record(key runKey, c task.Claim) {
	if was := d.claims[key]; was == nil || *was != c {
		d.claims[key], d.changed[key] = &c, struct{}{}
	}
}

// save writes the claims that changed.
func (d *decisions) save(ctx context.Context) error {
	for key := range d.changed {
		c := d.claims[key]
		_, err := d.saveClaim.ExecContext(ctx, key.id[:], int64(key.run), c.Copy[:], c.Delivery, c.RequestID, d.now, d.tasks[key.id].task.ID == "")
		if err != nil {
			return fmt.Errorf("claim on run %d of task %s: %w", key.run, key.id, err)
		}
	}
	return nil
}
