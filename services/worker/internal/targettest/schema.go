package targettest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// What [Files] define.
const (
	Service   = "acme.v1.Echo"
	Unary     = "Unary"
	Stream    = "Stream"
	Chat      = "Chat"
	FileEcho  = "acme/v1/echo.proto"
	FileTypes = "acme/v1/types.proto"
	FileDur   = "google/protobuf/duration.proto"
)

// Set is a service with a unary, a server-streaming and a bidirectional method, and
// more unary ones, in files that import each other: echo, types, duration.
func Set(more ...string) *descriptorpb.FileDescriptorSet {
	types := &descriptorpb.FileDescriptorProto{
		Name: proto.String(FileTypes), Package: proto.String("acme.v1"), Syntax: proto.String("proto3"), Dependency: []string{FileDur},
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Message"), Field: []*descriptorpb.FieldDescriptorProto{{
			Name: proto.String("time"), Number: proto.Int32(1), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), TypeName: proto.String(".google.protobuf.Duration"), JsonName: proto.String("time"),
		}}}},
	}
	methods := []*descriptorpb.MethodDescriptorProto{method(Unary, false, false), method(Stream, false, true), method(Chat, true, true)}
	for _, name := range more {
		methods = append(methods, method(name, false, false))
	}
	echo := &descriptorpb.FileDescriptorProto{
		Name: proto.String(FileEcho), Package: proto.String("acme.v1"), Syntax: proto.String("proto3"), Dependency: []string{FileTypes},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Echo"), Method: methods}},
	}
	duration := protodesc.ToFileDescriptorProto(durationpb.File_google_protobuf_duration_proto)
	return &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{duration, types, echo}}
}

func method(name string, client, server bool) *descriptorpb.MethodDescriptorProto {
	return &descriptorpb.MethodDescriptorProto{
		Name: proto.String(name), InputType: proto.String(".acme.v1.Message"), OutputType: proto.String(".acme.v1.Message"),
		ClientStreaming: proto.Bool(client), ServerStreaming: proto.Bool(server),
	}
}

// Files is [Set] as a server has it.
func Files(t testing.TB, more ...string) *protoregistry.Files {
	t.Helper()
	files, err := protodesc.NewFiles(Set(more...))
	require.NoError(t, err)
	return files
}

func serviceNames(files *protoregistry.Files) []string {
	var names []string
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			names = append(names, string(f.Services().Get(i).FullName()))
		}
		return true
	})
	return names
}
