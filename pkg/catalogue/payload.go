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
	// What is wrong: wraps [ErrPayloadType] or [ErrPayloadUndecodable].
	Err error
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
