package catalogue

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/policy"
)

// optionReader reads the option (warren.task.v1.task) of methods.
type optionReader struct {
	// Knows that option and no other: somebody else's option could have the
	// number of one that is linked into this process.
	known *protoregistry.Types
	// Somebody else's option has the number of ours.
	foreign bool
}

func newOptionReader(types *bundleTypes) *optionReader {
	option := taskv1.E_Task.TypeDescriptor()
	own := types.extensions[option.ContainingMessage().FullName()][option.Number()]
	r := &optionReader{
		known:   new(protoregistry.Types),
		foreign: own != nil && own.TypeDescriptor().FullName() != option.FullName(),
	}
	// It only fails on a conflict, and the registry is empty.
	_ = r.known.RegisterExtension(taskv1.E_Task)
	return r
}

// read returns the method's options, nil when it has none, or an error that
// says which of their fields makes no sense.
//
// The options are encoded and decoded again, because a descriptor holds them as
// generated types, as dynamic ones or as unknown fields, by how it was made, and
// [proto.GetExtension] panics on the second and misses the third.
func (r *optionReader) read(method protoreflect.MethodDescriptor) (*taskv1.TaskOptions, error) {
	if r.foreign {
		return nil, nil
	}
	raw, err := proto.Marshal(method.Options())
	if err != nil {
		return nil, fmt.Errorf("its options can't be encoded: %w", err)
	}
	all := new(descriptorpb.MethodOptions)
	if err := (proto.UnmarshalOptions{Resolver: r.known}).Unmarshal(raw, all); err != nil {
		return nil, fmt.Errorf("its option (%s) can't be decoded: %w", taskv1.E_Task.TypeDescriptor().FullName(), err)
	}
	if !proto.HasExtension(all, taskv1.E_Task) {
		return nil, nil
	}
	options, ok := proto.GetExtension(all, taskv1.E_Task).(*taskv1.TaskOptions)
	if !ok {
		return nil, errors.New("its options are of an unexpected type")
	}
	if options.AllowIncompatible != nil {
		return nil, fmt.Errorf("its option (%s) has allow_incompatible, which is for operators to set, with UpdateTaskType", taskv1.E_Task.TypeDescriptor().FullName())
	}
	if err := policy.Validate(options); err != nil {
		return nil, fmt.Errorf("its option (%s) is invalid: %w", taskv1.E_Task.TypeDescriptor().FullName(), err)
	}
	return options, nil
}
