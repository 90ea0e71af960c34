package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// What is due of a type, the earliest first: the index has it in this order by
	// itself. Rows that are leased are passed over one by one; they are as few as are
	// being published. A lease that ends too far ahead is of a clock that was set back.
	dueOfType = `SELECT x.task_id FROM scheduled x INDEXED BY scheduled_due LEFT JOIN scheduled_leases l ON l.task_id = x.task_id
	WHERE x.due <= :now AND (l.until IS NULL OR l.until <= :now OR l.until > :far) AND x.type = `

	// The types whose tasks are asked for. Few have no tasks any more.
	askedTypes = `scheduled_counts c LEFT JOIN json_each(:most) m ON m.key = c.type`
	asked      = `c.tasks > 0 AND ifnull(m.value, 1) > 0`

	// It goes through the types at the same time: the queue of the recursion has one
	// row of each, its next. So what is due of other types costs nothing, however
	// much it is.
	selectDue = `WITH RECURSIVE walk (type, due, task_id, room) AS (
	SELECT s.type, s.due, s.task_id, ifnull(m.value, :limit) FROM ` + askedTypes + ` CROSS JOIN scheduled s
	WHERE ` + asked + ` AND s.task_id = (` + dueOfType + `c.type ORDER BY x.due, x.task_id LIMIT 1)
	UNION ALL
	SELECT s.type, s.due, s.task_id, w.room - 1 FROM walk w CROSS JOIN scheduled s
	WHERE w.room > 1 AND s.task_id = (` + dueOfType + `w.type AND (x.due, x.task_id) > (w.due, w.task_id) ORDER BY x.due, x.task_id LIMIT 1)
	ORDER BY 2, 3 LIMIT :limit
) SELECT task_id, due FROM walk ORDER BY due, task_id`

	selectDueMessage = `SELECT s.type, s.message, l.until IS NOT NULL
FROM scheduled s LEFT JOIN scheduled_leases l ON l.task_id = s.task_id WHERE s.task_id = ?`

	upsertLease = `INSERT INTO scheduled_leases (task_id, until) VALUES (?, ?)
ON CONFLICT (task_id) DO UPDATE SET until = excluded.until`

	selectNextDue = `SELECT min((SELECT min(x.due) FROM scheduled x INDEXED BY scheduled_due WHERE x.type = c.type AND x.due > :now))
FROM ` + askedTypes + ` WHERE ` + asked

	selectNextLease = `SELECT (SELECT l.until FROM scheduled_leases l CROSS JOIN scheduled s ON s.task_id = l.task_id
	WHERE l.until > :now AND l.until <= :far AND s.type NOT IN (SELECT key FROM json_each(:most) WHERE value <= 0) ORDER BY l.until LIMIT 1)`
)

// TakeDue implements [store.Scheduler].
func (s *Store) TakeDue(ctx context.Context, now time.Time, lease time.Duration, limit int, most map[string]int) ([]store.Due, time.Time, error) {
	if err := s.enter(); err != nil {
		return nil, time.Time{}, err
	}
	defer s.leave()
	const what = "take due tasks"
	if most == nil {
		most = map[string]int{} // nil would be null
	}
	encoded, err := json.Marshal(most)
	if err != nil {
		return nil, time.Time{}, translate(ctx, what, err)
	}
	var t *taking
	err = s.db.Write(ctx, func(tx *sql.Tx) error {
		// As in Apply, the transaction watches the context.
		stmtCtx := context.WithoutCancel(ctx)
		t = &taking{tx: tx, limit: max(limit, 0), args: []any{
			sql.Named("now", now.UnixMicro()), sql.Named("far", now.Add(2*lease).UnixMicro()), sql.Named("most", string(encoded)),
		}}
		if err := t.read(stmtCtx); err != nil {
			return err
		}
		if err := t.lease(stmtCtx, now.Add(lease).UnixMicro()); err != nil {
			return err
		}
		return t.lookAhead(stmtCtx)
	})
	if err != nil {
		return nil, time.Time{}, translate(ctx, what, err)
	}
	return t.due, fromMicros(t.next), nil
}

// taking is a transaction of TakeDue.
type taking struct {
	tx *sql.Tx
	// args are those that its statements have in common.
	args  []any
	limit int
	due   []store.Due
	ids   []uuid.UUID
	next  sql.Null[int64]
}

// dueTask is a task whose time has come.
type dueTask struct {
	id  uuid.UUID
	due int64
}

// read reads what is due. If there is more, next is its time.
func (t *taking) read(ctx context.Context) error {
	found, err := t.find(ctx)
	if err != nil || len(found) == 0 {
		return err
	}
	stmt, err := t.tx.PrepareContext(ctx, selectDueMessage)
	if err != nil {
		return err
	}
	defer func() { _ = stmt.Close() }()
	bytes := 0
	for _, f := range found {
		d := store.Due{TaskID: f.id.String()}
		if len(t.due) < t.limit {
			if err := stmt.QueryRowContext(ctx, f.id[:]).Scan(&d.Type, &d.Message, &d.Again); err != nil {
				return err
			}
		}
		bytes += len(d.Message)
		if len(t.due) == t.limit || bytes > store.MaxDueBytes && len(t.due) > 0 {
			t.next = sql.Null[int64]{V: f.due, Valid: true}
			return nil
		}
		t.ids, t.due = append(t.ids, f.id), append(t.due, d)
	}
	return nil
}

// find finds what is due, and one more than may be taken.
func (t *taking) find(ctx context.Context) ([]dueTask, error) {
	rows, err := t.tx.QueryContext(ctx, selectDue, append(slices.Clone(t.args), sql.Named("limit", t.limit+1))...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var found []dueTask
	for rows.Next() {
		var id []byte
		var f dueTask
		if err := rows.Scan(&id, &f.due); err != nil {
			return nil, err
		}
		if f.id, err = uuid.FromBytes(id); err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	return found, rows.Err()
}

func (t *taking) lease(ctx context.Context, until int64) error {
	if len(t.ids) == 0 {
		return nil
	}
	stmt, err := t.tx.PrepareContext(ctx, upsertLease)
	if err != nil {
		return err
	}
	defer func() { _ = stmt.Close() }()
	for i := range t.ids {
		if _, err := stmt.ExecContext(ctx, t.ids[i][:], until); err != nil {
			return err
		}
	}
	return nil
}

// lookAhead finds when the next task is due, or the next lease ends, unless it is
// known.
func (t *taking) lookAhead(ctx context.Context) error {
	if t.next.Valid {
		return nil
	}
	for _, query := range []string{selectNextDue, selectNextLease} {
		var at sql.Null[int64]
		if err := t.tx.QueryRowContext(ctx, query, t.args...).Scan(&at); err != nil {
			return err
		}
		if at.Valid && (!t.next.Valid || at.V < t.next.V) {
			t.next = at
		}
	}
	return nil
}
