package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// A search looks at so many tasks at once: as many as take about stretchTime.
const (
	minStretch  = 500
	maxStretch  = 64_000
	stretchTime = 100 * time.Millisecond
)

// List implements [store.Store].
func (s *Store) List(ctx context.Context, q store.Query) (store.Page, error) {
	if err := s.enter(); err != nil {
		return store.Page{}, err
	}
	defer s.leave()
	const what = "list tasks"
	l := &listing{
		db: s.db.Reader, filter: q.Filter, source: sourceOf(q.Filter), columns: filterColumns("t.state", q.QueuePrefix),
		limit: min(max(q.Limit, 1), store.MaxPage), stretch: minStretch,
	}
	if q.Before != "" {
		before, err := uuid.Parse(q.Before)
		if err != nil {
			return store.Page{}, fmt.Errorf("%s: go on below %q: %w", what, q.Before, err)
		}
		l.before = before[:]
	}
	if err := l.search(ctx, q.Time); err != nil {
		return store.Page{}, translate(ctx, what, err)
	}
	return l.page, nil
}

// source is where tasks are searched: all of them, or those that an index has. It
// is named in the query, since SQLite has no way to see that it has the fewest
// rows.
type source struct {
	from, term string
	args       []any
	// rank is higher for what has fewer rows.
	rank int
	// whole: what comes from the source needs no filter.
	whole bool
}

// sourceOf picks the smallest source that has everything for which a filter
// holds.
func sourceOf(f filter.Expr) source {
	all := source{from: "tasks t NOT INDEXED", term: "TRUE", whole: f == nil}
	switch f := f.(type) {
	case filter.And:
		best := all
		for _, term := range f.Terms {
			if s := sourceOf(term); s.rank > best.rank {
				best = s
			}
		}
		best.whole = false
		return best
	case filter.Enum:
		switch {
		case f.Field == store.FieldState && f.Value == int(task.StateDeadLettered):
			return source{from: "tasks t INDEXED BY tasks_dead", term: "t.state = 7", rank: 1, whole: true}
		case f.Field == store.FieldState && f.Value == int(task.StateScheduled):
			return source{from: "tasks t INDEXED BY tasks_scheduled", term: "t.state = 1", rank: 1, whole: true}
		}
	case filter.Text:
		if s, ok := sourceOfText(f); ok {
			return s
		}
	}
	return all
}

func sourceOfText(f filter.Text) (source, bool) {
	if f.Match.Kind != filter.MatchEqual || f.Match.Value == "" {
		return source{}, false
	}
	switch f.Field {
	case store.FieldTraceID:
		const term = "t.trace_id <> '' AND t.trace_id = ?"
		return source{from: "tasks t INDEXED BY tasks_trace", term: term, args: []any{f.Match.Value}, rank: 2, whole: true}, true
	case store.FieldScheduleID:
		const term = "t.schedule_id IS NOT NULL AND t.schedule_id = ?"
		return source{from: "tasks t INDEXED BY tasks_schedule", term: term, args: []any{f.Match.Value}, rank: 2, whole: true}, true
	case store.FieldTaskID:
		id, err := uuid.Parse(f.Match.Value)
		return source{from: "tasks t NOT INDEXED", term: "t.id = ?", args: []any{id[:]}, rank: 3}, err == nil
	}
	return source{}, false
}

// listing makes one page.
type listing struct {
	db      *sql.DB
	filter  filter.Expr
	source  source
	columns *sqldb.Columns
	limit   int
	// before is the id below which to go on, nil for the first task.
	before []byte
	// stretch is how many tasks to look at next.
	stretch int
	page    store.Page
}

// search fills the page stretch by stretch, until it is full, there is nothing
// left, or the time is up.
func (l *listing) search(ctx context.Context, atMost time.Duration) error {
	for begin := time.Now(); ; {
		began := time.Now()
		floor, err := l.floor(ctx)
		if err != nil {
			return err
		}
		full, err := l.collect(ctx, floor)
		if err != nil || full {
			return err
		}
		if l.before = floor; floor == nil {
			l.page.Next = ""
			return nil
		}
		id, err := uuid.FromBytes(floor)
		if err != nil {
			return err
		}
		if l.page.Next = id.String(); len(l.page.Tasks) == l.limit || time.Since(begin) >= atMost {
			return nil
		}
		l.adapt(time.Since(began))
	}
}

// adapt chooses how long the next stretch is by the time that one took.
func (l *listing) adapt(took time.Duration) {
	switch {
	case took < stretchTime/2:
		l.stretch = min(2*l.stretch, maxStretch)
	case took > 2*stretchTime:
		l.stretch = max(l.stretch/2, minStretch)
	}
}

// floor is the lowest id of the next stretch, nil if it goes to the end: when the
// rest is shorter, or nothing has to be searched.
func (l *listing) floor(ctx context.Context) ([]byte, error) {
	if l.source.whole {
		return nil, nil
	}
	c := l.below()
	query := `SELECT t.id FROM ` + l.source.from + ` WHERE ` + c.SQL() + ` ORDER BY t.id DESC LIMIT 1 OFFSET ?`
	var floor []byte
	err := l.db.QueryRowContext(ctx, query, c.Args(l.stretch-1)...).Scan(&floor)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return floor, err
}

// below is the condition of what is still to be looked at.
func (l *listing) below() *sqldb.Condition {
	c := &sqldb.Condition{}
	c.And(l.source.term, l.source.args...)
	if l.before != nil {
		c.And("t.id < ?", l.before)
	}
	return c
}

// collect adds the tasks down to the floor to the page, and says whether there
// are more than it takes.
func (l *listing) collect(ctx context.Context, floor []byte) (full bool, err error) {
	c := l.below()
	if floor != nil {
		c.And("t.id >= ?", floor)
	}
	if !l.source.whole {
		c.Filter(l.filter, l.columns)
	}
	left := l.limit - len(l.page.Tasks)
	query := `SELECT ` + taskColumns + ` FROM ` + l.source.from + ` WHERE ` + c.SQL() + ` ORDER BY t.id DESC LIMIT ?`
	rows, err := l.db.QueryContext(ctx, query, c.Args(left+1)...)
	if err != nil {
		return false, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		_, t, _, err := scanTask(rows)
		if err != nil {
			return false, err
		}
		if len(l.page.Tasks) == l.limit {
			l.page.Next = l.page.Tasks[l.limit-1].ID
			return true, rows.Close()
		}
		l.page.Tasks = append(l.page.Tasks, t)
	}
	return false, rows.Err()
}
