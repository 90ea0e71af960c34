package schema

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Bounds of looking for what is wrong, which reads the text once more for each level.
const (
	maxLocated = 1 << 20
	maxLevels  = 32
	maxKey     = 100
)

// locate finds the first value that keeps a JSON from being read as a message, as a path
// such as `items[2].name` or `labels["key"].name`: the one that is wrong by itself.
// Empty is the message as a whole, or no idea.
func locate(read protojson.UnmarshalOptions, input protoreflect.MessageDescriptor, text []byte) string {
	if len(text) > maxLocated {
		return ""
	}
	return strings.TrimPrefix(locator{read}.message(input, text, maxLevels), ".")
}

type locator struct{ read protojson.UnmarshalOptions }

// message is the path within a message, with a dot before each field.
func (l locator) message(md protoreflect.MessageDescriptor, text json.RawMessage, levels int) string {
	var values map[string]json.RawMessage
	if levels == 0 || json.Unmarshal(text, &values) != nil {
		return ""
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if l.reads(md, key, values[key]) {
			continue
		}
		fd := md.Fields().ByJSONName(key)
		if fd == nil {
			fd = md.Fields().ByTextName(key)
		}
		if fd == nil {
			return "." + clip(key)
		}
		return "." + string(fd.Name()) + l.value(md, fd, key, values[key], levels-1)
	}
	return ""
}

// value is the path within what a field has.
func (l locator) value(md protoreflect.MessageDescriptor, fd protoreflect.FieldDescriptor, key string, text json.RawMessage, levels int) string {
	switch {
	case fd.IsList():
		var items []json.RawMessage
		if json.Unmarshal(text, &items) != nil {
			return ""
		}
		for i, item := range items {
			if !l.reads(md, key, slices.Concat([]byte("["), item, []byte("]"))) {
				return "[" + strconv.Itoa(i) + "]" + l.nested(fd, item, levels)
			}
		}
	case fd.IsMap():
		var entries map[string]json.RawMessage
		if json.Unmarshal(text, &entries) != nil {
			return ""
		}
		for _, name := range slices.Sorted(maps.Keys(entries)) {
			if !l.reads(md, key, object(name, entries[name])) {
				return "[" + strconv.Quote(clip(name)) + "]" + l.nested(fd.MapValue(), entries[name], levels)
			}
		}
	default:
		return l.nested(fd, text, levels)
	}
	return ""
}

func (l locator) nested(fd protoreflect.FieldDescriptor, text json.RawMessage, levels int) string {
	// What comes with protobuf has a JSON of its own.
	if md := fd.Message(); md != nil && !strings.HasPrefix(string(md.FullName()), "google.protobuf.") {
		return l.message(md, text, levels)
	}
	return ""
}

// reads says whether a message can be read that has nothing but this.
func (l locator) reads(md protoreflect.MessageDescriptor, key string, value json.RawMessage) bool {
	return l.read.Unmarshal(object(key, value), dynamicpb.NewMessage(md)) == nil
}

func object(key string, value json.RawMessage) []byte {
	name, err := json.Marshal(key)
	if err != nil {
		return nil
	}
	return slices.Concat([]byte("{"), name, []byte(":"), value, []byte("}"))
}

func clip(s string) string {
	if len(s) <= maxKey {
		return s
	}
	return strings.ToValidUTF8(s[:maxKey], "") + "…"
}
