package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, id string, full bool) (store.DeadLetter, error) {
	var d store.DeadLetter
	err := s.read(ctx, "read dead letter "+id, func(tx *sql.Tx) (err error) {
		if d, err = get(ctx, tx, id); err != nil || !full {
			return err
		}
		_, err = fill(ctx, tx, &d)
		return err
	})
	return d, err
}

// get reads a dead letter by any spelling of its id. Errors: ErrNotFound.
func get(ctx context.Context, tx *sql.Tx, id string) (store.DeadLetter, error) {
	u, err := uuid.Parse(id)
	if err != nil {
		return store.DeadLetter{}, fmt.Errorf("%w: %q is no id", store.ErrNotFound, id)
	}
	return loadOne(ctx, tx, u)
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, q store.Query) (store.Page, error) {
	var page store.Page
	c := selection(q)
	from := source{lettersOf(q.Filter), arrivalOrder.place}
	if label, ok := labelOf(q.Filter); ok && from == arrivalOrder {
		from = labelOrder
		c.And("x.key = ?", label.Key)
		c.And("x.value = ?", label.Match.Value)
	}
	order := from.place + " DESC"
	if q.OldestFirst {
		order = from.place
		c.And(from.place+" > ?", q.After)
	} else if q.After != 0 {
		c.And(from.place+" < ?", q.After)
	}
	err := s.read(ctx, "list dead letters", func(tx *sql.Tx) (err error) {
		page.DeadLetters, page.More, err = load(ctx, tx, from.tables, c, order, q.Limit, q.Full)
		return err
	})
	return page, err
}

// source is where dead letters are read from in the order in which they first came in.
type source struct{ tables, place string }

var (
	arrivalOrder = source{"dead_letters d", "d.sequence"}
	// labelOrder reads those with a label, which is bound to x. It is left as it is
	// written: SQLite does not know how few they are.
	labelOrder = source{"labels x CROSS JOIN dead_letters d ON d.sequence = x.dead_letter", "x.dead_letter"}
)

// labelOf is a label that a filter demands in any case; false for none.
func labelOf(f filter.Expr) (filter.Label, bool) {
	switch f := f.(type) {
	case filter.Label:
		return f, f.Match.Kind == filter.MatchEqual
	case filter.And:
		for _, term := range f.Terms {
			if label, ok := labelOf(term); ok {
				return label, true
			}
		}
	}
	return filter.Label{}, false
}

// Count implements [store.Store].
func (s *Store) Count(ctx context.Context, q store.Query) (int64, error) {
	var n int64
	c := selection(q)
	err := s.read(ctx, "count dead letters", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT count(*) FROM `+lettersOf(q.Filter)+` WHERE `+c.SQL(), c.Args()...).Scan(&n)
	})
	return n, err
}

// selection is the condition of what a query selects.
func selection(q store.Query) *sqldb.Condition {
	c := &sqldb.Condition{}
	if q.State != 0 {
		c.And("d.state = ?", int64(q.State))
	}
	c.Filter(q.Filter, columns)
	return c
}

// Changes implements [store.Store].
func (s *Store) Changes(ctx context.Context, after int64, f filter.Expr, limit int, full bool) (store.ChangePage, error) {
	page := store.ChangePage{Through: after}
	if limit <= 0 {
		return page, nil
	}
	c := &sqldb.Condition{}
	c.And("d.change > ?", after)
	c.Filter(f, columns)
	err := s.read(ctx, "read changes", func(tx *sql.Tx) error {
		var last int64
		err := tx.QueryRowContext(ctx, selectLastChange).Scan(&last)
		if err != nil {
			return err
		}
		page.DeadLetters, page.More, err = load(ctx, tx, arrivalOrder.tables, c, "d.change", limit, full)
		if err != nil {
			return err
		}
		page.Through = max(after, last)
		if n := len(page.DeadLetters); page.More && n > 0 {
			page.Through = page.DeadLetters[n-1].Change
		}
		return nil
	})
	return page, err
}

// LatestChange implements [store.Store].
func (s *Store) LatestChange(ctx context.Context) (int64, error) {
	var last int64
	err := s.read(ctx, "read the latest change", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, selectLastChange).Scan(&last)
	})
	return last, err
}

// load reads a page of dead letters d, and whether others follow.
func load(
	ctx context.Context, tx *sql.Tx, tables string, c *sqldb.Condition, order string, limit int, full bool,
) ([]store.DeadLetter, bool, error) {
	limit = bounded(limit)
	if limit == 0 {
		return nil, false, nil
	}
	query := `SELECT ` + deadLetterColumns + ` FROM ` + tables + ` WHERE ` + c.SQL() + ` ORDER BY ` + order + ` LIMIT ?`
	page, err := collect(ctx, tx, scanDeadLetter, query, c.Args(limit+1)...)
	if err != nil {
		return nil, false, err
	}
	more := len(page) > limit
	if more {
		page = page[:limit]
	}
	if !full {
		return page, more, nil
	}
	size := 0
	for i := range page {
		n, err := fill(ctx, tx, &page[i])
		if err != nil {
			return nil, false, err
		}
		if size += n; i > 0 && size > store.MaxPageBytes {
			return page[:i], true, nil
		}
	}
	return page, more, nil
}

// Audit implements [store.Store].
func (s *Store) Audit(ctx context.Context, id string) ([]store.AuditEntry, error) {
	var entries []store.AuditEntry
	err := s.read(ctx, "read the audit of "+id, func(tx *sql.Tx) error {
		d, err := get(ctx, tx, id)
		if err != nil {
			return err
		}
		entries, err = collect(ctx, tx, func(row scanner) (store.AuditEntry, error) {
			e := store.AuditEntry{DeadLetterID: d.ID}
			var at int64
			err := row.Scan(&e.Sequence, &at, &e.Action, &e.From, &e.To, &e.Run, &e.Reason, &e.Actor)
			e.Time = time.UnixMicro(at).UTC()
			return e, err
		}, selectAudit, d.Sequence, int64(store.MaxAudit))
		slices.Reverse(entries)
		return err
	})
	return entries, err
}
