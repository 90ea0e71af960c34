package sqldb_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/sqldb"
)

var columns = &sqldb.Columns{
	Fields: map[filter.Field]sqldb.Column{
		"state": {SQL: "n.state"}, "queue": {SQL: "(? || n.type)", Args: []any{"q."}}, "end_time": {SQL: "n.end_time"},
		"attempt.code": {SQL: "a.code", Rows: "attempts a WHERE a.note = n.id"},
	},
	Labels:   sqldb.Column{SQL: "l.value", Rows: "labels l WHERE l.note = n.id"},
	LabelKey: "l.key",
}

func TestConditionOfAFilter(t *testing.T) {
	t.Parallel()
	states := map[string]int{"OPEN": 1, "CLOSED": 2}
	schema := filter.Schema{
		"state": filter.Names("", states), "queue": filter.Texts(), "end_time": filter.Times(), "attempt.code": filter.Names("", states),
		filter.FieldLabels: filter.Labels(),
	}
	noon := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]struct {
		sql  string
		args []any
	}{
		``:                                  {"TRUE", nil},
		`state = OPEN`:                      {"n.state = ?", []any{int64(1)}},
		`state != OPEN`:                     {"(NOT n.state = ?)", []any{int64(1)}},
		`state = OPEN AND queue = a`:        {"n.state = ? AND (? || n.type) = ?", []any{int64(1), "q.", "a"}},
		`state = OPEN OR queue = "a[*?"`:    {"(n.state = ? OR (? || n.type) GLOB ?)", []any{int64(1), "q.", "a[[]*[?]"}},
		`queue:B`:                           {"instr(lower((? || n.type)), ?) > 0", []any{"q.", "b"}},
		`queue:*`:                           {"(? || n.type) <> ''", []any{"q."}},
		`end_time > "2026-01-31T12:00:00Z"`: {"(n.end_time > ? AND n.end_time IS NOT NULL)", []any{noon.UnixMicro()}},
		`attempt.code = CLOSED`:             {"EXISTS (SELECT 1 FROM attempts a WHERE a.note = n.id AND a.code = ?)", []any{int64(2)}},
		`attempt.code:*`:                    {"(NOT (NOT EXISTS (SELECT 1 FROM attempts a WHERE a.note = n.id AND a.code <> ?)))", []any{int64(0)}},
		`labels:k`:                          {"EXISTS (SELECT 1 FROM labels l WHERE l.note = n.id AND l.key = ?)", []any{"k"}},
		`labels.k = v`:                      {"EXISTS (SELECT 1 FROM labels l WHERE l.note = n.id AND l.key = ? AND l.value = ?)", []any{"k", "v"}},
	} {
		f, err := schema.Parse(text)
		require.NoError(t, err, text)
		var c sqldb.Condition
		c.Filter(f, columns)
		require.Equal(t, want.sql, c.SQL(), text)
		require.Equal(t, want.args, c.Args(), text)
		require.Equal(t, append(want.args, 7), c.Args(7), text)
	}
	var c sqldb.Condition
	require.Panics(t, func() { c.Filter(filter.Text{Field: "unknown"}, columns) })
}
