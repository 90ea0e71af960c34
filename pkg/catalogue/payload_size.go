package catalogue

import "google.golang.org/protobuf/reflect/protoreflect"

// counter counts what is in a payload: values, and for text and bytes one more each time
// that there are so many bytes of it. It stops at a limit.
type counter int

const (
	// countChunks is for who passes over text.
	countChunks counter = 64
	// countBytes is for who takes text to pieces.
	countBytes counter = 1
)

func (c counter) message(m protoreflect.Message, limit int) int {
	size := 1
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		size += c.value(fd, v, limit-size)
		return size < limit
	})
	return size
}

func (c counter) value(fd protoreflect.FieldDescriptor, v protoreflect.Value, limit int) int {
	size := 0
	switch {
	case fd.IsMap():
		v.Map().Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
			size += c.one(fd.MapKey(), key.Value(), limit-size) + c.one(fd.MapValue(), value, limit-size)
			return size < limit
		})
	case fd.IsList():
		for i := 0; i < v.List().Len() && size < limit; i++ {
			size += c.one(fd, v.List().Get(i), limit-size)
		}
	default:
		return c.one(fd, v, limit)
	}
	return size
}

func (c counter) one(fd protoreflect.FieldDescriptor, v protoreflect.Value, limit int) int {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return c.message(v.Message(), limit)
	case protoreflect.StringKind:
		return 1 + len(v.String())/int(c)
	case protoreflect.BytesKind:
		return 1 + len(v.Bytes())/int(c)
	}
	return 1
}
