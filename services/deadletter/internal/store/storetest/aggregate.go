package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var aggregateRules = map[string]func(*testing.T, store.Store){
	"Aggregate/by each field":          aggregatesByField,
	"Aggregate/by time":                aggregatesByTime,
	"Aggregate/bounds its answer":      boundsAggregates,
	"Aggregate/refuses unknown fields": refusesAggregates,
}

func aggregate(t test, s store.Store, q store.AggregateQuery) []store.Aggregate {
	t.Helper()
	all, err := s.Aggregate(t.Context(), q)
	require.NoError(t, err)
	return all
}

// counts are the values and counts alone.
func counts(all []store.Aggregate) (out [][]any) {
	for _, a := range all {
		row := []any{a.Count}
		for _, v := range a.Values {
			row = append(row, v)
		}
		out = append(out, row)
	}
	return out
}

func aggregatesByField(t *testing.T, s store.Store) {
	require.Empty(t, aggregate(t, s, store.AggregateQuery{}))
	a, b, c := in(1, arrival(task.NewID(), 1)), in(1, arrival(task.NewID(), 2)), foreign(task.NewID())
	a.Occurrence.Attempts[1].Version = "v9"
	a.Labels = map[string]string{"a b": "x", "c": "y"}
	b.Labels = map[string]string{"a b": "x"}
	put(t, s, a, b, c)
	discard(t, s, c.ID)
	for _, want := range []struct {
		by   []store.AggregateKey
		rows [][]any
	}{
		{nil, [][]any{{int64(3)}}},
		{[]store.AggregateKey{{Field: store.FieldState}}, [][]any{{int64(2), "1"}, {int64(1), "4"}}},
		{[]store.AggregateKey{{Field: store.FieldCode}}, [][]any{{int64(2), "13"}, {int64(1), ""}}},
		{[]store.AggregateKey{{Field: store.FieldType}}, [][]any{{int64(2), taskType}, {int64(1), "some.key"}}},
		{[]store.AggregateKey{{Field: store.FieldReason}}, [][]any{{int64(1), ""}, {int64(1), "BROKEN_1"}, {int64(1), "BROKEN_2"}}},
		{[]store.AggregateKey{{Field: store.FieldWorkerVersion}}, [][]any{{int64(2), ""}, {int64(1), "v9"}}},
		{[]store.AggregateKey{{Field: store.FieldGroupID}}, [][]any{{int64(2), groupID(1)}, {int64(1), ""}}},
		{[]store.AggregateKey{{Field: store.FieldQueue}}, [][]any{{int64(2), "warren.work." + taskType}, {int64(1), "warren.status"}}},
		{[]store.AggregateKey{{Label: "a b"}}, [][]any{{int64(2), "x"}, {int64(1), ""}}},
		{[]store.AggregateKey{{Label: "a b"}, {Field: store.FieldState}, {Label: "c"}}, [][]any{
			{int64(1), "", "4", ""}, {int64(1), "x", "1", ""}, {int64(1), "x", "1", "y"},
		}},
	} {
		require.Equal(t, want.rows, counts(aggregate(t, s, store.AggregateQuery{By: want.by})), "%v", want.by)
	}
	causes := aggregate(t, s, store.AggregateQuery{Filter: parse(t, `labels."a b" = "x"`), By: []store.AggregateKey{{Field: store.FieldCause}}})
	require.Len(t, causes, 1)
	require.EqualValues(t, 2, causes[0].Count)
	require.Equal(t, at(1), causes[0].First)
	require.Equal(t, at(2), causes[0].Last)
}

func aggregatesByTime(t *testing.T, s store.Store) {
	hour := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, dead := range []time.Time{hour, hour.Add(time.Hour - 1000), hour.Add(-1000), time.Date(1969, 12, 31, 23, 30, 0, 0, time.UTC)} {
		a := arrival(task.NewID(), 1)
		a.Occurrence.DeadTime = dead
		put(t, s, a)
	}
	all := aggregate(t, s, store.AggregateQuery{Interval: time.Hour, By: []store.AggregateKey{{Field: store.FieldState}}})
	require.Equal(t, [][]any{{int64(1), "1"}, {int64(1), "1"}, {int64(2), "1"}}, counts(all))
	var starts []time.Time
	for _, a := range all {
		starts = append(starts, a.Start)
	}
	require.Equal(t, []time.Time{time.Date(1969, 12, 31, 23, 0, 0, 0, time.UTC), hour.Add(-time.Hour), hour}, starts)
}

func boundsAggregates(t *testing.T, s store.Store) {
	for range 11 {
		many := make([]store.Arrival, 1000)
		for i := range many {
			many[i] = store.Arrival{ID: task.NewID(), Type: "t", Occurrence: store.Occurrence{Run: 1, Cause: 1}}
			many[i].Labels = map[string]string{"id": many[i].ID}
		}
		put(t, s, many...)
	}
	_, err := s.Aggregate(t.Context(), store.AggregateQuery{By: []store.AggregateKey{{Label: "id"}}})
	require.ErrorIs(t, err, store.ErrTooMany)
	require.Len(t, aggregate(t, s, store.AggregateQuery{By: []store.AggregateKey{{Label: "no"}}}), 1)
}

func refusesAggregates(t *testing.T, s store.Store) {
	_, err := s.Aggregate(t.Context(), store.AggregateQuery{By: []store.AggregateKey{{Field: filter.Field("d.message; --")}}})
	require.Error(t, err)
}
