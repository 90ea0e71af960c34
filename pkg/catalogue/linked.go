package catalogue

import (
	"fmt"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// checkLinked refuses files that give another meaning to what this process goes by:
// to names of the packages below, and to the numbers of the options that hold rules.
// Another version of these is welcome, if what both have is alike.
func checkLinked(types *bundleTypes) error {
	if err := checkRuleOptions(types); err != nil {
		return err
	}
	var err error
	types.files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if isLinkedPackage(file.Package()) {
			err = checkLinkedScope(file)
		}
		return err == nil
	})
	return err
}

// isLinkedPackage says that the names in a package are ours, gRPC's or protobuf's.
func isLinkedPackage(pkg protoreflect.FullName) bool {
	for _, own := range []string{"warren", "grpc", "google.protobuf", "google.rpc"} {
		if string(pkg) == own || strings.HasPrefix(string(pkg), own+".") {
			return true
		}
	}
	return false
}

// checkRuleOptions sees to it that a rule is a rule: protovalidate finds them by
// number alone.
func checkRuleOptions(types *bundleTypes) error {
	for _, rule := range []protoreflect.ExtensionType{validate.E_Field, validate.E_Message, validate.E_Oneof, validate.E_Predefined} {
		linked := rule.TypeDescriptor()
		own := types.extensions[linked.ContainingMessage().FullName()][linked.Number()]
		if own == nil {
			continue
		}
		// Old versions have some of them under other names.
		if !strings.HasPrefix(string(own.TypeDescriptor().FullName()), "buf.validate.") {
			return fmt.Errorf("extension %s of %s has the number %d of %s: give it another one",
				own.TypeDescriptor().FullName(), linked.ContainingMessage().FullName(), linked.Number(), linked.FullName())
		}
		if own.TypeDescriptor().Kind() != protoreflect.MessageKind || own.TypeDescriptor().IsList() {
			return fmt.Errorf("extension %s is not what it is in buf/validate/validate.proto", own.TypeDescriptor().FullName())
		}
	}
	return nil
}

func checkLinkedScope(scope interface {
	Messages() protoreflect.MessageDescriptors
	Enums() protoreflect.EnumDescriptors
	Extensions() protoreflect.ExtensionDescriptors
}) error {
	for md := range elements(scope.Messages()) {
		if err := checkLinkedMessage(md); err != nil {
			return err
		}
		if err := checkLinkedScope(md); err != nil {
			return err
		}
	}
	for ed := range elements(scope.Enums()) {
		if linked, _ := protoregistry.GlobalFiles.FindDescriptorByName(ed.FullName()); linked != nil {
			if _, ok := linked.(protoreflect.EnumDescriptor); !ok {
				return redefined(ed.FullName(), "is no enum")
			}
		}
	}
	for xd := range elements(scope.Extensions()) {
		if linked, _ := protoregistry.GlobalTypes.FindExtensionByName(xd.FullName()); linked != nil {
			want := linked.TypeDescriptor()
			if want.Number() != xd.Number() || want.ContainingMessage().FullName() != xd.ContainingMessage().FullName() || !alike(want, xd) {
				return redefined(xd.FullName(), "is another extension")
			}
		}
	}
	return nil
}

func checkLinkedMessage(md protoreflect.MessageDescriptor) error {
	found, _ := protoregistry.GlobalFiles.FindDescriptorByName(md.FullName())
	if found == nil {
		return nil
	}
	linked, ok := found.(protoreflect.MessageDescriptor)
	if !ok {
		return redefined(md.FullName(), "is no message")
	}
	for want := range elements(linked.Fields()) {
		fd := md.Fields().ByNumber(want.Number())
		if fd == nil && !complete[linked.ParentFile().Path()] {
			continue
		}
		if fd == nil || fd.Name() != want.Name() || !alike(want, fd) {
			return redefined(md.FullName(), fmt.Sprintf("has the field %d as %s", want.Number(), want.Name()))
		}
	}
	return nil
}

// complete are the files whose messages have a form of their own in JSON, and never
// change: what writes it takes their fields for granted.
var complete = map[string]bool{
	"google/protobuf/any.proto": true, "google/protobuf/duration.proto": true, "google/protobuf/empty.proto": true,
	"google/protobuf/field_mask.proto": true, "google/protobuf/struct.proto": true, "google/protobuf/timestamp.proto": true,
	"google/protobuf/wrappers.proto": true,
}

func redefined(name protoreflect.FullName, what string) error {
	return fmt.Errorf("%s is not the one that everybody knows, which %s: names under warren, grpc, google.protobuf and google.rpc are not yours to define", name, what)
}

// alike says that two fields hold the same.
func alike(a, b protoreflect.FieldDescriptor) bool {
	if a.Kind() != b.Kind() || (a.Cardinality() == protoreflect.Repeated) != (b.Cardinality() == protoreflect.Repeated) || a.IsMap() != b.IsMap() {
		return false
	}
	switch {
	case a.Message() != nil:
		return a.Message().FullName() == b.Message().FullName()
	case a.Enum() != nil:
		return a.Enum().FullName() == b.Enum().FullName()
	}
	return true
}
