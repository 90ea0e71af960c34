package catalogue

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// Announcement is what a worker says about the services that it carries out.
type Announcement struct {
	// Full names of the services.
	Services []string
	// Encoded google.protobuf.FileDescriptorProto of every file that the services
	// need, imports included.
	Files [][]byte
}

// ID returns a digest of the announcement: SHA-256 over its services and the
// bytes of its files, as 64 hexadecimal digits. Neither the order of services
// and files nor repeated services matter. It is cheap, so a gateway can tell
// whether it has built this announcement before. Descriptors that mean the same
// and are encoded differently, for instance by two languages, differ.
func (a Announcement) ID() string {
	files := make([][]byte, 0, len(a.Files))
	for _, file := range a.Files {
		sum := sha256.Sum256(file)
		files = append(files, sum[:])
	}
	slices.SortFunc(files, bytes.Compare)

	h := sha256.New()
	services := sortedSet(a.Services)
	h.Write(binary.AppendUvarint(nil, uint64(len(services))))
	for _, service := range services {
		h.Write(binary.AppendUvarint(nil, uint64(len(service))))
		h.Write([]byte(service))
	}
	for _, sum := range files {
		h.Write(sum)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Collect returns the announcement of the named services: their files and all
// that these import, imports first, encoded deterministically. The services come
// sorted and without duplicates.
//
// Descriptors are looked up in files, by default in
// [protoregistry.GlobalFiles], which has those of generated code. It fails when
// no service is named, when a name is unknown or no service's, and when an
// import is known by its path alone because its generated code is not linked.
func Collect(files protodesc.Resolver, services ...protoreflect.FullName) (Announcement, error) {
	if files == nil {
		files = protoregistry.GlobalFiles
	}
	if len(services) == 0 {
		return Announcement{}, errors.New("collect descriptors: no service is named")
	}
	c := collector{resolver: files, seen: make(map[string]bool)}
	names := sortedSet(services)
	out := Announcement{Services: make([]string, 0, len(names))}
	for _, name := range names {
		file, err := serviceFile(files, name)
		if err != nil {
			return Announcement{}, fmt.Errorf("collect descriptors: %w", err)
		}
		if err := c.add(file); err != nil {
			return Announcement{}, fmt.Errorf("collect descriptors of service %s: %w", name, err)
		}
		out.Services = append(out.Services, string(name))
	}
	out.Files = c.files
	return out, nil
}

func serviceFile(files protodesc.Resolver, name protoreflect.FullName) (protoreflect.FileDescriptor, error) {
	desc, err := files.FindDescriptorByName(name)
	if err != nil {
		return nil, fmt.Errorf("service %q: %w", name, err)
	}
	if _, ok := desc.(protoreflect.ServiceDescriptor); !ok {
		return nil, fmt.Errorf("%q is not a service", name)
	}
	return desc.ParentFile(), nil
}

// collector gathers files, each once, imports first.
type collector struct {
	resolver protodesc.Resolver
	seen     map[string]bool
	files    [][]byte
}

func (c *collector) add(file protoreflect.FileDescriptor) error {
	if c.seen[file.Path()] {
		return nil
	}
	c.seen[file.Path()] = true
	for _, imported := range imports(file.Imports()) {
		dep, err := c.resolve(imported)
		if err != nil {
			return fmt.Errorf("%q imports %q: %w", file.Path(), imported.Path(), err)
		}
		if err := c.add(dep); err != nil {
			return err
		}
	}
	if err := c.addOptionImports(file); err != nil {
		return err
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(protodesc.ToFileDescriptorProto(file))
	if err != nil {
		return fmt.Errorf("encode %q: %w", file.Path(), err)
	}
	c.files = append(c.files, raw)
	return nil
}

// addOptionImports follows `import option` of edition 2024, which names files
// that only options need. Descriptors are valid without them.
func (c *collector) addOptionImports(file protoreflect.FileDescriptor) error {
	if imp, ok := file.(protoreflect.FileImport); ok {
		file = imp.FileDescriptor
	}
	optional, ok := file.(interface {
		OptionImports() protoreflect.FileImports
	})
	if !ok {
		return nil
	}
	for _, imported := range imports(optional.OptionImports()) {
		dep, err := c.resolve(imported)
		if err != nil {
			continue
		}
		if err := c.add(dep); err != nil {
			return err
		}
	}
	return nil
}

// resolve replaces a placeholder, which has a path and nothing else.
func (c *collector) resolve(file protoreflect.FileDescriptor) (protoreflect.FileDescriptor, error) {
	if !file.IsPlaceholder() {
		return file, nil
	}
	found, err := c.resolver.FindFileByPath(file.Path())
	if err != nil {
		return nil, fmt.Errorf("its descriptor is not linked into this program: %w", err)
	}
	return found, nil
}

func imports(list protoreflect.FileImports) []protoreflect.FileDescriptor {
	out := make([]protoreflect.FileDescriptor, list.Len())
	for i := range out {
		out[i] = list.Get(i).FileDescriptor
	}
	return out
}

// sortedSet returns the names sorted and without duplicates, in a new slice.
func sortedSet[S ~string](names []S) []S {
	out := slices.Clone(names)
	slices.Sort(out)
	return slices.Compact(out)
}
