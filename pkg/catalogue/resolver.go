package catalogue

import (
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Resolver finds message and extension types. It fits
// [google.golang.org/protobuf/encoding/protojson.MarshalOptions.Resolver] and
// its siblings, which need it for a google.protobuf.Any that holds a user's type.
// It is safe for concurrent use. What it can't find is
// [protoregistry.NotFound].
//
// Users' messages are dynamic (dynamicpb), linked ones generated.
type Resolver struct {
	// In the order in which to ask.
	finders func() []finder
}

type finder interface {
	protoregistry.MessageTypeResolver
	protoregistry.ExtensionTypeResolver
}

var _ finder = (*Resolver)(nil)

// FindMessageByName finds a message type by its full name.
func (r *Resolver) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	return first(r.finders(), func(f finder) (protoreflect.MessageType, error) { return f.FindMessageByName(name) })
}

// FindMessageByURL finds a message type by the type URL of a
// google.protobuf.Any, of which only what follows the last slash counts.
func (r *Resolver) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	return first(r.finders(), func(f finder) (protoreflect.MessageType, error) { return f.FindMessageByURL(url) })
}

// FindExtensionByName finds an extension by its full name.
func (r *Resolver) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	return first(r.finders(), func(f finder) (protoreflect.ExtensionType, error) { return f.FindExtensionByName(name) })
}

// FindExtensionByNumber finds an extension by the message that it extends and its
// number there.
func (r *Resolver) FindExtensionByNumber(message protoreflect.FullName, number protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	return first(r.finders(), func(f finder) (protoreflect.ExtensionType, error) {
		return f.FindExtensionByNumber(message, number)
	})
}

// first returns what the first of the sources has. The error is NotFound itself,
// which callers compare with ==.
func first[S, T any](sources []S, find func(S) (T, error)) (T, error) {
	for _, source := range sources {
		if found, err := find(source); err == nil {
			return found, nil
		}
	}
	var none T
	return none, protoregistry.NotFound
}
