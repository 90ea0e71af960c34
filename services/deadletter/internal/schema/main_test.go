package schema

import (
	"context"
	"sync"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	_ "github.com/warrenmq/warren/gen/demo/v1"
	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	_ "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway answers as the gateway does, from a catalogue.
type gateway struct {
	mu    sync.Mutex
	types map[string]catalogue.TaskType
	asked int
	err   error
	// wait holds answers back until it is closed; nil does not.
	wait chan struct{}
}

func (g *gateway) GetTaskType(ctx context.Context, r *adminv1.GetTaskTypeRequest, _ ...grpc.CallOption) (*adminv1.GetTaskTypeResponse, error) {
	g.mu.Lock()
	g.asked++
	t, ok := g.types[r.Name]
	wait, err := g.wait, g.err
	g.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, status.Error(codes.NotFound, "none")
	}
	set, err := t.DescriptorSet()
	return &adminv1.GetTaskTypeResponse{TaskType: &adminv1.TaskType{Name: t.Name}, Schema: &adminv1.Schema{DescriptorSet: set}}, err
}

func (g *gateway) GetServerInfo(context.Context, *adminv1.GetServerInfoRequest, ...grpc.CallOption) (*adminv1.GetServerInfoResponse, error) {
	return &adminv1.GetServerInfoResponse{Server: &adminv1.ServerInfo{Limits: &adminv1.ServerLimits{MaxPayloadBytes: 1000}}}, g.err
}

func (g *gateway) put(b *catalogue.Bundle) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range b.TaskTypes() {
		g.types[t.Name] = t
	}
}

func (g *gateway) times() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked
}

func newGateway(t testing.TB) *gateway {
	t.Helper()
	g := &gateway{types: map[string]catalogue.TaskType{}}
	a, err := catalogue.Collect(nil, "demo.v1.FaultService", "demo.v1.ImageService")
	require.NoError(t, err)
	b, err := catalogue.Build(a, catalogue.Limits{})
	require.NoError(t, err)
	g.put(b)
	g.put(acme(t, 3))
	return g
}

const typeSay = "acme.Echoes.Say"

// acme defines acme.Echoes.Say, whose input has items with names of so many characters,
// named items by a map, a count that a predefined rule wants to be even, an Any, and a
// duration.
func acme(t testing.TB, maxName uint64) *catalogue.Bundle {
	t.Helper()
	const optional, repeated = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL, descriptorpb.FieldDescriptorProto_LABEL_REPEATED
	const text, message, integer = descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, descriptorpb.FieldDescriptorProto_TYPE_INT32
	field := func(name string, number int32, label descriptorpb.FieldDescriptorProto_Label, of descriptorpb.FieldDescriptorProto_Type, typeName string) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: &number, Label: &label, Type: &of}
		if typeName != "" {
			f.TypeName = &typeName
		}
		return f
	}
	short := new(descriptorpb.FieldOptions)
	proto.SetExtension(short, validate.E_Field, &validate.FieldRules{Type: &validate.FieldRules_String_{String_: &validate.StringRules{MaxLen: &maxName}}})
	name := field("name", 1, optional, text, "")
	name.Options = short
	count := field("count", 3, optional, integer, "")
	count.Options = new(descriptorpb.FieldOptions)
	proto.SetExtension(count.Options, validate.E_Field, evenRules(t))
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("acme.proto"), Package: proto.String("acme"), Syntax: proto.String("proto3"),
		Dependency: []string{"buf/validate/validate.proto", "acme_rules.proto", "google/protobuf/any.proto", "google/protobuf/duration.proto"},
		MessageType: []*descriptorpb.DescriptorProto{
			{
				Name: proto.String("Echo"), Field: []*descriptorpb.FieldDescriptorProto{
					field("items", 1, repeated, message, ".acme.Item"), field("named_items", 2, repeated, message, ".acme.Echo.NamedItemsEntry"), count,
					field("detail", 4, optional, message, ".google.protobuf.Any"), field("delay", 5, optional, message, ".google.protobuf.Duration"),
				},
				NestedType: []*descriptorpb.DescriptorProto{{
					Name: proto.String("NamedItemsEntry"), Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
					Field: []*descriptorpb.FieldDescriptorProto{field("key", 1, optional, text, ""), field("value", 2, optional, message, ".acme.Item")},
				}},
			},
			{Name: proto.String("Item"), Field: []*descriptorpb.FieldDescriptorProto{name, field("size", 2, optional, integer, "")}},
		},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Echoes"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: proto.String("Say"), InputType: proto.String(".acme.Echo"), OutputType: proto.String(".acme.Echo")},
		}}},
	}
	encoded, err := proto.Marshal(file)
	require.NoError(t, err)
	a, err := catalogue.Collect(nil, "warren.task.v1.TaskService")
	require.NoError(t, err)
	b, err := catalogue.Build(catalogue.Announcement{Services: []string{"acme.Echoes"}, Files: append(a.Files, rulesFile(t), encoded)}, catalogue.Limits{})
	require.NoError(t, err)
	require.Empty(t, b.Refusals())
	return b
}

const evenNumber = 77_001

// rulesFile defines a predefined rule, (acme.even), as an extension of Int32Rules.
func rulesFile(t testing.TB) []byte {
	t.Helper()
	options := new(descriptorpb.FieldOptions)
	proto.SetExtension(options, validate.E_Predefined, &validate.PredefinedRules{Cel: []*validate.Rule{{
		Id: proto.String("int32.even"), Message: proto.String("must be even"), Expression: proto.String("!rule || this % 2 == 0"),
	}}})
	b, err := proto.Marshal(&descriptorpb.FileDescriptorProto{
		Name: proto.String("acme_rules.proto"), Package: proto.String("acme"), Syntax: proto.String("proto2"), Dependency: []string{"buf/validate/validate.proto"},
		Extension: []*descriptorpb.FieldDescriptorProto{{
			Name: proto.String("even"), Number: proto.Int32(evenNumber), Extendee: proto.String(".buf.validate.Int32Rules"),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: descriptorpb.FieldDescriptorProto_TYPE_BOOL.Enum(), Options: options,
		}},
	})
	require.NoError(t, err)
	return b
}

// evenRules are rules with (acme.even), as one who does not know it decodes them.
func evenRules(t testing.TB) *validate.FieldRules {
	t.Helper()
	rules := &validate.Int32Rules{}
	encoded := protowire.AppendVarint(protowire.AppendTag(nil, evenNumber, protowire.VarintType), 1)
	require.NoError(t, proto.Unmarshal(encoded, rules))
	return &validate.FieldRules{Type: &validate.FieldRules_Int32{Int32: rules}}
}
