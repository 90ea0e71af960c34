package discovery

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/warrenmq/warren/pkg/catalogue"
)

// files are the descriptors learned so far.
type files struct {
	byPath   map[string]*file
	services map[string]*file
}

// file is one, encoded and decoded.
type file struct {
	// came is what it came as, raw what it is passed on as: the same, unless imports
	// had to be restored.
	came, raw []byte
	proto     *descriptorpb.FileDescriptorProto
}

func newFiles() *files { return &files{byPath: map[string]*file{}, services: map[string]*file{}} }

// add takes in an encoded file. The same one twice is one; another one of the same
// path is an error.
func (f *files) add(raw []byte) error {
	next := &file{came: raw, raw: raw, proto: &descriptorpb.FileDescriptorProto{}}
	// Options are left as they are.
	if err := (proto.UnmarshalOptions{Resolver: (*protoregistry.Types)(nil)}).Unmarshal(raw, next.proto); err != nil {
		return fmt.Errorf("a file descriptor can't be decoded: %w", err)
	}
	path := next.proto.GetName()
	if known := f.byPath[path]; known != nil {
		if !bytes.Equal(known.came, raw) {
			return fmt.Errorf("two different files are called %q", path)
		}
		return nil
	}
	if len(f.byPath) >= catalogue.DefaultMaxFiles {
		return fmt.Errorf("there are more than %d files", catalogue.DefaultMaxFiles)
	}
	f.byPath[path] = next
	for _, s := range next.proto.GetService() {
		f.services[fullName(next.proto, s)] = next
	}
	return nil
}

func fullName(f *descriptorpb.FileDescriptorProto, s *descriptorpb.ServiceDescriptorProto) string {
	if f.GetPackage() == "" {
		return s.GetName()
	}
	return f.GetPackage() + "." + s.GetName()
}

// missing gives a file and one of its imports that is not there; "" if none.
func (f *files) missing() (importer, path string) {
	for _, known := range f.byPath {
		for _, imported := range known.proto.GetDependency() {
			if f.byPath[imported] == nil {
				return known.proto.GetName(), imported
			}
		}
	}
	return "", ""
}

// service describes one that a file defines.
func (f *files) service(name string) Service {
	file := f.services[name].proto
	for _, s := range file.GetService() {
		if fullName(file, s) == name {
			return describe(name, s)
		}
	}
	return Service{Name: name}
}

// needed are the files that define the services and all that these import, each
// once, in an order that depends on nothing else. Imports that are not there are
// left out.
func (f *files) needed(services []string) ([][]byte, error) {
	var out [][]byte
	seen := map[string]bool{}
	var visit func(*file)
	visit = func(next *file) {
		if next == nil || seen[next.proto.GetName()] {
			return
		}
		seen[next.proto.GetName()] = true
		for _, imported := range slices.Concat(next.proto.GetDependency(), next.proto.GetOptionDependency()) {
			visit(f.byPath[imported])
		}
		out = append(out, next.raw)
	}
	for _, name := range services {
		if f.services[name] == nil {
			return nil, fmt.Errorf("no file defines the service %s", name)
		}
		visit(f.services[name])
	}
	return out, nil
}
