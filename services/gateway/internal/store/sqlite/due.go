package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// The index on due has the ids, too: rows come in this order by themselves.
	// Those that are leased are passed over one by one; they are as few as are
	// being published.
	selectDue = `SELECT s.task_id, s.due, s.message, l.until IS NOT NULL
FROM scheduled s INDEXED BY scheduled_due LEFT JOIN scheduled_leases l ON l.task_id = s.task_id
WHERE s.due <= ? AND (l.until IS NULL OR l.until <= ?) ORDER BY s.due, s.task_id LIMIT ?`

	upsertLease = `INSERT INTO scheduled_leases (task_id, until) VALUES (?, ?)
ON CONFLICT (task_id) DO UPDATE SET until = excluded.until`

	selectNextDue = `SELECT min(due) FROM scheduled WHERE due > ?`

	selectNextLease = `SELECT min(until) FROM scheduled_leases WHERE until > ?`
)

// TakeDue implements [store.Scheduler].
func (s *Store) TakeDue(ctx context.Context, now time.Time, lease time.Duration, limit int) ([]store.Due, time.Time, error) {
	if err := s.enter(); err != nil {
		return nil, time.Time{}, err
	}
	defer s.leave()
	var t *taking
	err := s.db.Write(ctx, func(tx *sql.Tx) error {
		// As in Apply, the transaction watches the context.
		stmtCtx := context.WithoutCancel(ctx)
		t = &taking{tx: tx, now: now.UnixMicro(), limit: max(limit, 0)}
		if err := t.read(stmtCtx); err != nil {
			return err
		}
		if err := t.lease(stmtCtx, now.Add(lease).UnixMicro()); err != nil {
			return err
		}
		return t.lookAhead(stmtCtx)
	})
	if err != nil {
		return nil, time.Time{}, translate(ctx, "take due tasks", err)
	}
	return t.due, fromMicros(t.next), nil
}

// taking is a transaction of TakeDue.
type taking struct {
	tx    *sql.Tx
	now   int64
	limit int
	due   []store.Due
	ids   []uuid.UUID
	next  sql.Null[int64]
}

// read reads what is due. If there is more, next is its time.
func (t *taking) read(ctx context.Context) error {
	rows, err := t.tx.QueryContext(ctx, selectDue, t.now, t.now, t.limit+1)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for bytes := 0; rows.Next(); {
		var id, message []byte
		var at int64
		var again bool
		if err := rows.Scan(&id, &at, &message, &again); err != nil {
			return err
		}
		bytes += len(message)
		if len(t.due) == t.limit || bytes > store.MaxDueBytes && len(t.due) > 0 {
			t.next = sql.Null[int64]{V: at, Valid: true}
			return rows.Close()
		}
		u, err := uuid.FromBytes(id)
		if err != nil {
			return err
		}
		t.ids = append(t.ids, u)
		t.due = append(t.due, store.Due{TaskID: u.String(), Message: message, Again: again})
	}
	return rows.Err()
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
		if err := t.tx.QueryRowContext(ctx, query, t.now).Scan(&at); err != nil {
			return err
		}
		if at.Valid && (!t.next.Valid || at.V < t.next.V) {
			t.next = at
		}
	}
	return nil
}
