package catalogue

import (
	"fmt"
	"iter"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// bundleTypes are the types that a bundle's files define, and behind them those
// linked into the process.
type bundleTypes struct {
	files *protoregistry.Files
	// By the extended message, then by field number.
	extensions map[protoreflect.FullName]map[protoreflect.FieldNumber]protoreflect.ExtensionType
}

// newBundleTypes fails when two extensions share a number, which would leave open
// how to read them.
func newBundleTypes(files *protoregistry.Files) (*bundleTypes, error) {
	t := &bundleTypes{
		files:      files,
		extensions: make(map[protoreflect.FullName]map[protoreflect.FieldNumber]protoreflect.ExtensionType),
	}
	var err error
	files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		err = t.addExtensions(file)
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (t *bundleTypes) addExtensions(scope interface {
	Extensions() protoreflect.ExtensionDescriptors
	Messages() protoreflect.MessageDescriptors
}) error {
	for xd := range elements(scope.Extensions()) {
		message := xd.ContainingMessage().FullName()
		byNumber := t.extensions[message]
		if byNumber == nil {
			byNumber = make(map[protoreflect.FieldNumber]protoreflect.ExtensionType)
			t.extensions[message] = byNumber
		}
		if other := byNumber[xd.Number()]; other != nil {
			a, b := xd.FullName(), other.TypeDescriptor().FullName()
			return fmt.Errorf("extensions %s and %s of %s have the same number %d", min(a, b), max(a, b), message, xd.Number())
		}
		byNumber[xd.Number()] = dynamicpb.NewExtensionType(xd)
	}
	for message := range elements(scope.Messages()) {
		if err := t.addExtensions(message); err != nil {
			return err
		}
	}
	return nil
}

// FindMessageByName prefers the bundle's own definition: the linked one may be
// of another version.
func (t *bundleTypes) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	if desc, err := t.files.FindDescriptorByName(name); err == nil {
		if md, ok := desc.(protoreflect.MessageDescriptor); ok {
			return dynamicpb.NewMessageType(md), nil
		}
	}
	return protoregistry.GlobalTypes.FindMessageByName(name)
}

func (t *bundleTypes) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	return t.FindMessageByName(protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:]))
}

// FindExtensionByName prefers an extension that is linked into the process,
// because [google.golang.org/protobuf/proto.GetExtension] panics on a value of
// any other type.
func (t *bundleTypes) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	if xt, err := protoregistry.GlobalTypes.FindExtensionByName(name); err == nil {
		return xt, nil
	}
	desc, err := t.files.FindDescriptorByName(name)
	if err != nil {
		return nil, protoregistry.NotFound
	}
	xd, ok := desc.(protoreflect.ExtensionDescriptor)
	if !ok {
		return nil, protoregistry.NotFound
	}
	return dynamicpb.NewExtensionType(xd), nil
}

// FindExtensionByNumber prefers a linked extension, as FindExtensionByName does,
// unless the bundle has given its number to an extension of another name: numbers
// of options are private to those who use them.
func (t *bundleTypes) FindExtensionByNumber(message protoreflect.FullName, number protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	own := t.extensions[message][number]
	linked, err := protoregistry.GlobalTypes.FindExtensionByNumber(message, number)
	switch {
	case err == nil && (own == nil || own.TypeDescriptor().FullName() == linked.TypeDescriptor().FullName()):
		return linked, nil
	case own != nil:
		return own, nil
	}
	return nil, protoregistry.NotFound
}

// elements ranges over one of protoreflect's lists.
func elements[D any](list interface {
	Len() int
	Get(int) D
}) iter.Seq[D] {
	return func(yield func(D) bool) {
		for i := range list.Len() {
			if !yield(list.Get(i)) {
				return
			}
		}
	}
}
