package sqldb

import (
	"fmt"
	"slices"
	"strings"

	"github.com/warrenmq/warren/pkg/filter"
)

// Columns says what the fields of filters are in a query.
type Columns struct {
	// Fields has each field of the filters' schema.
	Fields map[filter.Field]Column
	// Labels has the values of labels, one in a row, and LabelKey their keys.
	Labels   Column
	LabelKey string
}

// Column is what a field is compared by.
type Column struct {
	// SQL is an expression that is not NULL, unless the field is a time, which
	// may be unset. Args are the values of its placeholders.
	SQL  string
	Args []any
	// Rows says, if the field has any number of values, where they come from: what
	// follows FROM in a query that has a row for each, with WHERE and at least one
	// condition.
	Rows string
}

// Condition is what follows WHERE in a query: all of its terms have to hold.
// Values are bound, never a part of its text. The zero value holds for every
// row.
type Condition struct {
	terms []string
	args  []any
}

// And adds a term with the values of its placeholders.
func (c *Condition) And(term string, args ...any) {
	c.terms = append(c.terms, term)
	c.args = append(c.args, args...)
}

// Filter adds a filter; nil holds for every row. What of it must hold in any case
// becomes terms of their own, in which SQLite looks for those that an index helps
// with.
func (c *Condition) Filter(f filter.Expr, columns *Columns) {
	switch f := f.(type) {
	case nil:
	case filter.And:
		for _, term := range f.Terms {
			c.Filter(term, columns)
		}
	default:
		e := expression{columns: columns}
		e.add(f)
		c.And(e.text.String(), e.args...)
	}
}

// SQL is the condition's text.
func (c *Condition) SQL() string {
	if len(c.terms) == 0 {
		return "TRUE"
	}
	return strings.Join(c.terms, " AND ")
}

// Args are the values of the condition's placeholders, followed by others.
func (c *Condition) Args(others ...any) []any { return slices.Concat(c.args, others) }

// expression is a filter as SQL; it is 0 or 1, never NULL.
type expression struct {
	columns *Columns
	text    strings.Builder
	args    []any
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
		e.any(e.column(f.Field), func(c Column) { e.match(c, f.Match) })
	case filter.Label:
		e.any(e.columns.Labels, func(c Column) { e.label(c, f) })
	case filter.Enum:
		e.enum(e.column(f.Field), f.Value)
	case filter.Number:
		e.any(e.column(f.Field), func(c Column) { e.compare(c, operators[f.Order], f.Value) })
	case filter.Time:
		e.any(e.column(f.Field), func(c Column) {
			e.write("(")
			e.compare(c, operators[f.Order], f.Value.UnixMicro())
			e.write(" AND "+c.SQL+" IS NOT NULL)", c.Args...)
		})
	default:
		panic(fmt.Sprintf("a filter of type %T", f))
	}
}

func (e *expression) column(f filter.Field) Column {
	c, ok := e.columns.Fields[f]
	if !ok {
		panic(fmt.Sprintf("no column is known for %s", f))
	}
	return c
}

// any compares the field's one value, or each of them until it holds.
func (e *expression) any(c Column, compare func(Column)) {
	if c.Rows == "" {
		compare(c)
		return
	}
	e.write("EXISTS (SELECT 1 FROM " + c.Rows + " AND ")
	compare(c)
	e.write(")")
}

func (e *expression) compare(c Column, operator string, value any) {
	e.write(c.SQL+operator, c.Args...)
	e.write("?", value)
}

// enum asks for a value, or by 0 whether there is none.
func (e *expression) enum(c Column, value int) {
	if value == 0 && c.Rows != "" {
		e.write("(NOT ")
		e.any(c, func(c Column) { e.compare(c, " <> ", int64(0)) })
		e.write(")")
		return
	}
	e.any(c, func(c Column) { e.compare(c, " = ", int64(value)) })
}

func (e *expression) label(c Column, l filter.Label) {
	e.write(e.columns.LabelKey+" = ?", l.Key)
	if l.Match.Kind != filter.MatchPresent {
		e.write(" AND ")
		e.match(c, l.Match)
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

func (e *expression) match(c Column, m filter.Match) {
	switch m.Kind {
	case filter.MatchEqual:
		e.compare(c, " = ", m.Value)
	case filter.MatchPattern:
		e.compare(c, " GLOB ", globOf(m.Segments))
	case filter.MatchContains:
		// Without an extension, lower knows A to Z only, as it should.
		e.write("instr(lower("+c.SQL+"), ", c.Args...)
		e.write("?) > 0", m.Value)
	case filter.MatchPresent:
		e.write(c.SQL+" <> ''", c.Args...)
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

var operators = map[filter.Order]string{
	filter.Equal: " = ", filter.Less: " < ", filter.LessOrEqual: " <= ", filter.Greater: " > ", filter.GreaterOrEqual: " >= ",
}
