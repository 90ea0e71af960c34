package filter_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/filter"
)

const (
	fieldState           filter.Field = "state"
	fieldCause           filter.Field = "cause"
	fieldCode            filter.Field = "code"
	fieldType            filter.Field = "type"
	fieldReason          filter.Field = "reason"
	fieldMessage         filter.Field = "message"
	fieldWorkerID        filter.Field = "worker_id"
	fieldTraceID         filter.Field = "trace_id"
	fieldTaskID          filter.Field = "task_id"
	fieldRun             filter.Field = "run"
	fieldAttempt         filter.Field = "attempt"
	fieldAttemptCode     filter.Field = "attempt.code"
	fieldPriority        filter.Field = "priority"
	fieldOccurrenceCount filter.Field = "occurrence_count"
	fieldCreateTime      filter.Field = "create_time"
	fieldDeadTime        filter.Field = "dead_time"
)

var schema = filter.Schema{
	fieldState: filter.Names("STATE_", map[string]int{"OPEN": 1, "IN_REPLAY": 2, "RESOLVED": 3, "DISCARDED": 4}),
	fieldCause: filter.Causes(), fieldCode: filter.Codes(), fieldAttemptCode: filter.Codes(),
	fieldType: filter.Texts(), fieldReason: filter.Texts(), fieldMessage: filter.Texts(), fieldWorkerID: filter.Texts(),
	fieldTraceID: filter.Texts(), fieldTaskID: filter.IDs(),
	fieldRun: filter.Numbers(nil), fieldAttempt: filter.Numbers(nil), fieldOccurrenceCount: filter.Numbers(nil),
	fieldPriority:   filter.Numbers(map[string]int{"LOW": 2, "HIGH": 6}),
	fieldCreateTime: filter.Times(), fieldDeadTime: filter.Times(),
	filter.FieldLabels: filter.Labels(),
}

func TestLabelsOfASchemaWithoutAny(t *testing.T) {
	t.Parallel()
	bare := filter.Schema{fieldType: filter.Texts(), fieldState: filter.Names("", map[string]int{"OPEN": 1})}
	for _, text := range []string{`labels.a = "x"`, `labels:a`, `labels."b c":*`, `type = "x" AND -labels.a:*`} {
		_, err := bare.Parse(text)
		require.ErrorIs(t, err, filter.ErrInvalid, text)
		require.ErrorContains(t, err, "fields are state, type", text)
	}
	require.NotContains(t, bare.Fields(), "labels.KEY")
	require.Contains(t, schema.Fields(), "labels.KEY")
}

var (
	open     = filter.Enum{Field: fieldState, Value: 1}
	run2     = filter.Number{Field: fieldRun, Order: filter.Equal, Value: 2}
	attempt3 = filter.Number{Field: fieldAttempt, Order: filter.Greater, Value: 3}
)

func text(f filter.Field, kind filter.MatchKind, value string) filter.Text {
	return filter.Text{Field: f, Match: filter.Match{Kind: kind, Value: value}}
}

func label(key string, kind filter.MatchKind, value string) filter.Label {
	return filter.Label{Key: key, Match: filter.Match{Kind: kind, Value: value}}
}

func TestParse(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for give, want := range map[string]filter.Expr{
		"": nil, " \n\t": nil,
		`state = OPEN`:              open,
		`state="OPEN"`:              open,
		`state = STATE_OPEN`:        open,
		`state = 1`:                 open,
		`code = 14`:                 filter.Enum{Field: fieldCode, Value: 14},
		`cause = CAUSE_EXPIRED`:     filter.Enum{Field: fieldCause, Value: 4},
		` ( ((state : OPEN) ) ) `:   open,
		`state != IN_REPLAY`:        filter.Not{Term: filter.Enum{Field: fieldState, Value: 2}},
		`cause = DELIVERY_LIMIT`:    filter.Enum{Field: fieldCause, Value: 6},
		`cause = "MAX_LENGTH"`:      filter.Enum{Field: fieldCause, Value: 9},
		`code = 'UNAVAILABLE'`:      filter.Enum{Field: fieldCode, Value: 14},
		`code:*`:                    filter.Not{Term: filter.Enum{Field: fieldCode}},
		`type = a.v1.A.B`:           text(fieldType, filter.MatchEqual, "a.v1.A.B"),
		`type = "a.v1.*"`:           pattern("a.v1.", ""),
		`type = a.v1.*`:             pattern("a.v1.", ""),
		`type = "**a**b*"`:          pattern("", "a", "b", ""),
		`type = *`:                  pattern("", ""),
		`type:*`:                    text(fieldType, filter.MatchPresent, ""),
		`type:"A*b É"`:              text(fieldType, filter.MatchContains, "a*b É"),
		`message:Timed`:             text(fieldMessage, filter.MatchContains, "timed"),
		`message = "it \"is\" 'x'"`: text(fieldMessage, filter.MatchEqual, `it "is" 'x'`),
		`message:""`:                text(fieldMessage, filter.MatchContains, ""),
		`worker_id != "w-1"`:        filter.Not{Term: text(fieldWorkerID, filter.MatchEqual, "w-1")},
		`reason = SOLD_OUT`:         text(fieldReason, filter.MatchEqual, "SOLD_OUT"),
		`trace_id = "4bf9"`:         text(fieldTraceID, filter.MatchEqual, "4bf9"),
		`task_id = "0192F00D-0000-7000-8000-00000000000A"`: text(fieldTaskID, filter.MatchEqual, "0192f00d-0000-7000-8000-00000000000a"),
		`labels.env = prod`:       label("env", filter.MatchEqual, "prod"),
		`labels."my-key" = "x"`:   label("my-key", filter.MatchEqual, "x"),
		`labels.a.b = "x"`:        label("a.b", filter.MatchEqual, "x"),
		`labels.a:X`:              label("a", filter.MatchContains, "x"),
		`labels.a:*`:              label("a", filter.MatchPresent, ""),
		`labels:a`:                label("a", filter.MatchPresent, ""),
		`labels:"my-key"`:         label("my-key", filter.MatchPresent, ""),
		`run = 2`:                 run2,
		`attempt > 3`:             attempt3,
		`occurrence_count <= -1`:  filter.Number{Field: fieldOccurrenceCount, Order: filter.LessOrEqual, Value: -1},
		`attempt.code = INTERNAL`: filter.Enum{Field: fieldAttemptCode, Value: 13},
		`attempt."code":*`:        filter.Not{Term: filter.Enum{Field: fieldAttemptCode}},
		`priority > 4`:            filter.Number{Field: fieldPriority, Order: filter.Greater, Value: 4},
		`priority >= HIGH`:        filter.Number{Field: fieldPriority, Order: filter.GreaterOrEqual, Value: 6},
		`priority != "LOW"`:       filter.Not{Term: filter.Number{Field: fieldPriority, Order: filter.Equal, Value: 2}},
		`run >= 1`:                filter.Number{Field: fieldRun, Order: filter.GreaterOrEqual, Value: 1},
		`run != 2`:                filter.Not{Term: run2},
		`dead_time < "2026-01-31T13:00:00.0000009+01:00"`: filter.Time{Field: fieldDeadTime, Order: filter.Less, Value: noon},
		`create_time = "2026-01-31T12:00:00Z"`:            filter.Time{Field: fieldCreateTime, Order: filter.Equal, Value: noon},
		`state = OPEN AND run = 2 AND attempt > 3`:        filter.And{Terms: []filter.Expr{open, run2, attempt3}},
		// OR binds tighter.
		`state = OPEN AND run = 2 OR attempt > 3`: filter.And{Terms: []filter.Expr{open, filter.Or{Terms: []filter.Expr{run2, attempt3}}}},
		`NOT state = OPEN OR -run = 2`:            filter.Or{Terms: []filter.Expr{filter.Not{Term: open}, filter.Not{Term: run2}}},
		`NOT (state = OPEN AND run = 2)`:          filter.Not{Term: filter.And{Terms: []filter.Expr{open, run2}}},
		`NOT(state = OPEN)`:                       filter.Not{Term: open},
		`-(run = 2 ) AND(attempt > 3)`:            filter.And{Terms: []filter.Expr{filter.Not{Term: run2}, attempt3}},
	} {
		got, err := schema.Parse(give)
		require.NoError(t, err, give)
		require.Equal(t, want, got, give)
	}
}

func pattern(segments ...string) filter.Expr {
	return filter.Text{Field: fieldType, Match: filter.Match{Kind: filter.MatchPattern, Segments: segments}}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for give, want := range map[string]string{
		`colour = "red"`:             `there is no field "colour"; fields are attempt, attempt.code, cause, code, create_time, dead_time, labels.KEY, message,`,
		`attempt.x = 1`:              `there is no field "attempt.x"`,
		`priority = MEDIUM`:          `priority takes whole numbers, without quotes, and LOW, HIGH`,
		`attempt.code < INTERNAL`:    `"attempt.code" can't be compared by <`,
		`type.x = 1`:                 `there is no field "type.x"`,
		`state = CLOSED`:             `"CLOSED" is no value of state; values are OPEN, IN_REPLAY, RESOLVED, DISCARDED`,
		`state = open`:               `"open" is no value of state`,
		`code = OK`:                  `values are CANCELLED, UNKNOWN, `,
		`cause = UNSPECIFIED`:        `values are ATTEMPTS_EXHAUSTED, PERMANENT_FAILURE, `,
		`state = 5`:                  `"5" is no value of state`,
		`state = 0`:                  `"0" is no value of state`,
		`state > OPEN`:               `"state" can't be compared by >, only by =, != and :`,
		`type < "a"`:                 `"type" can't be compared by <`,
		`labels.a >= "a"`:            `"labels.a" can't be compared by >=`,
		`labels.a = 5`:               `the value of "labels.a" must be a text; put it in quotes`,
		`type = 1.5`:                 `must be a text`,
		`labels = a`:                 `ask for a label by labels:KEY`,
		`labels:*`:                   `ask for a label by labels:KEY`,
		`run = "2"`:                  `run takes whole numbers`,
		`run = 2.5`:                  `run takes whole numbers`,
		`run = x`:                    `run takes whole numbers`,
		`run:2`:                      `"run" can't be compared by :`,
		`dead_time > "yesterday"`:    `"yesterday" is none`,
		`dead_time > "2026-01-31"`:   `RFC 3339`,
		`dead_time > 5`:              `dead_time takes times in quotes`,
		`dead_time:"x"`:              `"dead_time" can't be compared by :`,
		`dead_time > timestamp("x")`: `dead_time takes times in quotes`,
		`state`:                      `"state" stands alone`,
		`"text"`:                     `"text" stands alone`,
		`7`:                          `a number stands alone`,
		`state = OPEN run = 2`:       `put AND or OR between them`,
		`"state" = OPEN`:             `"state" is no field`,
		`5 = 5`:                      `a number is no field`,
		`(run = 1) = 5`:              `at column`,
		`state = (OPEN OR RESOLVED)`: `must be a text`,
		`size(type)`:                 `there is no function "size"`,
		`x.AND()`:                    `unexpected token )`,
		`OR(x)`:                      `unexpected token OR`,
		`NOT()`:                      `unexpected token )`,
		`state = `:                   `it ends where more is needed`,
		`(state = OPEN`:              `expected ) at column 14`,
		`state = OPEN)`:              `at column 13`,
		`state == OPEN`:              `unexpected token`,
		`run = 1 AND nope = 3`:       `at column 13: there is no field`,
		`run = 1 AND (run > "x")`:    `at column 14: run takes whole numbers`,
		`state = OPEN AND (`:         `at column 19`,
		`type = "a`:                  `unterminated string at column 8`,
		`type = a-b`:                 `at column 9`,
		"type = \xff":                `invalid UTF-8`,
		`run = 99999999999999999999`: `at column`,
		strings.Repeat("x", 4097):    `at most 4096`,
		strings.Repeat("(", 4096):    `nested more than 50 deep at column 51`,
		strings.Repeat("a(", 2048):   `nested more than 50 deep`,
		strings.Repeat("-(", 2048):   `nested more than 50 deep`,
		strings.Repeat("NOT (", 800): `nested more than 50 deep`,
		strings.Repeat("a.", 2000):   `it ends where more is needed`,
		strings.Repeat("-", 4096):    `at column`,
		strings.Repeat("NOT ", 1000): `at column`,
	} {
		e, err := schema.Parse(give)
		require.ErrorIs(t, err, filter.ErrInvalid, give)
		require.ErrorContains(t, err, want, "%.100s", give)
		require.Nil(t, e)
		require.NotContains(t, err.Error(), "\n")
		require.Less(t, len(err.Error()), 500)
	}
}

func TestParseTakesDeepAndLongFilters(t *testing.T) {
	t.Parallel()
	e, err := schema.Parse(strings.Repeat("-(", filter.MaxDepth) + "run = 2" + strings.Repeat(")", filter.MaxDepth))
	require.NoError(t, err)
	for range filter.MaxDepth {
		e = e.(filter.Not).Term
	}
	require.Equal(t, run2, e)

	long := strings.TrimSuffix(strings.Repeat("run=2 OR ", filter.MaxBytes/9), " OR ")
	e, err = schema.Parse(long)
	require.NoError(t, err)
	require.Len(t, e.(filter.Or).Terms, filter.MaxBytes/9)
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		filter string
		yes    []string
		no     []string
	}{
		{`type = "a*"`, []string{"a", "ab", "a*"}, []string{"", "ba", "A"}},
		{`type = "*a"`, []string{"a", "ba"}, []string{"", "ab"}},
		{`type = "a*a"`, []string{"aa", "aba"}, []string{"a", "ab"}},
		{`type = "*a*b*"`, []string{"ab", "xaxbx", "aab"}, []string{"ba", "a"}},
		{`type = "a*b*c"`, []string{"abc", "axbxbc"}, []string{"acb", "abxc_"}},
		{`type = "*"`, []string{"", "a"}, nil},
		{`type = "a"`, []string{"a"}, []string{"A", "", "aa"}},
		{`type:"AB"`, []string{"ab", "xABx", "aB"}, []string{"a", "b", ""}},
		{`type:"É"`, []string{"É"}, []string{"é"}},
		{`type:""`, []string{"", "a"}, nil},
		{`type:*`, []string{"a"}, []string{""}},
	} {
		e, err := schema.Parse(c.filter)
		require.NoError(t, err)
		for _, s := range c.yes {
			require.True(t, e.(filter.Text).Match.Holds(s), "%s: %q", c.filter, s)
		}
		for _, s := range c.no {
			require.False(t, e.(filter.Text).Match.Holds(s), "%s: %q", c.filter, s)
		}
	}
	require.False(t, filter.Match{}.Holds(""))
}

// FuzzParse: whatever comes in, the answer is a filter within the bounds, or one
// line of error.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`state = OPEN AND (code = "UNAVAILABLE" OR message:"timed out") AND -labels.env = "test"`,
		`labels."a-b":* AND type = "a.*" AND dead_time > "2026-01-31T12:00:00Z" AND NOT run != -2`,
		`a(b(c((`, "NOT(((", `"\x`, "\xff", `a.b.c:"\u00e9"`, "AND()", "1.2.3", "0x", `run = 0x1f`, "-A",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := schema.Parse(text)
		if err != nil {
			require.ErrorIs(t, err, filter.ErrInvalid)
			require.NotContains(t, err.Error(), "\n")
			require.Nil(t, e)
			return
		}
		checkExpr(t, e, 0)
	})
}

// checkExpr checks what makers of queries rely on.
func checkExpr(t *testing.T, e filter.Expr, depth int) {
	t.Helper()
	require.Less(t, depth, 4*filter.MaxDepth)
	switch e := e.(type) {
	case nil:
		require.Zero(t, depth)
	case filter.And:
		checkTerms(t, e.Terms, depth)
	case filter.Or:
		checkTerms(t, e.Terms, depth)
	case filter.Not:
		checkExpr(t, e.Term, depth+1)
	case filter.Text:
		require.NotZero(t, e.Field)
		checkMatch(t, e.Match)
	case filter.Label:
		checkMatch(t, e.Match)
	case filter.Enum:
		require.NotZero(t, e.Field)
	case filter.Number:
		require.NotZero(t, e.Field)
		require.NotZero(t, e.Order)
	case filter.Time:
		require.NotZero(t, e.Field)
		require.Zero(t, e.Value.Nanosecond()%1000)
	default:
		t.Fatalf("unknown expression %T", e)
	}
}

func checkTerms(t *testing.T, terms []filter.Expr, depth int) {
	t.Helper()
	require.Greater(t, len(terms), 1)
	for _, term := range terms {
		checkExpr(t, term, depth+1)
	}
}

func checkMatch(t *testing.T, m filter.Match) {
	t.Helper()
	if m.Kind == filter.MatchPattern {
		require.Greater(t, len(m.Segments), 1)
	}
	m.Holds("some text")
}
