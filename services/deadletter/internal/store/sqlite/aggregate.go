package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// aggregated are the fields that can be counted by, of the dead letter d.
var aggregated = map[filter.Field]string{
	store.FieldState: "d.state", store.FieldType: "d.type", store.FieldCause: "d.cause", store.FieldCode: "ifnull(nullif(d.code, 0), '')",
	store.FieldReason: "d.reason", store.FieldWorkerVersion: "d.worker_version", store.FieldGroupID: "d.group_id", store.FieldQueue: "d.queue",
}

// Aggregate implements [store.Groups].
func (s *Store) Aggregate(ctx context.Context, q store.AggregateQuery) ([]store.Aggregate, error) {
	const what = "count dead letters by their values"
	query, args, err := aggregateQuery(q)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	var all []store.Aggregate
	err = s.read(ctx, what, func(tx *sql.Tx) (err error) {
		all, err = collect(ctx, tx, func(row scanner) (store.Aggregate, error) { return scanAggregate(row, q) }, query, args...)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case len(all) > store.MaxAggregates:
		return nil, fmt.Errorf("%s: %w: more than %d", what, store.ErrTooMany, store.MaxAggregates)
	case len(all) == 1 && all[0].Count == 0:
		return nil, nil
	}
	slices.SortFunc(all, func(a, b store.Aggregate) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(b.Count, a.Count), slices.Compare(a.Values, b.Values))
	})
	return all, nil
}

// aggregateQuery has no index that would give what is counted in its order, which is what
// the plus signs are for: every row would be looked up by it.
func aggregateQuery(q store.AggregateQuery) (string, []any, error) {
	var values, joins []string
	var args []any
	for i, key := range q.By {
		if key.Label == "" {
			column, ok := aggregated[key.Field]
			if !ok {
				return "", nil, fmt.Errorf("no dead letters are counted by %q", key.Field)
			}
			values = append(values, column)
			continue
		}
		values = append(values, fmt.Sprintf("ifnull(l%d.value, '')", i))
		joins = append(joins, fmt.Sprintf(" LEFT JOIN labels l%[1]d ON l%[1]d.dead_letter = d.sequence AND l%[1]d.key = ?", i))
		args = append(args, key.Label)
	}
	if q.Interval > 0 {
		// The remainder of what was before 1970 is negative.
		i := q.Interval.Microseconds()
		values = append(values, fmt.Sprintf("d.dead_time - ((d.dead_time %% %[1]d) + %[1]d) %% %[1]d", i))
	}
	c := &sqldb.Condition{}
	c.Filter(q.Filter, columns)
	groups := ""
	if n := len(values); n > 0 {
		groups = " GROUP BY +" + strings.Join(values, ", +")
	}
	query := `SELECT ` + strings.Join(append(values, "count(*)", "min(d.dead_time)", "max(d.dead_time)"), ", ") +
		` FROM ` + lettersOf(q.Filter) + strings.Join(joins, "") + ` WHERE ` + c.SQL() + groups + ` LIMIT ?`
	return query, append(args, c.Args(store.MaxAggregates+1)...), nil
}

func scanAggregate(row scanner, q store.AggregateQuery) (store.Aggregate, error) {
	a := store.Aggregate{Values: make([]string, len(q.By))}
	var into []any
	for i := range a.Values {
		into = append(into, &a.Values[i])
	}
	var start int64
	if q.Interval > 0 {
		into = append(into, &start)
	}
	var first, last sql.Null[int64]
	err := row.Scan(append(into, &a.Count, &first, &last)...)
	if q.Interval > 0 {
		a.Start = time.UnixMicro(start).UTC()
	}
	a.First, a.Last = fromMicros(first), fromMicros(last)
	return a, err
}
