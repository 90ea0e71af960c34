package sqlite

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// maxFeedLooked is how many events one call looks at, of which few may match.
	maxFeedLooked = 2000
	// feedLookup is how many one statement looks up.
	feedLookup = 250

	// Each entry is a text: the task's id in hexadecimal, and the event's number.
	// The joins are in this order, so that rows come in that of the entries.
	fromFeed = `
FROM json_each(?) w CROSS JOIN tasks t ON t.id = unhex(substr(w.value, 1, 32))
CROSS JOIN task_events e ON e.task_id = t.id AND e.number = CAST(substr(w.value, 33) AS INTEGER)
`
)

var (
	feedColumns = `, w.key, ` + columnsOf("t", taskColumns)
	// feedTaskColumns is how many of them are the task's.
	feedTaskColumns = strings.Count(taskColumns, ",") + 1

	selectFeedEvents           = `SELECT ` + eventColumns + `, NULL` + feedColumns + fromFeed + `WHERE `
	selectFeedEventsWithBodies = `SELECT ` + eventColumns + `, b.body` + feedColumns + fromFeed + withBodies + `WHERE `
)

var errFeedOrder = errors.New("events of the feed came out of order")

// Feed implements [store.Store].
func (s *Store) Feed(ctx context.Context, q store.FeedQuery) (store.FeedPage, error) {
	if err := s.enter(); err != nil {
		return store.FeedPage{}, err
	}
	defer s.leave()
	r := &feedReader{q: q, limit: min(max(q.Limit, 1), store.MaxPage), page: store.FeedPage{Next: q.From}}
	r.condition.And("e.number > t.purged_version")
	r.condition.Filter(q.Filter, filterColumns("e.state", q.QueuePrefix))
	err := s.reading(ctx, func(tx *sql.Tx) error {
		r.tx, r.bounds, r.rows = tx, tx.StmtContext(ctx, s.stmts.feedBounds), tx.StmtContext(ctx, s.stmts.feedRows)
		return r.read(ctx, s.identity)
	})
	if err != nil {
		return store.FeedPage{}, translate(ctx, "read the feed", err)
	}
	return r.page, nil
}

// reading runs f in a transaction that sees one state of the store.
func (s *Store) reading(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.db.Reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	return f(tx)
}

// feedReader makes one page.
type feedReader struct {
	tx           *sql.Tx
	bounds, rows *sql.Stmt
	q            store.FeedQuery
	limit        int
	condition    sqldb.Condition
	page         store.FeedPage
	// bytes is the size of the page's bodies.
	bytes int64
}

func (r *feedReader) read(ctx context.Context, identity [8]byte) error {
	var first, end int64
	if err := r.bounds.QueryRowContext(ctx).Scan(&first, &end); err != nil {
		return err
	}
	switch from := r.q.From; {
	case from.Store != identity, from.Row < 1, from.Index < 0, from.Row > end, from.Row == end && from.Index > 0:
		return store.ErrFeedPosition
	case from.Row < first:
		return store.ErrFeedTrimmed
	}
	for looked := 0; looked < maxFeedLooked && r.page.Next.Row != end; {
		entries, err := r.entries(ctx, r.page.Next)
		if err != nil {
			return err
		}
		full, err := r.lookUp(ctx, entries)
		if err != nil || full {
			r.page.More = full
			return err
		}
		r.page.Next = r.after(entries[len(entries)-1])
		looked += len(entries)
	}
	r.page.More = r.page.Next.Row != end
	return nil
}

// after is the place after an entry.
func (r *feedReader) after(e feedEntry) store.FeedPosition {
	return store.FeedPosition{Store: r.q.From.Store, Row: e.row, Index: e.index}
}

// entries are the next ones to look at. There is at least one before the end: no
// row is empty or left out.
func (r *feedReader) entries(ctx context.Context, from store.FeedPosition) ([]feedEntry, error) {
	rows, err := r.rows.QueryContext(ctx, from.Row)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var entries []feedEntry
	for skip := from.Index; len(entries) < feedLookup && rows.Next(); skip = 0 {
		var position int64
		var encoded sql.RawBytes
		if err := rows.Scan(&position, &encoded); err != nil {
			return nil, err
		}
		row, err := decodeFeedRow(position, encoded)
		if err != nil {
			return nil, err
		}
		if skip >= len(row) {
			return nil, store.ErrFeedPosition
		}
		entries = append(entries, row[skip:]...)
	}
	if err := rows.Err(); err != nil || len(entries) == 0 {
		return nil, errors.Join(errFeedEntries, err)
	}
	return entries[:min(len(entries), feedLookup)], nil
}

// lookUp adds those of some entries that match to the page, and says whether the
// page is full with others left.
func (r *feedReader) lookUp(ctx context.Context, entries []feedEntry) (full bool, err error) {
	query := selectFeedEvents
	if r.q.Bodies {
		query = selectFeedEventsWithBodies
	}
	args := append([]any{encodeLookup(entries)}, r.condition.Args()...)
	rows, err := r.tx.QueryContext(ctx, query+r.condition.SQL(), args...)
	if err != nil {
		return false, err
	}
	defer func() { _ = rows.Close() }()
	names, err := rows.Columns()
	if err != nil {
		return false, err
	}
	for last := -1; rows.Next(); {
		if len(r.page.Entries) == r.limit {
			return true, rows.Close()
		}
		index, size, entry, err := r.scan(rows, len(names))
		if err != nil {
			return false, err
		}
		if index <= last || index >= len(entries) {
			return false, errFeedOrder
		}
		last = index
		if r.bytes += size; r.q.Bodies && r.bytes > store.MaxEventBytes && len(r.page.Entries) > 0 {
			return true, rows.Close()
		}
		entry.Next = r.after(entries[index])
		r.page.Next = entry.Next
		r.page.Entries = append(r.page.Entries, entry)
	}
	return false, rows.Err()
}

// scan reads an event with its task, its index among those that were looked up,
// and the size of its body.
func (r *feedReader) scan(rows *sql.Rows, columns int) (index int, size int64, entry store.FeedEntry, err error) {
	entry.Event, size, err = scanEvent(rowPart{rows: rows, columns: columns}, r.q.Bodies, &index)
	if err != nil {
		return 0, 0, entry, err
	}
	_, entry.Task, _, err = scanTask(rowPart{rows: rows, columns: columns, first: columns - feedTaskColumns})
	entry.Event.TaskID, entry.Event.Type = entry.Task.ID, entry.Task.Type
	return index, size, entry, err
}

// encodeLookup is a JSON array of what a statement looks up.
func encodeLookup(entries []feedEntry) string {
	b := make([]byte, 0, len(entries)*40)
	for i := range entries {
		if b = append(b, `,"`...); i == 0 {
			b[0] = '['
		}
		b = hex.AppendEncode(b, entries[i].id[:])
		b = append(strconv.AppendInt(b, entries[i].number, 10), '"')
	}
	return string(append(b, ']'))
}
