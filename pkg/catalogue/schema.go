package catalogue

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Files returns the file of the task type's service and all that it imports, imports
// first, by the definitions of the type's own bundle. A retired type has none.
func (t TaskType) Files() []protoreflect.FileDescriptor {
	if t.types == nil {
		return nil
	}
	service, err := t.types.files.FindDescriptorByName(protoreflect.FullName(t.Service))
	if err != nil {
		return nil
	}
	var out []protoreflect.FileDescriptor
	seen := map[string]bool{}
	var visit func(path string)
	visit = func(path string) {
		if seen[path] {
			return
		}
		seen[path] = true
		// Files that only options need may be missing.
		file, err := t.types.files.FindFileByPath(path)
		if err != nil {
			return
		}
		for _, imported := range append(imports(file.Imports()), optionImports(file)...) {
			visit(imported.Path())
		}
		out = append(out, file)
	}
	visit(service.ParentFile().Path())
	return out
}

// optionImports are what `import option` of edition 2024 names.
func optionImports(file protoreflect.FileDescriptor) []protoreflect.FileDescriptor {
	if f, ok := file.(interface {
		OptionImports() protoreflect.FileImports
	}); ok {
		return imports(f.OptionImports())
	}
	return nil
}

// DescriptorSet returns [TaskType.Files] as an encoded
// google.protobuf.FileDescriptorSet.
func (t TaskType) DescriptorSet() ([]byte, error) {
	set := &descriptorpb.FileDescriptorSet{}
	for _, file := range t.Files() {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("encode the descriptors of %s: %w", t.Name, err)
	}
	return b, nil
}
