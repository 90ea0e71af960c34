package catalogue

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Build checks an announcement and builds its types. Nothing in it is trusted.
//
// It fails when the announcement as a whole is unusable: it is over the limits
// ([ErrLimit]), a file can't be decoded or is invalid, an import is missing (the
// text names it), a name is invalid or too long, a path unclean. What concerns one service
// or one method alone costs only that one, and is in [Bundle.Refusals]: a service
// that no file defines or whose package is reserved (warren, grpc, google), a
// method that takes a stream, options that break their rules.
//
// It takes milliseconds; [Announcement.ID] tells cheaply whether the same was
// built before.
func Build(a Announcement, limits Limits) (*Bundle, error) {
	limits = limits.withDefaults()
	if err := limits.check(a); err != nil {
		return nil, fmt.Errorf("build catalogue bundle: %w", err)
	}
	if err := checkServiceNames(a.Services); err != nil {
		return nil, fmt.Errorf("build catalogue bundle: %w", err)
	}
	sources, err := readFiles(a.Files, limits)
	if err != nil {
		return nil, fmt.Errorf("build catalogue bundle: %w", err)
	}
	types, err := buildTypes(sources, limits)
	if err != nil {
		return nil, fmt.Errorf("build catalogue bundle: %w", err)
	}
	b := &Bundle{id: a.ID(), types: types, announced: sortedSet(a.Services)}
	for _, source := range sources {
		b.files = append(b.files, source.raw)
	}
	b.addServices()
	return b, nil
}

// readFiles decodes the files, options and other extensions left as they are,
// checks what the protobuf runtime would not, and orders them imports first.
func readFiles(raw [][]byte, limits Limits) ([]*sourceFile, error) {
	files := make(map[string]*sourceFile, len(raw))
	elements := limits.MaxElements
	for i, b := range raw {
		var err error
		if elements, err = checkElements(b, nil, elements); err != nil {
			return nil, fmt.Errorf("file %d of %d is no file descriptor: %w", i+1, len(raw), err)
		}
		file, err := decodeFile(b, (*protoregistry.Types)(nil))
		if err != nil {
			return nil, fmt.Errorf("file %d of %d is no file descriptor: %w", i+1, len(raw), err)
		}
		if err := checkPath(file.GetName()); err != nil {
			return nil, fmt.Errorf("file %d of %d: %w", i+1, len(raw), err)
		}
		if files[file.GetName()] != nil {
			return nil, fmt.Errorf("file %q is there twice", file.GetName())
		}
		if err := checkNames(file); err != nil {
			return nil, fmt.Errorf("file %q: %w", file.GetName(), err)
		}
		files[file.GetName()] = &sourceFile{raw: slices.Clone(b), proto: file}
	}
	return importsFirst(files, limits.MaxImportPaths)
}

// buildTypes links the files twice: the first time to learn which extensions
// they declare, the second time with their options read by means of these.
func buildTypes(sources []*sourceFile, limits Limits) (*bundleTypes, error) {
	files, err := link(sources)
	if err != nil {
		return nil, err
	}
	declared, err := newBundleTypes(files)
	if err != nil {
		return nil, err
	}
	if err := checkLinked(declared); err != nil {
		return nil, err
	}
	elements := limits.MaxElements
	for _, source := range sources {
		if elements, err = checkElements(source.raw, declared, elements); err != nil {
			return nil, fmt.Errorf("file %q: %w", source.proto.GetName(), err)
		}
		if source.proto, err = decodeFile(source.raw, declared); err != nil {
			return nil, fmt.Errorf("file %q: read options: %w", source.proto.GetName(), err)
		}
	}
	if files, err = link(sources); err != nil {
		return nil, err
	}
	return newBundleTypes(files)
}

func link(sources []*sourceFile) (*protoregistry.Files, error) {
	files := new(protoregistry.Files)
	for _, source := range sources {
		file, err := protodesc.NewFile(source.proto, files)
		if err != nil {
			return nil, fmt.Errorf("file %q: %w", source.proto.GetName(), err)
		}
		if err := files.RegisterFile(file); err != nil {
			return nil, fmt.Errorf("file %q: %w", source.proto.GetName(), err)
		}
	}
	return files, nil
}

// checkElements reads an encoded file descriptor without building it and returns
// what is left of the budget of elements.
func checkElements(b []byte, extensions protoregistry.ExtensionTypeResolver, budget int) (int, error) {
	w := walker{extensions: extensions, budget: budget}
	f := w.walk(b, descriptorpb.File_google_protobuf_descriptor_proto.Messages().ByName("FileDescriptorProto"), maxDescriptorDepth)
	switch {
	case f == nil:
		return w.budget, nil
	case errors.Is(f.reason, errBudget):
		return 0, fmt.Errorf("%w: too many elements in the files", ErrLimit)
	case f.path != "":
		return 0, fmt.Errorf("field %s: %w", f.path, f.reason)
	default:
		return 0, f.reason
	}
}

func decodeFile(b []byte, extensions protoregistry.ExtensionTypeResolver) (*descriptorpb.FileDescriptorProto, error) {
	file := new(descriptorpb.FileDescriptorProto)
	if err := (proto.UnmarshalOptions{Resolver: extensions}).Unmarshal(b, file); err != nil {
		return nil, err
	}
	return file, nil
}

// addServices fills in the services, the task types and the refusals.
func (b *Bundle) addServices() {
	options, rules := newOptionReader(b.types), newRuleBook(b.types)
	for _, name := range b.announced {
		service, why := b.findService(name)
		if service == nil {
			b.refuse(name, why, true)
			continue
		}
		b.services = append(b.services, name)
		for method := range elements(service.Methods()) {
			t, err := newTaskType(method, b.types, options, rules)
			if err != nil {
				b.refuse(TypeName(name+"/"+string(method.Name())), err.Error(), false)
				continue
			}
			b.taskTypes = append(b.taskTypes, t)
		}
	}
	slices.SortFunc(b.taskTypes, compareTypes)
}

func (b *Bundle) refuse(name, why string, service bool) {
	b.refusals = append(b.refusals, Refusal{Name: name, Message: why, Service: service})
}

// findService returns nil and the reason when the service is refused.
func (b *Bundle) findService(name string) (protoreflect.ServiceDescriptor, string) {
	if root, reserved := reservedRoot(name); reserved {
		return nil, fmt.Sprintf("packages under %q are reserved: rename the package of the service", root)
	}
	desc, err := b.types.files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil, "no announced file defines this service: announce the file that does"
	}
	service, ok := desc.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil, "this is not a service in the announced files"
	}
	return service, ""
}
