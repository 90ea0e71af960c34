package discovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/warrenmq/warren/pkg/catalogue"
)

// Source is where a target's services are learned from. Learn may be called again
// and again; it answers what is so now. It is not for concurrent use.
type Source interface {
	Learn(ctx context.Context) (*Schema, error)
}

// Schema is what a target offers as task types. It does not change.
type Schema struct {
	// Services are sorted by name. At least one of their methods is a task type.
	Services []Service
	// Files are the encoded google.protobuf.FileDescriptorProto of all that the
	// services need, byte for byte as they were learned, imports first.
	Files [][]byte

	id string
}

// Service is one service that is forwarded.
type Service struct {
	// Name is the full one.
	Name    string
	Methods []Method
}

// Method is a method of a service, also if it takes a stream and so is no task
// type.
type Method struct {
	Name                         string
	ClientStreams, ServerStreams bool
}

// ID is a digest of the schema, in hexadecimal: equal schemas have equal ones.
func (s *Schema) ID() string { return s.id }

// digestShown is how many digits of a digest are enough for people.
const digestShown = 12

// Digest is the beginning of the ID, for people.
func (s *Schema) Digest() string { return s.id[:digestShown] }

// Names are the full names of the services, sorted.
func (s *Schema) Names() []string {
	names := make([]string, len(s.Services))
	for i, service := range s.Services {
		names[i] = service.Name
	}
	return names
}

// reservedRoots are the packages of services that are a server's own business, or
// Warren's.
var reservedRoots = []string{"grpc", "warren", "google"}

func reserved(service string) bool {
	root, _, qualified := strings.Cut(service, ".")
	return qualified && slices.Contains(reservedRoots, root)
}

// choose says which of the offered services are wanted, sorted: those, or by
// default all that are not reserved.
func choose(offered, wanted []string) ([]string, error) {
	if len(wanted) == 0 {
		own := slices.DeleteFunc(slices.Clone(offered), reserved)
		if len(own) == 0 {
			return nil, fmt.Errorf("the target has no services that could be tasks, only %s", list(offered))
		}
		return sorted(own), nil
	}
	for _, name := range wanted {
		if !slices.Contains(offered, name) {
			return nil, fmt.Errorf("the target has no service %s (--service); it has %s", name, list(offered))
		}
	}
	return sorted(wanted), nil
}

func sorted(names []string) []string {
	out := slices.Clone(names)
	slices.Sort(out)
	return slices.Compact(out)
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(sorted(names), ", ")
}

// newSchema checks the files that define the services as a gateway will.
func newSchema(services []string, files *files) (*Schema, error) {
	raw, err := files.needed(services)
	if err != nil {
		return nil, err
	}
	announcement := catalogue.Announcement{Services: services, Files: raw}
	bundle, err := catalogue.Build(announcement, catalogue.Limits{})
	if err != nil {
		return nil, fmt.Errorf("the target's descriptors can't be used: %w", err)
	}
	if err := refused(bundle); err != nil {
		return nil, err
	}
	s := &Schema{Files: bundle.Files(), id: announcement.ID()}
	for _, name := range services {
		s.Services = append(s.Services, files.service(name))
	}
	return s, nil
}

// refused says why a service as a whole, or all methods, can't be tasks.
func refused(bundle *catalogue.Bundle) error {
	var all []error
	for _, r := range bundle.Refusals() {
		err := fmt.Errorf("%s: %s", r.Name, r.Message)
		if r.Service {
			return err
		}
		all = append(all, err)
	}
	if len(bundle.TaskTypes()) == 0 {
		return fmt.Errorf("no method of the target can be a task: %w", errors.Join(all...))
	}
	return nil
}

func describe(full string, d *descriptorpb.ServiceDescriptorProto) Service {
	s := Service{Name: full}
	for _, m := range d.GetMethod() {
		s.Methods = append(s.Methods, Method{Name: m.GetName(), ClientStreams: m.GetClientStreaming(), ServerStreams: m.GetServerStreaming()})
	}
	return s
}
