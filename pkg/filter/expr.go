package filter

import "time"

// Expr is a filter that was understood: one of [And], [Or], [Not], [Text],
// [Label], [Enum], [Number] and [Time]. It is of two values: what something does
// not have equals nothing, and no order holds for it. A field that has several
// values, or none, is compared with each: one of them has to match.
type Expr interface{ expr() }

// And holds if all of its terms do; there are at least two.
type And struct{ Terms []Expr }

// Or holds if one of its terms does; there are at least two.
type Or struct{ Terms []Expr }

// Not holds if its term does not.
type Not struct{ Term Expr }

// Text holds if the text of a field matches.
type Text struct {
	Field Field
	Match Match
}

// Label holds if there is such a label, and its value matches.
type Label struct {
	Key   string
	Match Match
}

// Enum holds if a field has one of its names, given as the number that the
// [Schema] has for it. 0 holds if the field is unset, or none of its values is
// set.
type Enum struct {
	Field Field
	Value int
}

// Number compares the number of a field with a value.
type Number struct {
	Field Field
	Order Order
	Value int64
}

// Time compares the time of a field with a value. It does not hold if the field
// is unset.
type Time struct {
	Field Field
	Order Order
	Value time.Time
}

func (And) expr()    {}
func (Or) expr()     {}
func (Not) expr()    {}
func (Text) expr()   {}
func (Label) expr()  {}
func (Enum) expr()   {}
func (Number) expr() {}
func (Time) expr()   {}

// Order is a relation of what a field has (left) to a value (right).
type Order int

// The relations.
const (
	Equal Order = iota + 1
	Less
	LessOrEqual
	Greater
	GreaterOrEqual
)

// Field is the name of what a filter asks about, but for labels. There may be
// dots in it.
type Field string
