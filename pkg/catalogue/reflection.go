package catalogue

import (
	"maps"

	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	// Links the types of error details, so that clients can show those of our
	// answers by means of reflection.
	_ "google.golang.org/genproto/googleapis/rpc/errdetails"
)

// RegisterReflection registers gRPC reflection, v1 and v1alpha, on the server. It
// shows the services registered there by now, reflection itself included, and
// those of the catalogue, whose changes are seen at once: call it last, before
// the server serves. Like any registration on a server it must happen once.
//
// A service is shown as the newest bundle that has it defines it, and so is each
// of its methods; a method that this one has no more, but which is a task type
// still, is answered from the bundle that the type comes from, when it is asked
// for by its own name. Other symbols are looked up as the package documentation
// says. A file asked for by its path can be that of another bundle, when two have
// different files under one path; clients ask by symbol first and get the right
// file with all that it imports.
func RegisterReflection(s *grpc.Server, c *Catalogue) {
	services := &reflectedServices{catalogue: c}
	opts := reflection.ServerOptions{
		Services:           services,
		DescriptorResolver: reflectedFiles{c},
		ExtensionResolver:  reflectedExtensions{c.Resolver(), c},
	}
	reflectionv1.RegisterServerReflectionServer(s, reflection.NewServerV1(opts))
	reflectionv1alpha.RegisterServerReflectionServer(s, reflection.NewServer(opts))
	// Taken now and not on each request, because a server's own map of services
	// is not to be read while services are added to it.
	services.own = s.GetServiceInfo()
}

// reflectedServices lists the server's own services and the catalogue's.
type reflectedServices struct {
	own       map[string]grpc.ServiceInfo
	catalogue *Catalogue
}

// GetServiceInfo returns the names; the reflection service reads nothing else.
func (r *reflectedServices) GetServiceInfo() map[string]grpc.ServiceInfo {
	all := maps.Clone(r.own)
	for _, service := range r.catalogue.current.Load().services {
		if _, own := all[service]; !own {
			all[service] = grpc.ServiceInfo{}
		}
	}
	return all
}

// reflectedFiles finds descriptors.
type reflectedFiles struct{ catalogue *Catalogue }

func (r reflectedFiles) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	return first(r.resolvers(), func(files protodesc.Resolver) (protoreflect.FileDescriptor, error) {
		return files.FindFileByPath(path)
	})
}

func (r reflectedFiles) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	known := r.catalogue.current.Load()
	for _, service := range []protoreflect.FullName{name, name.Parent()} {
		owner := known.owners[string(service)]
		if owner == nil {
			continue
		}
		desc, err := owner.types.files.FindDescriptorByName(name)
		if t, kept := known.byName[string(name)]; err != nil && kept {
			return t.types.files.FindDescriptorByName(name)
		}
		return desc, err
	}
	return first(r.resolvers(), func(files protodesc.Resolver) (protoreflect.Descriptor, error) {
		return files.FindDescriptorByName(name)
	})
}

func (r reflectedFiles) resolvers() []protodesc.Resolver {
	bundles := r.catalogue.current.Load().bundles
	out := make([]protodesc.Resolver, 0, 1+len(bundles))
	out = append(out, protoregistry.GlobalFiles)
	for _, b := range bundles {
		out = append(out, b.types.files)
	}
	return out
}

// reflectedExtensions finds extensions, also all those of a message.
type reflectedExtensions struct {
	*Resolver
	catalogue *Catalogue
}

// RangeExtensionsByMessage calls f for one extension of each number.
func (r reflectedExtensions) RangeExtensionsByMessage(message protoreflect.FullName, f func(protoreflect.ExtensionType) bool) {
	byNumber := make(map[protoreflect.FieldNumber]protoreflect.ExtensionType)
	protoregistry.GlobalTypes.RangeExtensionsByMessage(message, func(xt protoreflect.ExtensionType) bool {
		byNumber[xt.TypeDescriptor().Number()] = xt
		return true
	})
	for _, b := range r.catalogue.current.Load().bundles {
		for number, xt := range b.types.extensions[message] {
			if _, known := byNumber[number]; !known {
				byNumber[number] = xt
			}
		}
	}
	for _, xt := range byNumber {
		if !f(xt) {
			return
		}
	}
}
