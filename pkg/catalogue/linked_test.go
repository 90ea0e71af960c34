package catalogue_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/structpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
)

func hostileFile(path, pkg string, messages ...*messageProto) *fileProto {
	return &fileProto{Name: &path, Package: &pkg, Syntax: proto.String("proto3"), MessageType: messages}
}

// option is an extension of the options of fields or messages.
func option(extendee, name string, number int32) *fileProto {
	ext := field(name, number, typeString, optional)
	ext.Extendee = &extendee
	f := hostileFile("opt.proto", "evil")
	f.Dependency, f.Extension = []string{"google/protobuf/descriptor.proto"}, []*fieldProto{ext}
	return f
}

func TestBuildRefusesOtherMeaningsOfKnownNames(t *testing.T) {
	t.Parallel()
	timestamp := wellKnown()[1]
	timestamp.MessageType[0].Field = timestamp.MessageType[0].Field[:1]
	value := protodesc.ToFileDescriptorProto(structpb.File_google_protobuf_struct_proto)
	value.MessageType[1].Field[0].Type = typeString.Enum()
	value.MessageType[1].Field[0].TypeName = nil
	validateProto := validateFiles()
	for _, f := range validateProto {
		if f.GetPackage() == "buf.validate" {
			for _, ext := range f.Extension {
				ext.Type, ext.TypeName = typeString.Enum(), nil
			}
		}
	}
	enumToo := hostileFile("any.proto", "google.protobuf")
	enumToo.EnumType = []*descriptorpb.EnumDescriptorProto{enum("Any", "NONE")}
	for name, tc := range map[string]struct {
		files []*fileProto
		want  string
	}{
		"a field less":     {[]*fileProto{timestamp}, "google.protobuf.Timestamp"},
		"another type":     {[]*fileProto{value}, "google.protobuf.Value"},
		"an empty message": {[]*fileProto{hostileFile("google/protobuf/any.proto", "google.protobuf", message("Any"))}, "google.protobuf.Any"},
		"under another path": {[]*fileProto{hostileFile("mine.proto", "google.protobuf", message("Duration", field("seconds", 1, typeString, optional)))},
			"google.protobuf.Duration"},
		"an enum":     {[]*fileProto{enumToo}, "google.protobuf.Any"},
		"a status":    {[]*fileProto{hostileFile("s.proto", "google.rpc", message("Status", field("code", 1, typeString, optional)))}, "google.rpc.Status"},
		"ours":        {[]*fileProto{hostileFile("t.proto", "warren.task.v1", message("TaskOptions", field("timeout", 1, typeString, optional)))}, "warren.task.v1.TaskOptions"},
		"gRPC's":      {[]*fileProto{hostileFile("h.proto", "grpc.health.v1", message("HealthCheckRequest", field("service", 1, typeInt32, optional)))}, "grpc.health.v1.HealthCheckRequest"},
		"our package": {[]*fileProto{hostileFile("h.proto", "grpc", message("reflection"), message("health")), hostileFile("i.proto", "", message("grpc"))}, "grpc"},
		"a rule of fields": {[]*fileProto{descriptorFile(), option(".google.protobuf.FieldOptions", "mine", 1159)},
			"evil.mine of google.protobuf.FieldOptions has the number 1159 of buf.validate.field"},
		"a rule of messages":          {[]*fileProto{descriptorFile(), option(".google.protobuf.MessageOptions", "mine", 1159)}, "buf.validate.message"},
		"a predefined rule":           {[]*fileProto{descriptorFile(), option(".google.protobuf.FieldOptions", "mine", 1160)}, "buf.validate.predefined"},
		"rules that are other things": {validateProto, "buf/validate/validate.proto"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := catalogue.Build(announce(t, "acme.Echoes", append(tc.files, echoFile("echo.proto", "acme", "Echoes", "text"))...), catalogue.Limits{})
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestBuildTakesOtherVersionsOfKnownNames(t *testing.T) {
	t.Parallel()
	older := descriptorFile()
	for _, m := range older.MessageType {
		if m.GetName() == "FieldOptions" {
			drop(m, "retention")
		}
	}
	newer := protodesc.ToFileDescriptorProto(taskv1.File_warren_task_v1_task_proto)
	newer.MessageType[0].Field = append(newer.MessageType[0].Field, field("something_new", 4000, typeString, optional))
	deps := hostileFile("x.proto", "google.type", message("Money", field("units", 1, typeInt64, optional)))
	collected, err := catalogue.Collect(nil, "warren.task.v1.TaskService")
	require.NoError(t, err)
	for i, raw := range collected.Files {
		var f fileProto
		require.NoError(t, proto.Unmarshal(raw, &f))
		switch f.GetName() {
		case newer.GetName():
			collected.Files[i] = encode(t, newer)[0]
		case older.GetName():
			collected.Files[i] = encode(t, older)[0]
		}
	}
	collected.Files = append(collected.Files, encode(t, deps, echoFile("echo.proto", "acme", "Echoes", "text"))...)
	collected.Services = []string{"acme.Echoes"}
	b, err := catalogue.Build(collected, catalogue.Limits{})
	require.NoError(t, err)
	require.Equal(t, []string{"acme.Echoes.Say"}, typeNames(b.TaskTypes()))
}

func TestBuildRefusesHostileNames(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]string{
		"control character": "Ech\x1b[2Jo", "newline": "Echo\nEcho", "quote": `Echo"`, "slash": "Echo/Say", "dot": "Echo.Say", "space": "Echo Say",
		"empty": "", "digit": "1Echo", "not ASCII": "Échò", "direction": "Echo\u202e", "not UTF-8": "Echo\xff", "long": strings.Repeat("E", 10_000),
	} {
		for where, change := range map[string]func(*fileProto){
			"package": func(f *fileProto) { f.Package = proto.String("acme." + bad) },
			"message": func(f *fileProto) { f.MessageType = append(f.MessageType, message(bad)) },
			"field":   func(f *fileProto) { f.MessageType[0].Field[0].Name = &bad },
			"service": func(f *fileProto) { f.Service = append(f.Service, service(bad)) },
			"method":  func(f *fileProto) { f.Service[0].Method[0].Name = &bad },
			"enum":    func(f *fileProto) { f.EnumType = append(f.EnumType, enum(bad, "A")) },
			"value":   func(f *fileProto) { f.EnumType = append(f.EnumType, enum("E", bad)) },
			"oneof": func(f *fileProto) {
				f.MessageType[0].OneofDecl = []*descriptorpb.OneofDescriptorProto{{Name: &bad}}
				f.MessageType[0].Field[0].OneofIndex = proto.Int32(0)
			},
		} {
			f := echoFile("echo.proto", "acme", "Echoes", "text")
			change(f)
			raw, err := proto.Marshal(f)
			if err != nil {
				continue // The encoder refuses what is not UTF-8 itself.
			}
			_, err = catalogue.Build(catalogue.Announcement{Services: []string{"acme.Echoes"}, Files: [][]byte{raw}}, catalogue.Limits{})
			require.Error(t, err, "%s in %s", name, where)
			require.Less(t, len(err.Error()), 30_000)
			require.NotContains(t, err.Error(), "\x1b")
		}
	}
}
