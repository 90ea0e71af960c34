package sqlite

import (
	"fmt"
	"strings"

	"github.com/warrenmq/warren/services/deadletter/internal/filter"
)

// condition is a WHERE clause. Values are bound, never a part of its text.
type condition struct {
	terms []string
	args  []any
}

// and adds a term with its arguments.
func (c *condition) and(term string, args ...any) {
	c.terms = append(c.terms, term)
	c.args = append(c.args, args...)
}

// filter adds a filter. What of it must hold in any case becomes terms of their
// own, in which SQLite looks for those that an index helps with.
func (c *condition) filter(f filter.Expr) {
	switch f := f.(type) {
	case nil:
	case filter.And:
		for _, term := range f.Terms {
			c.filter(term)
		}
	default:
		var e expression
		e.add(f)
		c.and(e.text.String(), e.args...)
	}
}

func (c *condition) sql() string {
	if len(c.terms) == 0 {
		return "TRUE"
	}
	return strings.Join(c.terms, " AND ")
}

// expression is a filter as SQL; it is 0 or 1, never NULL.
type expression struct {
	text strings.Builder
	args []any
}

func (e *expression) write(text string, args ...any) {
	e.text.WriteString(text)
	e.args = append(e.args, args...)
}

func (e *expression) add(f filter.Expr) {
	switch f := f.(type) {
	case filter.And:
		e.join(" AND ", f.Terms)
	case filter.Or:
		e.join(" OR ", f.Terms)
	case filter.Not:
		e.write("(NOT ")
		e.add(f.Term)
		e.write(")")
	case filter.Text:
		e.match(columns[f.Field], f.Match)
	case filter.Label:
		e.write("EXISTS (SELECT 1 FROM labels l WHERE l.dead_letter = d.sequence AND l.key = ? AND ", f.Key)
		if f.Match.Kind == filter.MatchPresent {
			e.write("TRUE")
		} else {
			e.match("l.value", f.Match)
		}
		e.write(")")
	case filter.Enum:
		e.write(columns[f.Field]+" = ?", int64(f.Value))
	case filter.Number:
		e.write(columns[f.Field]+operators[f.Order]+"?", f.Value)
	case filter.Time:
		e.write("("+columns[f.Field]+operators[f.Order]+"? AND "+columns[f.Field]+" IS NOT NULL)", f.Value.UnixMicro())
	default:
		panic(fmt.Sprintf("a filter of type %T", f))
	}
}

// join nests terms as a balanced tree, since SQLite bounds the depth.
func (e *expression) join(operator string, terms []filter.Expr) {
	if len(terms) == 1 {
		e.add(terms[0])
		return
	}
	half := len(terms) / 2
	e.write("(")
	e.join(operator, terms[:half])
	e.write(operator)
	e.join(operator, terms[half:])
	e.write(")")
}

func (e *expression) match(column string, m filter.Match) {
	switch m.Kind {
	case filter.MatchEqual:
		e.write(column+" = ?", m.Value)
	case filter.MatchPattern:
		e.write(column+" GLOB ?", globOf(m.Segments))
	case filter.MatchContains:
		// Without an extension, lower knows A to Z only, as it should.
		e.write("instr(lower("+column+"), ?) > 0", m.Value)
	case filter.MatchPresent:
		e.write(column + " <> ''")
	default:
		panic(fmt.Sprintf("a match of kind %d", m.Kind))
	}
}

// globOf is a pattern of GLOB whose only wildcards are those between segments.
func globOf(segments []string) string {
	escaped := make([]string, len(segments))
	for i, s := range segments {
		escaped[i] = strings.NewReplacer("[", "[[]", "?", "[?]").Replace(s)
	}
	return strings.Join(escaped, "*")
}

// columns are what is compared. None is NULL but for unset times.
var columns = map[filter.Field]string{
	filter.FieldState: "d.state", filter.FieldCause: "d.cause", filter.FieldCode: "ifnull(d.code, 0)",
	filter.FieldType: "d.type", filter.FieldReason: "d.reason", filter.FieldMessage: "d.message",
	filter.FieldWorkerID: "d.worker_id", filter.FieldTraceID: "d.trace_id", filter.FieldTaskID: "d.task_id",
	filter.FieldRun: "d.run", filter.FieldAttempt: "d.attempt", filter.FieldOccurrenceCount: "d.occurrence_count",
	filter.FieldCreateTime: "d.create_time", filter.FieldDeadTime: "d.dead_time", filter.FieldUpdateTime: "d.update_time",
}

var operators = map[filter.Order]string{
	filter.Equal: " = ", filter.Less: " < ", filter.LessOrEqual: " <= ", filter.Greater: " > ", filter.GreaterOrEqual: " >= ",
}
