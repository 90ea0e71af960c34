package discovery

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
)

// merged are files as Node's loader makes them: one for each package, named after
// it, without imports and options.
func merged(t *testing.T, of ...protoreflect.FileDescriptor) [][]byte {
	packages := map[protoreflect.FullName]*descriptorpb.FileDescriptorProto{}
	seen := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		whole := packages[f.Package()]
		if whole == nil {
			whole = &descriptorpb.FileDescriptorProto{
				Name: proto.String(strings.ReplaceAll(string(f.Package()), ".", "_") + ".proto"), Package: proto.String(string(f.Package())), Syntax: proto.String("proto3"),
			}
			packages[f.Package()] = whole
		}
		part := protodesc.ToFileDescriptorProto(f)
		whole.MessageType = append(whole.MessageType, part.MessageType...)
		whole.EnumType = append(whole.EnumType, part.EnumType...)
		whole.Service = append(whole.Service, part.Service...)
	}
	for _, f := range of {
		add(f)
	}
	var raw [][]byte
	for _, f := range packages {
		for _, s := range f.Service {
			for _, m := range s.Method {
				m.Options = nil
			}
		}
		b, err := proto.Marshal(f)
		require.NoError(t, err)
		raw = append(raw, b)
	}
	return raw
}

func TestLostImportsAreRestored(t *testing.T) {
	t.Parallel()
	f := newFiles()
	raw := merged(t, demov1.File_demo_v1_fault_service_proto, demov1.File_demo_v1_image_service_proto)
	for _, b := range raw {
		require.NoError(t, f.add(b))
	}
	require.NoError(t, f.restoreImports())
	require.Equal(t, []string{"google/protobuf/duration.proto"}, f.byPath["demo_v1.proto"].proto.GetDependency())
	for _, b := range raw {
		require.NoError(t, f.add(b), "the same file may come again")
	}
	require.NoError(t, (&talk{files: f}).addWellKnown("google/protobuf/duration.proto"))
	schema, err := newSchema([]string{"demo.v1.FaultService", "demo.v1.ImageService"}, f)
	require.NoError(t, err)
	require.Len(t, schema.Files, 2)
	require.Len(t, schema.Services, 2)
}

// A name that several files define is imported from the same one each time.
func TestRestoredImportsDoNotDependOnOrder(t *testing.T) {
	t.Parallel()
	message := func(name string) []*descriptorpb.DescriptorProto {
		return []*descriptorpb.DescriptorProto{{Name: proto.String(name)}}
	}
	parts := []*descriptorpb.FileDescriptorProto{
		{Name: proto.String("b.proto"), MessageType: message("Both")},
		{Name: proto.String("a.proto"), MessageType: message("Both")},
		{Name: proto.String("c.proto"), MessageType: message("Both")},
		{Name: proto.String("s.proto"), Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("S"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: proto.String("M"), InputType: proto.String(".acme.Both"), OutputType: proto.String(".acme.Both")},
		}}}},
	}
	ids := map[string]bool{}
	for range 30 {
		f := newFiles()
		for _, part := range parts {
			part.Package, part.Syntax = proto.String("acme"), proto.String("proto3")
			b, err := proto.Marshal(part)
			require.NoError(t, err)
			require.NoError(t, f.add(b))
		}
		require.NoError(t, f.restoreImports())
		require.Equal(t, []string{"a.proto"}, f.byPath["s.proto"].proto.GetDependency())
		schema, err := newSchema([]string{"acme.S"}, f)
		require.NoError(t, err)
		ids[schema.ID()] = true
	}
	require.Len(t, ids, 1)
}

// What has its imports is passed on byte for byte.
func TestOtherFilesStayAsTheyAre(t *testing.T) {
	t.Parallel()
	f := newFiles()
	var raw [][]byte
	for _, d := range []protoreflect.FileDescriptor{demov1.File_demo_v1_fault_service_proto, demov1.File_demo_v1_image_service_proto} {
		b, err := proto.Marshal(protodesc.ToFileDescriptorProto(d))
		require.NoError(t, err)
		raw = append(raw, b)
		require.NoError(t, f.add(b))
	}
	require.NoError(t, f.restoreImports())
	require.Equal(t, raw[0], f.byPath["demo/v1/fault_service.proto"].raw)
	require.Equal(t, raw[1], f.byPath["demo/v1/image_service.proto"].raw)
}

func TestAReferenceIsLookedForFromTheScopeOutwards(t *testing.T) {
	t.Parallel()
	defined := map[string]string{"a.b.M": "1", "a.N": "2", "N": "3"}
	for name, want := range map[string]string{"M": "1", "N": "2", ".N": "3", ".a.N": "2", "a.N": "2", "google.protobuf.Any": "google/protobuf/any.proto", "X": ""} {
		require.Equal(t, want, reference{"a.b.C", name}.definedIn(defined), name)
	}
}
