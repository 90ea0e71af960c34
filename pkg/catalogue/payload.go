package catalogue

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// What can be wrong with a payload.
var (
	// ErrPayloadType says that a payload is of another type than the input.
	ErrPayloadType = errors.New("the payload is of another type")
	// ErrPayloadUndecodable says that a payload's bytes are no message of the
	// input's type.
	ErrPayloadUndecodable = errors.New("the payload can't be decoded")
	// ErrPayloadInvalid says that a payload breaks rules of buf.validate.
	ErrPayloadInvalid = errors.New("the payload breaks rules of its proto")
)

// PayloadError says why a payload is not an input of its task type.
type PayloadError struct {
	// Name of the task type.
	Type string
	// Full name of its input message.
	Input protoreflect.FullName
	// Path of the field at fault within the input, such as `items[2].name` or, in
	// a map, `labels.value.name`; empty when it is the message as a whole.
	Field string
	// What is wrong: wraps [ErrPayloadType], [ErrPayloadUndecodable] or
	// [ErrPayloadInvalid].
	Err error
	// The rules that are broken, the first of them; there is one at least with
	// ErrPayloadInvalid and none otherwise.
	Violations []Violation
}

// Violation is a rule of buf.validate that a payload breaks.
type Violation struct {
	// Path of the field within the input, such as `items[2].name` or
	// `labels["key"].name`; empty when it is the message as a whole.
	Field string
	// Id of the rule, such as `string.min_len`.
	Rule string
	// For people.
	Message string
}

// String has all of it.
func (v Violation) String() string {
	text := v.Message + " [" + v.Rule + "]"
	if v.Field == "" {
		return text
	}
	return v.Field + ": " + text
}

// Error says what was expected and which field is at fault.
func (e *PayloadError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("task type %s takes a %s: %v", e.Type, e.Input, e.Err)
	}
	return fmt.Sprintf("task type %s takes a %s: field %s: %v", e.Type, e.Input, e.Field, e.Err)
}

// Unwrap returns Err.
func (e *PayloadError) Unwrap() error { return e.Err }
