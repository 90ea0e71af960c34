package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/filter/filtertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

var filterRules = map[string]func(*testing.T, store.Store){
	"Filter/any one selects what the model does": anyFilter,
	"Filter/by each field":                       filtersEachField,
	"Filter/takes values as they are":            takesValuesAsTheyAre,
	"Filter/as long as it may be":                takesLongFilter,
	"Filter/names states as the store does": func(t *testing.T, _ store.Store) {
		for state := store.StateOpen; state <= store.StateDiscarded; state++ {
			require.Equal(t, filter.Enum{Field: store.FieldState, Value: int(state)}, parse(t, "state = "+state.String()))
			parsed, ok := store.ParseState(state.String())
			require.True(t, ok)
			require.Equal(t, state, parsed)
		}
	},
}

func filtersEachField(t *testing.T, s store.Store) {
	a, b := arrival(task.NewID(), 1), foreign(task.NewID())
	put(t, s, a, b)
	for text, want := range map[string][]string{
		``:                                   {b.ID, a.ID},
		`state = OPEN`:                       {b.ID, a.ID},
		`state != OPEN`:                      {},
		`cause = UNDECODABLE`:                {b.ID},
		`code = INTERNAL`:                    {a.ID},
		`code != INTERNAL`:                   {b.ID},
		`code:*`:                             {a.ID},
		`-code:*`:                            {b.ID},
		`type = "demo.v1.*"`:                 {a.ID},
		`type = some.key`:                    {b.ID},
		`reason = BROKEN_1`:                  {a.ID},
		`message:"IS BROKEN"`:                {a.ID},
		`message = "run 1 is broken: <&> ü"`: {a.ID},
		`message = "RUN 1 is broken: <&> ü"`: {},
		`worker_id:W`:                        {a.ID},
		`trace_id = "00000000000000000000000000000001"`:     {a.ID},
		fmt.Sprintf(`task_id = %q`, strings.ToUpper(a.ID)):  {a.ID},
		fmt.Sprintf(`task_id = %q`, b.ID):                   {},
		`task_id:*`:                                         {a.ID},
		`run >= 1`:                                          {a.ID},
		`attempt < 2`:                                       {b.ID},
		`occurrence_count = 1`:                              {b.ID, a.ID},
		`labels.customer = acme`:                            {a.ID},
		`labels.customer != acme`:                           {b.ID},
		`labels."größe":"<"`:                                {a.ID},
		`labels:customer`:                                   {a.ID},
		`labels.other:*`:                                    {},
		`create_time <= "2026-11-21T13:00:00.123456+01:00"`: {a.ID},
		`create_time < "2026-11-21T12:00:00.123456Z"`:       {},
		`NOT create_time < "2100-01-01T00:00:00Z"`:          {b.ID},
		`dead_time > "2026-11-21T12:00:00.123456Z"`:         {a.ID},
		`update_time > "2000-01-01T00:00:00Z"`:              {b.ID, a.ID},
		`state = OPEN AND (code = INTERNAL OR run = 0) AND NOT labels:customer`: {b.ID},
	} {
		require.Equal(t, want, ids(list(t, s, store.Query{Filter: parse(t, text), Limit: 10})), text)
	}
}

// takesValuesAsTheyAre: nothing in a value means anything to the engine.
func takesValuesAsTheyAre(t *testing.T, s store.Store) {
	for _, value := range []string{`%`, `_`, `[a-z]`, `?`, `'; DROP TABLE dead_letters; --`, `"`, `\`, `^`, `]`, `a[`} {
		a, b := arrival(task.NewID(), 1), arrival(task.NewID(), 1)
		a.Type, b.Type = value+"1", "x1"
		a.Labels = map[string]string{value: value}
		put(t, s, a, b)
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value)
		for _, text := range []string{
			`type = ` + quoted + `1"`, `type = ` + quoted + `*"`, `type:` + quoted + `1"`,
			`labels.` + quoted + `" = ` + quoted + `"`, `labels:` + quoted + `"`,
		} {
			found := ids(list(t, s, store.Query{Filter: parse(t, text), Limit: 100}))
			require.Contains(t, found, a.ID, text)
			require.NotContains(t, found, b.ID, text)
		}
	}
}

func takesLongFilter(t *testing.T, s store.Store) {
	a := arrival(task.NewID(), 1)
	put(t, s, a)
	for _, term := range []string{`run=2 OR `, `labels:a OR `, `-run=1 AND `, `type:zz OR `, `type=a* OR `} {
		for _, last := range []string{`run=1`, `run=2`} {
			text := strings.Repeat(term, (filter.MaxBytes-len(last))/len(term)) + last
			want := 0
			if last == `run=1` && !strings.Contains(term, "AND") {
				want = 1
			}
			require.Len(t, list(t, s, store.Query{Filter: parse(t, text), Limit: 10}), want, text)
		}
	}
	deep := strings.Repeat("-(run=2 OR ", filter.MaxDepth) + "run=1" + strings.Repeat(")", filter.MaxDepth)
	require.Len(t, list(t, s, store.Query{Filter: parse(t, deep), Limit: 10}), 1)
}

// anyFilter compares what a filter selects with what it holds for, one by one.
func anyFilter(t *testing.T, s store.Store) {
	var all []store.DeadLetter
	rapid.Check(t, func(t *rapid.T) {
		a := drawArrival(t)
		put(t, s, a)
		if rapid.Bool().Draw(t, "closed") {
			discard(t, s, a.ID)
		}
		all = append(all, basic(get(t, s, a.ID)))
		for range 3 {
			text := filtertest.Draw(t, 3, drawRestriction)
			f := parse(t, text)
			want := []string{}
			for i := range all {
				if holds(f, &all[i]) {
					want = append(want, all[i].ID)
				}
			}
			require.Equal(t, want, ids(list(t, s, store.Query{Filter: f, Limit: store.MaxPage, OldestFirst: true})), text)
			n, err := s.Count(t.Context(), store.Query{Filter: f})
			require.NoError(t, err)
			require.EqualValues(t, len(want), n, text)
		}
	})
}

// drawText draws a text that others contain, or nearly so.
func drawText(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{
		"a", "b", "A", "ab", ".", "É", "é", "%", "_", "[a]", "?", "'", " ",
	}), 0, 4).Draw(t, "text"), "")
}

func drawArrival(t *rapid.T) store.Arrival {
	a := store.Arrival{ID: task.NewID(), Foreign: rapid.Bool().Draw(t, "foreign"), Type: "t" + drawText(t)}
	a.Occurrence = store.Occurrence{
		Run: rapid.IntRange(1, 3).Draw(t, "run"), Attempt: rapid.IntRange(0, 2).Draw(t, "attempt"),
		Cause: task.Cause(rapid.IntRange(1, 9).Draw(t, "cause")), Reason: drawText(t), WorkerID: drawText(t), TraceID: drawText(t),
		DeadTime: at(rapid.IntRange(0, 3).Draw(t, "dead")),
	}
	if rapid.Bool().Draw(t, "failure") {
		a.Occurrence.Failure = &task.Failure{Code: rapid.IntRange(0, 16).Draw(t, "code"), Message: drawText(t)}
	}
	if rapid.Bool().Draw(t, "created") {
		a.CreateTime = at(rapid.IntRange(0, 3).Draw(t, "create"))
	}
	a.Labels = rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c.d"}), rapid.Custom(drawText), 0, 2).Draw(t, "labels")
	return a
}

// drawRestriction draws what a filter consists of.
func drawRestriction(t *rapid.T) string {
	order := rapid.SampledFrom([]string{"=", "!=", "<", "<=", ">", ">="}).Draw(t, "order")
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		return rapid.SampledFrom([]string{
			"state = OPEN", "state = DISCARDED", "state != RESOLVED", "cause = EXPIRED", "cause != REJECTED", "code = INTERNAL",
			"code = UNAVAILABLE", "code:*", "code != UNKNOWN", "labels:a", `labels:"c.d"`, "labels.c.d:*", "task_id:*", `task_id = "*7*"`,
		}).Draw(t, "name")
	case 1:
		field := rapid.SampledFrom([]string{"run", "attempt", "occurrence_count"}).Draw(t, "field")
		return fmt.Sprintf("%s %s %d", field, order, rapid.IntRange(-1, 3).Draw(t, "value"))
	case 2:
		field := rapid.SampledFrom([]string{"create_time", "dead_time", "update_time"}).Draw(t, "field")
		return fmt.Sprintf("%s %s %q", field, order, at(rapid.IntRange(-1, 4).Draw(t, "value")).Format(time.RFC3339Nano))
	}
	field := rapid.SampledFrom([]string{"type", "reason", "message", "worker_id", "trace_id", "labels.a", "labels.c.d"}).Draw(t, "field")
	operator := rapid.SampledFrom([]string{"=", "!=", ":"}).Draw(t, "operator")
	value := rapid.SampledFrom([]string{"%s", "*%s", "%s*", "*%s*", "t%s", "a*%s", "**%s"}).Draw(t, "wildcards")
	return field + operator + `"` + strings.Replace(value, "%s", drawText(t), 1) + `"`
}
