package discovery

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// restoreImports gives imports to files that have none although they use what
// others define. So answers Node's @grpc/reflection: its loader makes one file of
// each package, google.protobuf included, and forgets the imports
// (https://github.com/grpc/grpc-node/issues/2595). What belongs to google.protobuf
// is imported from the file that it is known to be in. What several files define
// is imported from the first of them by path: the same files have the same imports
// each time, or the schema would seem to change.
func (f *files) restoreImports() error {
	paths := slices.Sorted(maps.Keys(f.byPath))
	defined := map[string]string{}
	for _, path := range paths {
		for _, name := range types(f.byPath[path].proto) {
			if defined[name] == "" {
				defined[name] = path
			}
		}
	}
	for _, path := range paths {
		known := f.byPath[path]
		if len(known.proto.GetDependency()) > 0 {
			continue
		}
		imports := map[string]bool{}
		for _, used := range references(known.proto) {
			if from := used.definedIn(defined); from != "" && from != path {
				imports[from] = true
			}
		}
		if len(imports) == 0 {
			continue
		}
		known.proto.Dependency = slices.Sorted(maps.Keys(imports))
		raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(known.proto)
		if err != nil {
			return fmt.Errorf("restore the imports of %q: %w", path, err)
		}
		known.raw = raw
	}
	return nil
}

// reference is a type's name as a file uses it: with a leading dot it is the full
// one, else it is looked for from the scope outwards.
type reference struct{ scope, name string }

// definedIn is the path of the file that defines the type, "" if none does.
func (r reference) definedIn(defined map[string]string) string {
	if full, ok := strings.CutPrefix(r.name, "."); ok {
		return home(full, defined)
	}
	for scope := r.scope; scope != ""; {
		if path := home(scope+"."+r.name, defined); path != "" {
			return path
		}
		scope = scope[:max(0, strings.LastIndexByte(scope, '.'))]
	}
	return home(r.name, defined)
}

func home(full string, defined map[string]string) string {
	if strings.HasPrefix(full, "google.protobuf.") {
		if known, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(full)); err == nil {
			return known.ParentFile().Path()
		}
	}
	return defined[full]
}

// types are the full names of the messages and enums that a file defines.
func types(f *descriptorpb.FileDescriptorProto) []string {
	names := enums(f.GetPackage(), f.GetEnumType())
	eachMessage(f.GetPackage(), f.GetMessageType(), func(full string, m *descriptorpb.DescriptorProto) {
		names = append(append(names, full), enums(full, m.GetEnumType())...)
	})
	return names
}

func enums(scope string, list []*descriptorpb.EnumDescriptorProto) []string {
	var names []string
	for _, e := range list {
		names = append(names, join(scope, e.GetName()))
	}
	return names
}

// references are the types that a file uses.
func references(f *descriptorpb.FileDescriptorProto) []reference {
	used := fields(f.GetPackage(), f.GetExtension())
	eachMessage(f.GetPackage(), f.GetMessageType(), func(full string, m *descriptorpb.DescriptorProto) {
		used = append(used, fields(full, slices.Concat(m.GetField(), m.GetExtension()))...)
	})
	for _, s := range f.GetService() {
		for _, m := range s.GetMethod() {
			used = append(used, reference{f.GetPackage(), m.GetInputType()}, reference{f.GetPackage(), m.GetOutputType()})
		}
	}
	return used
}

func fields(scope string, list []*descriptorpb.FieldDescriptorProto) []reference {
	var used []reference
	for _, field := range list {
		for _, name := range []string{field.GetTypeName(), field.GetExtendee()} {
			if name != "" {
				used = append(used, reference{scope, name})
			}
		}
	}
	return used
}

// eachMessage visits messages and those within them.
func eachMessage(scope string, list []*descriptorpb.DescriptorProto, visit func(full string, m *descriptorpb.DescriptorProto)) {
	for _, m := range list {
		full := join(scope, m.GetName())
		visit(full, m)
		eachMessage(full, m.GetNestedType(), visit)
	}
}

func join(scope, name string) string {
	if scope == "" {
		return name
	}
	return scope + "." + name
}
