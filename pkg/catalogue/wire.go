package catalogue

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// walker reads an encoded message without building it: unlike decoding, that
// takes no memory, however many small submessages the bytes hold, and it can say
// which field is at fault.
//
// It accepts what [google.golang.org/protobuf/proto.Unmarshal] accepts, required
// fields aside, which it does not look for: a field whose wire type is not that
// of its declaration counts as unknown, as does an extension that is not found.
type walker struct {
	// Extensions to look into; nil for none.
	extensions protoregistry.ExtensionTypeResolver
	// Messages that may still be entered; each costs one.
	budget int
}

// fault is why a message can't be read.
type fault struct {
	// Path of the field from the outermost message, such as `items[2].name`;
	// empty for that message itself.
	path   string
	reason error
}

var (
	errDepth  = errors.New("nested too deeply")
	errBudget = errors.New("too many messages in it")
	errUTF8   = errors.New("not valid UTF-8")
	errCut    = errors.New("cut short")
	errWire   = errors.New("malformed")
)

// walk reads the whole of b as one message. Messages may be nested to the depth
// given, the outermost one counted.
func (w *walker) walk(b []byte, md protoreflect.MessageDescriptor, depth int) *fault {
	_, f := w.message(b, md, 0, depth)
	return f
}

// message reads fields until b ends or, with the number of a group, until that
// group does. It returns the number of bytes read.
func (w *walker) message(b []byte, md protoreflect.MessageDescriptor, group protowire.Number, depth int) (int, *fault) {
	if depth <= 0 {
		return 0, &fault{reason: errDepth}
	}
	if w.budget--; w.budget < 0 {
		return 0, &fault{reason: errBudget}
	}
	fields := md.Fields()
	for pos := 0; pos < len(b); {
		num, wire, n := protowire.ConsumeTag(b[pos:])
		switch {
		case n < 0:
			return 0, wireFault(n)
		case num > protowire.MaxValidNumber:
			return 0, &fault{reason: errWire}
		case wire == protowire.EndGroupType && group != 0 && num == group:
			return pos + n, nil
		}
		fd := fields.ByNumber(num)
		if fd == nil {
			fd = w.extension(md, num)
		}
		size, f := w.value(b[pos+n:], num, wire, fd, depth)
		if f != nil {
			return 0, f.inside(fd, num, b[:pos])
		}
		pos += n + size
	}
	if group != 0 {
		return 0, &fault{reason: errCut}
	}
	return len(b), nil
}

// value reads the value of a field, which is unknown if fd is nil, and returns
// its size in bytes.
func (w *walker) value(b []byte, num protowire.Number, wire protowire.Type, fd protoreflect.FieldDescriptor, depth int) (int, *fault) {
	if fd == nil {
		return skip(num, wire, b)
	}
	kind := fd.Kind()
	declared := wireType(kind)
	switch {
	case wire == declared && kind == protoreflect.GroupKind:
		return w.message(b, fd.Message(), num, depth-1)
	case wire != protowire.BytesType || (wire != declared && !fd.IsList()):
		return skip(num, wire, b)
	}
	v, n := protowire.ConsumeBytes(b)
	if n < 0 {
		return 0, wireFault(n)
	}
	switch {
	case kind == protoreflect.MessageKind:
		return n, w.walk(v, fd.Message(), depth-1)
	case kind == protoreflect.StringKind && enforcesUTF8(fd) && !utf8.Valid(v):
		return 0, &fault{reason: errUTF8}
	case wire != declared && kind != protoreflect.GroupKind:
		return n, packed(v, declared)
	}
	return n, nil
}

func (w *walker) extension(md protoreflect.MessageDescriptor, num protowire.Number) protoreflect.FieldDescriptor {
	if w.extensions == nil || !md.ExtensionRanges().Has(num) {
		return nil
	}
	xt, err := w.extensions.FindExtensionByNumber(md.FullName(), num)
	if err != nil {
		return nil
	}
	return xt.TypeDescriptor()
}

// packed reads the elements of a packed repeated field.
func packed(b []byte, wire protowire.Type) *fault {
	for len(b) > 0 {
		n := protowire.ConsumeFieldValue(1, wire, b)
		if n < 0 {
			return wireFault(n)
		}
		b = b[n:]
	}
	return nil
}

func skip(num protowire.Number, wire protowire.Type, b []byte) (int, *fault) {
	n := protowire.ConsumeFieldValue(num, wire, b)
	if n < 0 {
		return 0, wireFault(n)
	}
	return n, nil
}

func wireFault(code int) *fault {
	if errors.Is(protowire.ParseError(code), io.ErrUnexpectedEOF) {
		return &fault{reason: errCut}
	}
	return &fault{reason: errWire}
}

// inside puts the field that a fault was found in before its path. Only now is
// it worth counting which element of a list that is, from the bytes before it.
func (f *fault) inside(fd protoreflect.FieldDescriptor, num protowire.Number, before []byte) *fault {
	if fd == nil {
		f.reason = fmt.Errorf("unknown field %d: %w", num, f.reason)
		return f
	}
	name := string(fd.Name())
	if fd.IsExtension() {
		name = "[" + string(fd.FullName()) + "]"
	}
	if fd.IsList() {
		name += "[" + strconv.Itoa(occurrences(before, num)) + "]"
	}
	if f.path != "" {
		name += "." + f.path
	}
	f.path = name
	return f
}

func occurrences(b []byte, num protowire.Number) int {
	count := 0
	for len(b) > 0 {
		found, _, n := protowire.ConsumeField(b)
		if n < 0 {
			break
		}
		if found == num {
			count++
		}
		b = b[n:]
	}
	return count
}

// enforcesUTF8 decides as the runtime does: by syntax, and in editions by the
// feature utf8_validation, which only the descriptor's concrete type tells.
func enforcesUTF8(fd protoreflect.FieldDescriptor) bool {
	syntax := fd.ParentFile().Syntax()
	if syntax == protoreflect.Editions {
		if fd, ok := fd.(interface{ EnforceUTF8() bool }); ok {
			return fd.EnforceUTF8()
		}
	}
	return syntax == protoreflect.Proto3
}

// wireType returns the wire type of a single value.
func wireType(kind protoreflect.Kind) protowire.Type {
	switch kind {
	case protoreflect.MessageKind, protoreflect.StringKind, protoreflect.BytesKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	default:
		return protowire.VarintType
	}
}
