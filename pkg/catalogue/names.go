package catalogue

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// TypeName returns the name of the task type that a method's name stands for:
// `acme.v1.ImageService.Resize` for that itself, for
// `acme.v1.ImageService/Resize` and for the `/acme.v1.ImageService/Resize` of
// gRPC. It does not say whether there is such a type.
func TypeName(method string) string {
	method = strings.TrimPrefix(method, "/")
	service, name, found := strings.Cut(method, "/")
	if !found {
		return method
	}
	return service + "." + name
}

// reservedRoot returns the first part of the name when services under it are
// not users': those of Warren, gRPC and Google's own packages could be mistaken
// for what a gateway serves itself.
func reservedRoot(service string) (root string, reserved bool) {
	root, _, qualified := strings.Cut(service, ".")
	if !qualified {
		return "", false
	}
	switch root {
	case "warren", "grpc", "google":
		return root, true
	}
	return "", false
}

// checkServiceNames refuses what can't be the name of a service, so that such
// strings go no further, not even into a refusal.
func checkServiceNames(services []string) error {
	if len(services) == 0 {
		return errors.New("no service is announced")
	}
	for _, name := range services {
		if len(name) > maxFullName || !protoreflect.FullName(name).IsValid() {
			return fmt.Errorf("%.60q is not the full name of a service, such as acme.v1.ImageService", name)
		}
	}
	return nil
}

// checkPath refuses what is no clean relative path, because file names are shown
// to people and tools that write descriptors to disk.
func checkPath(name string) error {
	switch {
	case name == "":
		return errors.New("it has no name")
	case len(name) > maxPath:
		return fmt.Errorf("its name has %d bytes, at most %d", len(name), maxPath)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("its name %q has invalid characters", name)
	case path.IsAbs(name) || path.Clean(name) != name || strings.Contains(name, `\`),
		name == "." || name == ".." || strings.HasPrefix(name, "../"):
		return fmt.Errorf("its name %q is not a clean relative path with forward slashes", name)
	}
	return nil
}

// checkNames bounds the full name of each thing that the file declares. The
// runtime copies the full name of a parent into each child's, so long names cost
// far more memory than their encoding. Their characters are checked by protodesc.
func checkNames(file *descriptorpb.FileDescriptorProto) error {
	scope := file.GetPackage()
	if err := checkNamed(scope, file.GetEnumType(), file.GetExtension()); err != nil {
		return err
	}
	for _, message := range file.GetMessageType() {
		if err := checkMessageNames(scope, message); err != nil {
			return err
		}
	}
	for _, service := range file.GetService() {
		full, err := join(scope, service.GetName())
		if err != nil {
			return err
		}
		if err := joinAll(full, service.GetMethod()); err != nil {
			return err
		}
	}
	return nil
}

func checkMessageNames(scope string, message *descriptorpb.DescriptorProto) error {
	full, err := join(scope, message.GetName())
	if err != nil {
		return err
	}
	if err := checkNamed(full, message.GetEnumType(), message.GetExtension()); err != nil {
		return err
	}
	if err := joinAll(full, message.GetField()); err != nil {
		return err
	}
	if err := joinAll(full, message.GetOneofDecl()); err != nil {
		return err
	}
	for _, nested := range message.GetNestedType() {
		if err := checkMessageNames(full, nested); err != nil {
			return err
		}
	}
	return nil
}

func checkNamed(scope string, enums []*descriptorpb.EnumDescriptorProto, extensions []*descriptorpb.FieldDescriptorProto) error {
	for _, enum := range enums {
		full, err := join(scope, enum.GetName())
		if err != nil {
			return err
		}
		if err := joinAll(full, enum.GetValue()); err != nil {
			return err
		}
	}
	return joinAll(scope, extensions)
}

func joinAll[D interface{ GetName() string }](scope string, descs []D) error {
	for _, desc := range descs {
		if len(scope)+1+len(desc.GetName()) > maxFullName {
			_, err := join(scope, desc.GetName())
			return err
		}
	}
	return nil
}

// join returns the full name of what is declared in a scope.
func join(scope, name string) (string, error) {
	full := string(protoreflect.FullName(scope).Append(protoreflect.Name(name)))
	if len(full) > maxFullName {
		return "", fmt.Errorf("the full name %.60q… has %d bytes, at most %d", full, len(full), maxFullName)
	}
	return full, nil
}
