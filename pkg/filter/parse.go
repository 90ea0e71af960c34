package filter

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"go.einride.tech/aip/filtering"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
)

// Bounds of a filter.
const (
	// MaxBytes is the longest filter.
	MaxBytes = 4096
	// MaxDepth is how deep parentheses may be nested.
	MaxDepth = 50
)

// ErrInvalid says that a text is no filter, or asks for what there is not; the
// error that wraps it says where or what, for people.
var ErrInvalid = errors.New("invalid filter")

// Parse reads a filter of the schema's fields; nil is the empty one, which everything matches. Errors:
// ErrInvalid.
func (s Schema) Parse(text string) (Expr, error) {
	// The parser's positions count from here.
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	text, err := scan(text)
	if err != nil {
		return nil, err
	}
	var p filtering.Parser
	p.Init(text)
	parsed, err := p.Parse()
	if err != nil {
		return nil, syntaxError(err, len(text))
	}
	e, err := s.convert(parsed.GetExpr())
	if err != nil {
		return nil, placed(err, parsed.GetSourceInfo().GetPositions())
	}
	return e, nil
}

// misplaced is an error about a part of a filter.
type misplaced struct {
	error
	part *expr.Expr
}

// Unwrap returns the error itself.
func (m *misplaced) Unwrap() error { return m.error }

// placed says where in the filter an error is, by the parser's offsets.
func placed(err error, offsets map[int64]int32) error {
	var m *misplaced
	if !errors.As(err, &m) {
		return err
	}
	if offset, ok := offsets[leftmost(m.part).GetId()]; ok {
		return invalid("at column %d: %s", offset+1, strings.TrimPrefix(m.Error(), ErrInvalid.Error()+": "))
	}
	return m.error
}

// leftmost is the part of an expression that its text begins with.
func leftmost(e *expr.Expr) *expr.Expr {
	for {
		switch k := e.GetExprKind().(type) {
		case *expr.Expr_CallExpr:
			if len(k.CallExpr.GetArgs()) == 0 {
				return e
			}
			e = k.CallExpr.GetArgs()[0]
		case *expr.Expr_SelectExpr:
			e = k.SelectExpr.GetOperand()
		default:
			return e
		}
	}
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// scan keeps the parser, which calls itself at each parenthesis, and all that
// works on its result, from running out of stack. It also moves whitespace that
// precedes a closing parenthesis behind it, since the parser expects another
// term after any, and puts a space between a keyword and an opening one, which
// the parser takes for the call of a function.
func scan(text string) (string, error) {
	if len(text) > MaxBytes {
		return "", invalid("it has %d bytes, at most %d are allowed", len(text), MaxBytes)
	}
	var l filtering.Lexer
	l.Init(text)
	var moved strings.Builder
	space, keyword := "", false
	for depth := 0; ; {
		token, err := l.Lex()
		if errors.Is(err, io.EOF) {
			return moved.String(), nil
		}
		if err != nil {
			return "", syntaxError(err, len(text))
		}
		switch token.Type {
		case filtering.TokenTypeLeftParen:
			depth++
			if keyword && space == "" {
				space = " "
			}
		case filtering.TokenTypeRightParen:
			depth--
		case filtering.TokenTypeWhitespace:
			space += token.Value
			continue
		}
		if depth > MaxDepth {
			return "", invalid("parentheses are nested more than %d deep at column %d", MaxDepth, token.Position.Column)
		}
		if token.Type != filtering.TokenTypeRightParen {
			moved.WriteString(space)
			space = ""
		}
		moved.WriteString(token.Value)
		keyword = token.Type.IsKeyword()
	}
}

// syntaxError says in one line where in a text of a length the parser gave up.
func syntaxError(err error, length int) error {
	if errors.Is(err, io.EOF) {
		return invalid("it ends where more is needed, at column %d", length+1)
	}
	var place interface {
		Position() filtering.Position
		Message() string
	}
	// The errors are nested as the syntax is; the innermost says what it is about.
	for inner := err; errors.As(inner, &place); inner = errors.Unwrap(inner) {
	}
	if place == nil {
		return invalid("%s", err.Error())
	}
	return invalid("%s at column %d", place.Message(), place.Position().Column)
}

// convert converts an expression; an error says of which part it is.
func (s Schema) convert(e *expr.Expr) (Expr, error) {
	converted, err := s.convertPart(e)
	var known *misplaced
	if err != nil && !errors.As(err, &known) {
		err = &misplaced{err, e}
	}
	return converted, err
}

func (s Schema) convertPart(e *expr.Expr) (Expr, error) {
	call := e.GetCallExpr()
	if call == nil {
		return nil, invalid("%s stands alone; compare a field with a value", show(e))
	}
	switch name, args := call.GetFunction(), call.GetArgs(); name {
	case filtering.FunctionAnd, filtering.FunctionOr:
		return s.convertMany(name, e)
	case filtering.FunctionNot:
		if len(args) != 1 {
			return nil, invalid("NOT takes one term")
		}
		term, err := s.convert(args[0])
		return Not{term}, err
	case filtering.FunctionFuzzyAnd:
		return nil, invalid("two terms follow each other; put AND or OR between them")
	case filtering.FunctionEquals, filtering.FunctionNotEquals, filtering.FunctionHas,
		filtering.FunctionLessThan, filtering.FunctionLessEquals, filtering.FunctionGreaterThan, filtering.FunctionGreaterEquals:
		return s.convertRestriction(name, args[0], args[1])
	default:
		return nil, invalid("there is no function %s", cut(name))
	}
}

// convertMany converts a chain of AND or OR, which the parser nests, into one
// list.
func (s Schema) convertMany(name string, e *expr.Expr) (Expr, error) {
	var terms []Expr
	for _, arg := range chain(name, e) {
		term, err := s.convert(arg)
		if err != nil {
			return nil, err
		}
		terms = append(terms, term)
	}
	if len(terms) < 2 {
		return nil, invalid("%s takes two terms", name)
	}
	if name == filtering.FunctionAnd {
		return And{terms}, nil
	}
	return Or{terms}, nil
}

func chain(name string, e *expr.Expr) []*expr.Expr {
	call := e.GetCallExpr()
	if call.GetFunction() != name {
		return []*expr.Expr{e}
	}
	var terms []*expr.Expr
	for _, arg := range call.GetArgs() {
		terms = append(terms, chain(name, arg)...)
	}
	return terms
}

// show quotes what a part of a filter says.
func show(e *expr.Expr) string {
	if path, ok := path(e); ok {
		return cut(strings.Join(path, "."))
	}
	if c, ok := e.GetConstExpr().GetConstantKind().(*expr.Constant_StringValue); ok {
		return cut(c.StringValue)
	}
	if e.GetCallExpr() != nil {
		return "an expression"
	}
	return "a number"
}

// cut quotes a text of the filter for an error.
func cut(text string) string { return fmt.Sprintf("%.64q", text) }
