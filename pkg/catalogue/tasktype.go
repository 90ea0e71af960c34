package catalogue

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/policy"
)

// What a task type has without options of its own.
const (
	// DefaultTimeout is the default of the option timeout.
	DefaultTimeout = policy.DefaultTimeout
	// DefaultPriority is the default of the option priority.
	DefaultPriority = policy.DefaultPriority
)

// TaskType is one method that can be carried out as a task. It does not change
// and is safe for concurrent use; get it from a [Bundle] or a [Catalogue].
type TaskType struct {
	// Name of the task type, the method's full name, such as
	// `acme.v1.ImageService.Resize`.
	Name string
	// Full name of the service, such as `acme.v1.ImageService`.
	Service string
	// Name of the method within its service, such as `Resize`.
	Method string
	// The method's name in gRPC, such as `/acme.v1.ImageService/Resize`.
	GRPCMethod string
	// Type of the payload, by the definition of the type's own bundle.
	Input protoreflect.MessageDescriptor
	// Type of the result and of each message of a response stream, likewise.
	Output protoreflect.MessageDescriptor
	// The method answers with a stream.
	ServerStreaming bool
	// What the method's author said in the option (warren.task.v1.task), checked
	// by [policy.Validate]; nil without the option. Must not be modified.
	// [policy.Effective] fills in the defaults.
	Options *taskv1.TaskOptions

	types *bundleTypes
	// The input needs more to be checked than its wire format.
	strict bool
	// The rules of buf.validate for the input; nil if it has none.
	rules *inputRules
}

func newTaskType(method protoreflect.MethodDescriptor, types *bundleTypes, options *optionReader, rules *ruleBook) (TaskType, error) {
	t := TaskType{
		Name:            string(method.FullName()),
		Service:         string(method.Parent().FullName()),
		Method:          string(method.Name()),
		Input:           method.Input(),
		Output:          method.Output(),
		ServerStreaming: method.IsStreamingServer(),
		types:           types,
		strict:          needsDecoding(method.Input(), types),
	}
	t.GRPCMethod = "/" + t.Service + "/" + t.Method
	switch {
	case method.IsStreamingClient() && method.IsStreamingServer():
		return TaskType{}, errors.New("a bidirectional stream can't be a task: a task has one payload, so take a single message")
	case method.IsStreamingClient():
		return TaskType{}, errors.New("a client stream can't be a task: a task has one payload, so take a single message")
	case len(t.Name) > MaxTypeName:
		return TaskType{}, fmt.Errorf("the name has %d bytes, but a queue is named after it, so it may have at most %d",
			len(t.Name), MaxTypeName)
	}
	var err error
	if t.Options, err = options.read(method); err != nil {
		return TaskType{}, err
	}
	if t.rules, err = rules.read(t.Input); err != nil {
		return TaskType{}, err
	}
	return t, nil
}

func compareTypes(a, b TaskType) int { return strings.Compare(a.Name, b.Name) }

// Timeout returns the time that one attempt may take, by default
// [DefaultTimeout].
func (t TaskType) Timeout() time.Duration {
	if timeout := t.Options.GetTimeout(); timeout != nil {
		return timeout.AsDuration()
	}
	return DefaultTimeout
}

// Priority returns the priority of a task whose submission names none, by
// default [DefaultPriority].
func (t TaskType) Priority() taskv1.Priority {
	if priority := t.Options.GetPriority(); priority != taskv1.Priority_PRIORITY_UNSPECIFIED {
		return priority
	}
	return DefaultPriority
}

// Resolver is [Bundle.Resolver] of the bundle that defines the task type, the
// one to render its payloads and results with.
func (t TaskType) Resolver() *Resolver {
	return &Resolver{finders: func() []finder { return []finder{t.types} }}
}

// Validate checks that the payload can be decoded as the type's input, by the
// rules of protobuf-go: well-formed, valid UTF-8 where it is demanded, required
// fields set; and then that it keeps the rules of buf.validate which the input's
// proto has. A google.protobuf.Any inside it is not looked into. The error is a
// [*PayloadError] with [ErrPayloadUndecodable] or [ErrPayloadInvalid] in its chain.
//
// It decodes nothing, and so takes no memory, unless the input, or something in it,
// has required fields or rules.
func (t TaskType) Validate(payload []byte) error {
	w := walker{extensions: t.types, budget: math.MaxInt}
	if f := w.walk(payload, t.Input, protowire.DefaultRecursionLimit); f != nil {
		return t.undecodable(f.path, f.reason)
	}
	if !t.strict && t.rules == nil {
		return nil
	}
	m := dynamicpb.NewMessage(t.Input)
	if err := (proto.UnmarshalOptions{Resolver: t.types}).Unmarshal(payload, m); err != nil {
		return t.undecodable("", err)
	}
	if t.rules == nil {
		return nil
	}
	return t.checkRules(m)
}

// ValidateAny checks that the payload names the type's input and then what
// [TaskType.Validate] does. The error is a [*PayloadError] with
// [ErrPayloadType], [ErrPayloadUndecodable] or [ErrPayloadInvalid] in its chain.
func (t TaskType) ValidateAny(payload *anypb.Any) error {
	if name := payload.MessageName(); name != t.Input.FullName() {
		return &PayloadError{
			Type:  t.Name,
			Input: t.Input.FullName(),
			Err:   fmt.Errorf("%w: %q", ErrPayloadType, payload.GetTypeUrl()),
		}
	}
	return t.Validate(payload.GetValue())
}

func (t TaskType) undecodable(field string, reason error) error {
	return &PayloadError{
		Type:  t.Name,
		Input: t.Input.FullName(),
		Field: field,
		Err:   fmt.Errorf("%w: %w", ErrPayloadUndecodable, reason),
	}
}

// needsDecoding reports whether something that the wire format does not show can
// be wrong with a message: a required field that is missing, there or in what it
// holds. Whether it is missing depends on how repeated occurrences of a message
// merge, which is best left to the decoder.
func needsDecoding(md protoreflect.MessageDescriptor, types *bundleTypes) bool {
	found := false
	seen := make(map[protoreflect.FullName]bool)
	var visit func(protoreflect.MessageDescriptor)
	visit = func(md protoreflect.MessageDescriptor) {
		if md == nil || seen[md.FullName()] {
			return
		}
		seen[md.FullName()] = true
		found = found || md.RequiredNumbers().Len() > 0
		for fd := range elements(md.Fields()) {
			visit(fd.Message())
		}
		for _, xt := range types.extensions[md.FullName()] {
			visit(xt.TypeDescriptor().Message())
		}
	}
	visit(md)
	return found
}
