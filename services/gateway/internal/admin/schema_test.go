package admin

import (
	"fmt"
	"testing"
	"time"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
)

// compiled compiles texts; what they import besides comes from the descriptor set.
func compiled(t testing.TB, s *adminv1.Schema) linker.Files {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{}
	require.NoError(t, proto.Unmarshal(s.DescriptorSet, set))
	texts, given := map[string]string{}, map[string]*descriptorpb.FileDescriptorProto{}
	var names []string
	for _, f := range s.Files {
		require.Empty(t, f.Problem)
		texts[f.Path], names = f.Text, append(names, f.Path)
	}
	for _, f := range set.File {
		given[f.GetName()] = f
	}
	c := protocompile.Compiler{Resolver: protocompile.CompositeResolver{
		&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(texts)},
		protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
			if f := given[path]; f != nil {
				return protocompile.SearchResult{Proto: f}, nil
			}
			return protocompile.SearchResult{}, protoregistry.NotFound
		}),
	}}
	files, err := c.Compile(t.Context(), names...)
	require.NoError(t, err)
	return files
}

// What is shown as text means what the descriptors say.
func TestSchemaAsText(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, name := range []string{"demo.v1.FaultService.FailTimes", "demo.v1.ImageService.ContactSheet"} {
		answer, err := f.GetTaskType(t.Context(), &adminv1.GetTaskTypeRequest{Name: name})
		require.NoError(t, err)
		set := &descriptorpb.FileDescriptorSet{}
		require.NoError(t, proto.Unmarshal(answer.Schema.DescriptorSet, set))
		whole, err := protodesc.NewFiles(set)
		require.NoError(t, err, "nothing else is needed")
		require.Len(t, answer.Schema.Files, 1, "of all that is imported only the author's own")
		for _, file := range compiled(t, answer.Schema) {
			want, err := whole.FindFileByPath(file.Path())
			require.NoError(t, err)
			requireSame(t, want, file)
		}
	}
	answer, err := f.GetTaskType(t.Context(), &adminv1.GetTaskTypeRequest{Name: "demo.v1.FaultService.FailTimes"})
	require.NoError(t, err)
	require.Contains(t, answer.Schema.Files[0].Text, "rpc FailTimes")
	require.Contains(t, answer.Schema.Files[0].Text, "(warren.task.v1.task)")
	page, err := f.ListTaskTypes(t.Context(), &adminv1.ListTaskTypesRequest{})
	require.NoError(t, err)
	require.NotEmpty(t, page.TaskTypes[0].OptionSources)
}

// requireSame compares what two files define, options included.
func requireSame(t testing.TB, want, got protoreflect.FileDescriptor) {
	t.Helper()
	encoded := func(f protoreflect.FileDescriptor) *descriptorpb.FileDescriptorProto {
		p := protodesc.ToFileDescriptorProto(f)
		p.SourceCodeInfo = nil
		// Options as linked types, whatever they were decoded as.
		b, err := proto.Marshal(p)
		require.NoError(t, err)
		out := &descriptorpb.FileDescriptorProto{}
		require.NoError(t, proto.Unmarshal(b, out))
		return out
	}
	require.True(t, proto.Equal(encoded(want), encoded(got)), "%v\n%v", encoded(want), encoded(got))
}

// Files that nobody would write, in a set that is valid.
func TestSchemaOfStrangeFiles(t *testing.T) {
	t.Parallel()
	message := ".acme.v1.M"
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("a\"b; c.proto"), Package: proto.String("acme.v1"), Syntax: proto.String("proto2"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: proto.String("M"),
			Field: []*descriptorpb.FieldDescriptorProto{{
				Name: proto.String("b"), Number: proto.Int32(1), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
				Type: descriptorpb.FieldDescriptorProto_TYPE_BYTES.Enum(), DefaultValue: proto.String(`\377\000"`),
			}},
		}},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("S"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: proto.String("Do"), InputType: &message, OutputType: &message},
		}}},
	}
	raw, err := proto.Marshal(file)
	require.NoError(t, err)
	bundle, err := catalogue.Build(catalogue.Announcement{Services: []string{"acme.v1.S"}, Files: [][]byte{raw}}, catalogue.Limits{})
	require.NoError(t, err)
	known := bundle.TaskTypes()[0]
	shown, err := schemaOf(&known)
	require.NoError(t, err)
	require.Len(t, shown.Files, 1)
	require.NotEmpty(t, shown.Files[0].Text+shown.Files[0].Problem)
	_, err = proto.Marshal(shown)
	require.NoError(t, err, "it is valid UTF-8")

	broken, err := printed(nil)
	require.ErrorContains(t, err, "can't be printed")
	require.Empty(t, broken)
}

func TestWhereOptionsComeFrom(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, err := f.UpdateTaskType(t.Context(), &adminv1.UpdateTaskTypeRequest{
		Name: "demo.v1.FaultService.FailTimes", Options: &taskv1.TaskOptions{Priority: taskv1.Priority_PRIORITY_LOW},
		UpdateMask: update(nil, "priority").UpdateMask, Reason: "it can wait",
	})
	require.NoError(t, err)
	answer, err := f.GetTaskType(t.Context(), &adminv1.GetTaskTypeRequest{Name: "demo.v1.FaultService.FailTimes"})
	require.NoError(t, err)
	got := map[string]adminv1.OptionOrigin{}
	for _, s := range answer.TaskType.OptionSources {
		got[s.Path] = s.Origin
	}
	require.Equal(t, adminv1.OptionOrigin_OPTION_ORIGIN_OPERATOR, got["priority"])
	require.Equal(t, adminv1.OptionOrigin_OPTION_ORIGIN_PROTO, got["retry.backoff"])
	require.Equal(t, adminv1.OptionOrigin_OPTION_ORIGIN_DEFAULT, got["timeout"])
	_, err = f.GetTaskType(t.Context(), &adminv1.GetTaskTypeRequest{Name: "demo.v1.FaultService.Nothing"})
	requireReason(t, err, codes.NotFound, notFound)
}

// A schema fits into what clients take, however large it is: its texts give way.
func TestLargeSchemaFitsAnAnswer(t *testing.T) {
	t.Parallel()
	message := func(name string, fields int) *descriptorpb.DescriptorProto {
		m := &descriptorpb.DescriptorProto{Name: proto.String(name)}
		for i := range fields {
			m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{
				Name: proto.String(fmt.Sprintf("a_field_whose_name_takes_so_many_bytes_%d", i)), Number: proto.Int32(int32(i + 1)),
				Type: descriptorpb.FieldDescriptorProto_TYPE_INT64.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			})
		}
		return m
	}
	large := &descriptorpb.FileDescriptorProto{Name: proto.String("acme/large.proto"), Package: proto.String("acme"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{message("Large", 10_000), message("Larger", 15_000), message("Largest", 15_000)}}
	small := &descriptorpb.FileDescriptorProto{Name: proto.String("acme/small.proto"), Package: proto.String("acme"), Syntax: proto.String("proto3"),
		Dependency: []string{"acme/large.proto"}, MessageType: []*descriptorpb.DescriptorProto{message("Small", 1)},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Things"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: proto.String("Do"), InputType: proto.String(".acme.Large"), OutputType: proto.String(".acme.Small")},
		}}}}
	a := catalogue.Announcement{Services: []string{"acme.Things"}}
	for _, file := range []*descriptorpb.FileDescriptorProto{large, small} {
		b, err := proto.Marshal(file)
		require.NoError(t, err)
		a.Files = append(a.Files, b)
	}
	bundle, err := catalogue.Build(a, catalogue.Limits{})
	require.NoError(t, err)
	known := catalogue.New()
	_, err = known.Put(bundle, time.Now())
	require.NoError(t, err)
	taskType, ok := known.Type("acme.Things.Do")
	require.True(t, ok)
	schema, err := schemaOf(&taskType)
	require.NoError(t, err)
	require.Less(t, proto.Size(schema), 4<<20-16<<10, "with room for the task type")
	require.Greater(t, len(schema.DescriptorSet), 2<<20)
	require.Len(t, schema.Files, 2)
	require.Contains(t, schema.Files[0].Problem, "descriptor_set")
	require.Contains(t, schema.Files[1].Text, "message Small", "what fits is shown")
}
