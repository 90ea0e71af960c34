package filter

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.einride.tech/aip/filtering"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
)

// anyValue is the value that asks whether there is one.
const anyValue = "*"

var orders = map[string]Order{
	filtering.FunctionEquals: Equal, filtering.FunctionNotEquals: Equal,
	filtering.FunctionLessThan: Less, filtering.FunctionLessEquals: LessOrEqual,
	filtering.FunctionGreaterThan: Greater, filtering.FunctionGreaterEquals: GreaterOrEqual,
}

// restriction is a comparison of a field with a value.
type restriction struct {
	schema   Schema
	field    Field
	operator string
	value    *expr.Expr
}

func (s Schema) convertRestriction(operator string, left, right *expr.Expr) (Expr, error) {
	names, ok := path(left)
	if !ok {
		return nil, invalid("%s is no field; fields are %s", show(left), s.fieldList())
	}
	r := restriction{schema: s, field: Field(strings.Join(names, ".")), operator: operator, value: right}
	e, err := r.convert(names)
	if err != nil {
		return nil, err
	}
	if operator == filtering.FunctionNotEquals {
		return Not{e}, nil
	}
	return e, nil
}

func (r restriction) convert(names []string) (Expr, error) {
	if r.schema[Field(names[0])].kind == kindLabels {
		return r.label(names[1:])
	}
	values, ok := r.schema[r.field]
	if !ok {
		return nil, invalid("there is no field %s; fields are %s", cut(string(r.field)), r.schema.fieldList())
	}
	switch values.kind {
	case kindEnum:
		return r.enum(values)
	case kindNumber:
		return r.number(values)
	case kindTime:
		return r.time()
	default:
		m, err := r.match(values.kind == kindID)
		return Text{r.field, m}, err
	}
}

// label converts what is asked of labels.KEY, or of all of them.
func (r restriction) label(key []string) (Expr, error) {
	if len(key) > 0 {
		m, err := r.match(false)
		return Label{strings.Join(key, "."), m}, err
	}
	name, err := r.text()
	if err != nil {
		return nil, err
	}
	if r.operator != filtering.FunctionHas || name == anyValue {
		return nil, invalid("ask for a label by labels:KEY, for its value by labels.KEY = \"VALUE\"")
	}
	return Label{name, Match{Kind: MatchPresent}}, nil
}

// match converts what is asked of a text, which may be an id.
func (r restriction) match(id bool) (Match, error) {
	value, err := r.text()
	if err != nil {
		return Match{}, err
	}
	switch r.operator {
	case filtering.FunctionHas:
		if value == anyValue {
			return Match{Kind: MatchPresent}, nil
		}
		return Match{Kind: MatchContains, Value: lowerASCII(value)}, nil
	case filtering.FunctionEquals, filtering.FunctionNotEquals:
		if u, err := uuid.Parse(value); id && err == nil {
			value = u.String()
		}
		return equalOrPattern(value), nil
	default:
		return Match{}, r.noOperator("=, != and :")
	}
}

func equalOrPattern(value string) Match {
	segments := strings.Split(value, "*")
	if len(segments) == 1 {
		return Match{Kind: MatchEqual, Value: value}
	}
	last := len(segments) - 1
	inner := slices.DeleteFunc(slices.Clone(segments[1:last]), func(s string) bool { return s == "" })
	return Match{Kind: MatchPattern, Segments: slices.Concat(segments[:1], inner, segments[last:])}
}

func (r restriction) enum(values Values) (Expr, error) {
	name, err := r.name()
	if err != nil {
		return nil, err
	}
	switch r.operator {
	case filtering.FunctionEquals, filtering.FunctionNotEquals, filtering.FunctionHas:
	default:
		return nil, r.noOperator("=, != and :")
	}
	if r.operator == filtering.FunctionHas && name == anyValue {
		return Not{Enum{r.field, 0}}, nil
	}
	value, ok := values.enum(name)
	if !ok {
		return nil, invalid("%s is no value of %s; values are %s", cut(name), r.field, values.nameList())
	}
	return Enum{r.field, value}, nil
}

func (r restriction) number(values Values) (Expr, error) {
	order, ok := orders[r.operator]
	if !ok {
		return nil, r.noOperator("=, !=, <, <=, > and >=")
	}
	if n, ok := r.value.GetConstExpr().GetConstantKind().(*expr.Constant_Int64Value); ok {
		return Number{r.field, order, n.Int64Value}, nil
	}
	if name, err := r.text(); err == nil {
		if n, ok := values.names[name]; ok {
			return Number{r.field, order, int64(n)}, nil
		}
	}
	if len(values.names) > 0 {
		return nil, invalid("%s takes whole numbers, without quotes, and %s", r.field, values.nameList())
	}
	return nil, invalid("%s takes whole numbers, without quotes", r.field)
}

func (r restriction) time() (Expr, error) {
	order, ok := orders[r.operator]
	if !ok {
		return nil, r.noOperator("=, !=, <, <=, > and >=")
	}
	const example = `"2026-01-31T13:00:00Z"`
	s, ok := r.value.GetConstExpr().GetConstantKind().(*expr.Constant_StringValue)
	if !ok {
		return nil, invalid("%s takes times in quotes, as %s", r.field, example)
	}
	t, err := time.Parse(time.RFC3339, s.StringValue)
	if err != nil {
		return nil, invalid("%s takes RFC 3339 times, as %s; %s is none", r.field, example, cut(s.StringValue))
	}
	return Time{r.field, order, t.Truncate(time.Microsecond).UTC()}, nil
}

func (r restriction) noOperator(known string) error {
	return invalid("%s can't be compared by %s, only by %s", cut(string(r.field)), r.operator, known)
}

// name is a value that is a name, or the number that stands for one.
func (r restriction) name() (string, error) {
	if n, ok := r.value.GetConstExpr().GetConstantKind().(*expr.Constant_Int64Value); ok {
		return strconv.FormatInt(n.Int64Value, 10), nil
	}
	return r.text()
}

// text is a value that is a text or a name, in quotes or without.
func (r restriction) text() (string, error) {
	if s, ok := r.value.GetConstExpr().GetConstantKind().(*expr.Constant_StringValue); ok {
		return s.StringValue, nil
	}
	if names, ok := path(r.value); ok {
		return strings.Join(names, "."), nil
	}
	return "", invalid("the value of %s must be a text; put it in quotes", cut(string(r.field)))
}

// path is the names of a member, those between its dots.
func path(e *expr.Expr) ([]string, bool) {
	var names []string
	for {
		switch k := e.GetExprKind().(type) {
		case *expr.Expr_IdentExpr:
			names = append(names, k.IdentExpr.GetName())
			slices.Reverse(names)
			return names, true
		case *expr.Expr_SelectExpr:
			names = append(names, k.SelectExpr.GetField())
			e = k.SelectExpr.GetOperand()
		default:
			return nil, false
		}
	}
}
