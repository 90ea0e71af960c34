package filter

import "time"

// Expr is a filter that was understood: one of [And], [Or], [Not], [Text],
// [Label], [Enum], [Number] and [Time]. It is of two values: what a dead letter
// does not have equals nothing, and no order holds for it.
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

// Label holds if the dead letter has the label, and its value matches.
type Label struct {
	Key   string
	Match Match
}

// Enum holds if a field has one of some names, given as its number: that of
// warren.deadletter.v1.DeadLetterState, warren.task.v1.Cause or google.rpc.Code.
// 0 is unset.
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

// Field is what a filter asks about, but for labels.
type Field int

// The fields.
const (
	FieldState Field = iota + 1
	FieldCause
	FieldCode
	FieldType
	FieldReason
	FieldMessage
	FieldWorkerID
	FieldTraceID
	FieldTaskID
	FieldRun
	FieldAttempt
	FieldOccurrenceCount
	FieldCreateTime
	FieldDeadTime
	FieldUpdateTime
)
