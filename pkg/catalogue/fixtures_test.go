package catalogue_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/warrenmq/warren/pkg/catalogue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	typeString  = descriptorpb.FieldDescriptorProto_TYPE_STRING
	typeBytes   = descriptorpb.FieldDescriptorProto_TYPE_BYTES
	typeInt32   = descriptorpb.FieldDescriptorProto_TYPE_INT32
	typeFixed64 = descriptorpb.FieldDescriptorProto_TYPE_FIXED64
	typeMessage = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	typeGroup   = descriptorpb.FieldDescriptorProto_TYPE_GROUP

	optional = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
	required = descriptorpb.FieldDescriptorProto_LABEL_REQUIRED
	repeated = descriptorpb.FieldDescriptorProto_LABEL_REPEATED
)

type (
	fileProto    = descriptorpb.FileDescriptorProto
	messageProto = descriptorpb.DescriptorProto
	fieldProto   = descriptorpb.FieldDescriptorProto
	methodProto  = descriptorpb.MethodDescriptorProto
)

func field(name string, number int32, kind descriptorpb.FieldDescriptorProto_Type, label descriptorpb.FieldDescriptorProto_Label) *fieldProto {
	return &fieldProto{Name: &name, Number: &number, Type: &kind, Label: &label}
}

func messageField(name string, number int32, label descriptorpb.FieldDescriptorProto_Label, of string) *fieldProto {
	f := field(name, number, typeMessage, label)
	f.TypeName = &of
	return f
}

func message(name string, fields ...*fieldProto) *messageProto {
	return &messageProto{Name: &name, Field: fields}
}

func mapEntry(name string, value *fieldProto) *messageProto {
	m := message(name, field("key", 1, typeString, optional), value)
	m.Options = &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)}
	return m
}

func method(name, input, output string) *methodProto {
	return &methodProto{Name: &name, InputType: &input, OutputType: &output}
}

func streams(m *methodProto, client, server bool) *methodProto {
	m.ClientStreaming, m.ServerStreaming = proto.Bool(client), proto.Bool(server)
	return m
}

func service(name string, methods ...*methodProto) *descriptorpb.ServiceDescriptorProto {
	return &descriptorpb.ServiceDescriptorProto{Name: &name, Method: methods}
}

// imageFile is what a user's file looks like.
func imageFile() *fileProto {
	request := message("ResizeRequest",
		field("url", 1, typeString, optional),
		field("width", 2, typeInt32, optional),
		messageField("items", 3, repeated, ".acme.v1.Item"),
		messageField("labels", 4, repeated, ".acme.v1.ResizeRequest.LabelsEntry"),
		field("sizes", 5, typeInt32, repeated),
		messageField("parent", 6, optional, ".acme.v1.ResizeRequest"),
		messageField("extra", 7, optional, ".google.protobuf.Any"),
		messageField("at", 8, optional, ".google.protobuf.Timestamp"),
		field("checksums", 9, typeFixed64, repeated),
	)
	request.NestedType = []*messageProto{mapEntry("LabelsEntry", messageField("value", 2, optional, ".acme.v1.Item"))}
	return &fileProto{
		Name:       proto.String("acme/v1/image.proto"),
		Package:    proto.String("acme.v1"),
		Syntax:     proto.String("proto3"),
		Dependency: []string{"google/protobuf/any.proto", "google/protobuf/timestamp.proto"},
		MessageType: []*messageProto{
			request,
			message("Item", field("name", 1, typeString, optional), field("data", 2, typeBytes, optional)),
			message("ResizeResponse", field("url", 1, typeString, optional)),
		},
		Service: []*descriptorpb.ServiceDescriptorProto{service("ImageService",
			method("Resize", ".acme.v1.ResizeRequest", ".acme.v1.ResizeResponse"),
			streams(method("Transcode", ".acme.v1.ResizeRequest", ".acme.v1.ResizeResponse"), false, true),
			streams(method("Upload", ".acme.v1.ResizeRequest", ".acme.v1.ResizeResponse"), true, false),
			streams(method("Chat", ".acme.v1.ResizeRequest", ".acme.v1.ResizeResponse"), true, true),
		)},
	}
}

// wellKnown are the files that imageFile imports.
func wellKnown() []*fileProto {
	return []*fileProto{
		protodesc.ToFileDescriptorProto(anypb.File_google_protobuf_any_proto),
		protodesc.ToFileDescriptorProto(timestamppb.File_google_protobuf_timestamp_proto),
	}
}

func encode(t testing.TB, files ...*fileProto) [][]byte {
	t.Helper()
	var out [][]byte
	for _, file := range files {
		raw, err := proto.Marshal(file)
		require.NoError(t, err)
		out = append(out, raw)
	}
	return out
}

func announce(t testing.TB, service string, files ...*fileProto) catalogue.Announcement {
	t.Helper()
	return catalogue.Announcement{Services: []string{service}, Files: encode(t, files...)}
}

func imageAnnouncement(t testing.TB) catalogue.Announcement {
	t.Helper()
	return announce(t, "acme.v1.ImageService", append(wellKnown(), imageFile())...)
}

func mustBuild(t testing.TB, a catalogue.Announcement) *catalogue.Bundle {
	t.Helper()
	b, err := catalogue.Build(a, catalogue.Limits{})
	require.NoError(t, err)
	return b
}

// at is the start of a program, so many seconds after the first.
func at(second int) time.Time { return time.Unix(1_800_000_000+int64(second), 0) }

// mustPut puts what a program announces that was started at a second.
func mustPut(t testing.TB, c *catalogue.Catalogue, second int, a catalogue.Announcement) *catalogue.Bundle {
	t.Helper()
	b := mustBuild(t, a)
	_, err := c.Put(b, at(second))
	require.NoError(t, err)
	return b
}

// echoFile has a service of one method over one message, whose only field is
// named so that bundles can be told apart.
func echoFile(path, pkg, service, fieldName string) *fileProto {
	return &fileProto{
		Name:        &path,
		Package:     &pkg,
		Syntax:      proto.String("proto3"),
		MessageType: []*messageProto{message("Echo", field(fieldName, 1, typeString, optional))},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name:   &service,
			Method: []*methodProto{method("Say", fmt.Sprintf(".%s.Echo", pkg), fmt.Sprintf(".%s.Echo", pkg))},
		}},
	}
}

func typeNames(types []catalogue.TaskType) []string {
	var out []string
	for _, t := range types {
		out = append(out, t.Name)
	}
	return out
}
