package catalogue_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/warrenmq/warren/pkg/catalogue"
)

const (
	typeBool     = descriptorpb.FieldDescriptorProto_TYPE_BOOL
	typeInt64    = descriptorpb.FieldDescriptorProto_TYPE_INT64
	typeUint64   = descriptorpb.FieldDescriptorProto_TYPE_UINT64
	typeSint32   = descriptorpb.FieldDescriptorProto_TYPE_SINT32
	typeSint64   = descriptorpb.FieldDescriptorProto_TYPE_SINT64
	typeFixed32  = descriptorpb.FieldDescriptorProto_TYPE_FIXED32
	typeSfixed64 = descriptorpb.FieldDescriptorProto_TYPE_SFIXED64
	typeFloat    = descriptorpb.FieldDescriptorProto_TYPE_FLOAT
	typeDouble   = descriptorpb.FieldDescriptorProto_TYPE_DOUBLE
	typeEnum     = descriptorpb.FieldDescriptorProto_TYPE_ENUM
)

func enumField(name string, number int32, of string) *fieldProto {
	f := field(name, number, typeEnum, optional)
	f.TypeName = &of
	return f
}

func enum(name string, values ...string) *descriptorpb.EnumDescriptorProto {
	e := &descriptorpb.EnumDescriptorProto{Name: &name}
	for i, v := range values {
		e.Value = append(e.Value, &descriptorpb.EnumValueDescriptorProto{Name: &v, Number: proto.Int32(int32(i))})
	}
	return e
}

// orderFile is what all changes are made to.
//
//	message Order {
//	  string id = 1; int32 count = 2; Line line = 3; repeated Line lines = 4; Color color = 5; map<string, Line> by_name = 6;
//	  oneof payment { string card = 7; string cash = 8; }
//	  optional string note = 9; repeated int32 sizes = 10; bytes raw = 11; double price = 12; fixed64 checksum = 13; Order parent = 14;
//	  google.protobuf.Timestamp at = 15;
//	  reserved 20 to 29, 40; reserved "old", "older";
//	}
//	message Line { string name = 1; sint32 delta = 2; Line next = 3; }
//	message Receipt { string id = 1; Line last = 2; }
//	enum Color { COLOR_UNSPECIFIED = 0; RED = 1; GREEN = 2; reserved 10 to 12; reserved "BLUE"; }
//	enum Paint { like Color, and WHITE = 3 }  // that of enum Outer.Color: RED = 1 only
//	service Orders { rpc Place(Order) returns (Receipt); rpc Track(Order) returns (stream Receipt); }
func orderFile() *fileProto {
	order := message("Order",
		field("id", 1, typeString, optional), field("count", 2, typeInt32, optional), messageField("line", 3, optional, ".acme.Line"),
		messageField("lines", 4, repeated, ".acme.Line"), enumField("color", 5, ".acme.Color"), messageField("by_name", 6, repeated, ".acme.Order.ByNameEntry"),
		field("card", 7, typeString, optional), field("cash", 8, typeString, optional), field("note", 9, typeString, optional),
		field("sizes", 10, typeInt32, repeated), field("raw", 11, typeBytes, optional), field("price", 12, typeDouble, optional),
		field("checksum", 13, typeFixed64, optional), messageField("parent", 14, optional, ".acme.Order"),
		messageField("at", 15, optional, ".google.protobuf.Timestamp"),
	)
	order.OneofDecl = []*descriptorpb.OneofDescriptorProto{{Name: proto.String("payment")}, {Name: proto.String("_note")}}
	order.Field[6].OneofIndex, order.Field[7].OneofIndex = proto.Int32(0), proto.Int32(0)
	order.Field[8].OneofIndex, order.Field[8].Proto3Optional = proto.Int32(1), proto.Bool(true)
	order.NestedType = []*messageProto{mapEntry("ByNameEntry", messageField("value", 2, optional, ".acme.Line"))}
	order.ReservedRange = []*descriptorpb.DescriptorProto_ReservedRange{{Start: proto.Int32(20), End: proto.Int32(30)}, {Start: proto.Int32(40), End: proto.Int32(41)}}
	order.ReservedName = []string{"old", "older"}
	color := enum("Color", "COLOR_UNSPECIFIED", "RED", "GREEN")
	color.ReservedRange = []*descriptorpb.EnumDescriptorProto_EnumReservedRange{{Start: proto.Int32(10), End: proto.Int32(12)}}
	color.ReservedName = []string{"BLUE"}
	outer := message("Outer")
	outer.EnumType = []*descriptorpb.EnumDescriptorProto{enum("Color", "COLOR_UNSPECIFIED", "RED", "GREEN", "WHITE")}
	lesser := message("Lesser")
	lesser.EnumType = []*descriptorpb.EnumDescriptorProto{enum("Color", "COLOR_UNSPECIFIED", "RED")}
	return &fileProto{
		Name: proto.String("acme/order.proto"), Package: proto.String("acme"), Syntax: proto.String("proto3"),
		Dependency: []string{"google/protobuf/timestamp.proto"},
		MessageType: []*messageProto{
			order,
			message("Line", field("name", 1, typeString, optional), field("delta", 2, typeSint32, optional), messageField("next", 3, optional, ".acme.Line")),
			message("Receipt", field("id", 1, typeString, optional), messageField("last", 2, optional, ".acme.Line")),
			message("Other", field("name", 1, typeString, optional)), outer, lesser,
		},
		EnumType: []*descriptorpb.EnumDescriptorProto{color, enum("Paint", "PAINT_UNSPECIFIED", "PAINT_RED", "PAINT_GREEN")},
		Service: []*descriptorpb.ServiceDescriptorProto{service("Orders",
			method("Place", ".acme.Order", ".acme.Receipt"),
			streams(method("Track", ".acme.Order", ".acme.Receipt"), false, true),
		)},
	}
}

// legacyFile has what only proto2 has.
//
//	message Legacy {
//	  required string id = 1; optional int32 size = 2 [default = 7]; optional string unit = 3 [default = "mm"]; optional group Part = 4 { … }
//	  extensions 100 to 199;
//	}
//	extend Legacy { optional int32 extra = 100; }
func legacyFile() *fileProto {
	legacy := message("Legacy", field("id", 1, typeString, required), field("size", 2, typeInt32, optional), field("unit", 3, typeString, optional),
		field("part", 4, typeGroup, optional), field("ratio", 5, typeFloat, optional), enumField("shape", 6, ".acme.Shape"))
	legacy.Field[1].DefaultValue, legacy.Field[2].DefaultValue = proto.String("7"), proto.String("mm")
	legacy.Field[3].TypeName = proto.String(".acme.Legacy.Part")
	legacy.Field[4].DefaultValue = proto.String("nan")
	legacy.NestedType = []*messageProto{message("Part", field("name", 1, typeString, optional))}
	legacy.ExtensionRange = []*descriptorpb.DescriptorProto_ExtensionRange{{Start: proto.Int32(100), End: proto.Int32(200)}}
	extra := field("extra", 100, typeInt32, optional)
	extra.Extendee = proto.String(".acme.Legacy")
	return &fileProto{
		Name: proto.String("acme/legacy.proto"), Package: proto.String("acme"), MessageType: []*messageProto{legacy}, Extension: []*fieldProto{extra},
		EnumType: []*descriptorpb.EnumDescriptorProto{enum("Shape", "ROUND", "FLAT")},
		Service:  []*descriptorpb.ServiceDescriptorProto{service("Olds", method("Keep", ".acme.Legacy", ".acme.Legacy"))},
	}
}

// without gives what has another name.
func without[D interface{ GetName() string }](list []D, name string) []D {
	var out []D
	for _, d := range list {
		if d.GetName() != name {
			out = append(out, d)
		}
	}
	return out
}

func drop(m *messageProto, name string) { m.Field = without(m.Field, name) }

// change is a change of a file, and what it breaks.
type change struct {
	name   string
	change func(f *fileProto, order, line *messageProto)
	// Each is `element.field RULE`; none is a change that is allowed.
	breaks []string
}

func orderChanges() []change {
	retype := func(m *messageProto, i int, kind descriptorpb.FieldDescriptorProto_Type) {
		m.Field[i].Type, m.Field[i].TypeName = kind.Enum(), nil
	}
	reserve := func(m *messageProto, number int32) {
		m.ReservedRange = append(m.ReservedRange, &descriptorpb.DescriptorProto_ReservedRange{Start: proto.Int32(number), End: proto.Int32(number + 1)})
	}
	return []change{
		{"nothing", func(*fileProto, *messageProto, *messageProto) {}, nil},

		// Fields come and go.
		{"add a field", func(_ *fileProto, m, _ *messageProto) {
			m.Field = append(m.Field, field("more", 50, typeString, optional))
		}, nil},
		{"add a field deep below", func(_ *fileProto, _, l *messageProto) {
			l.Field = append(l.Field, field("more", 50, typeString, optional))
		}, nil},
		{"rename a field", func(_ *fileProto, m, _ *messageProto) { m.Field[0].Name = proto.String("key") }, nil},
		{"change a JSON name", func(_ *fileProto, m, _ *messageProto) { m.Field[0].JsonName = proto.String("key") }, nil},
		{"delete a field", func(_ *fileProto, m, _ *messageProto) { drop(m, "count") }, []string{"acme.Order.count " + catalogue.RuleFieldDeleted}},
		{"delete a field and reserve its number", func(_ *fileProto, m, _ *messageProto) { drop(m, "count"); reserve(m, 2) }, nil},
		{"delete a field and reserve its name only", func(_ *fileProto, m, _ *messageProto) {
			drop(m, "count")
			m.ReservedName = append(m.ReservedName, "count")
		}, []string{"acme.Order.count " + catalogue.RuleFieldDeleted}},
		{"delete a field deep below", func(_ *fileProto, _, l *messageProto) { drop(l, "delta") }, []string{"acme.Line.delta " + catalogue.RuleFieldDeleted}},
		{"delete a field of the output", func(f *fileProto, _, _ *messageProto) { drop(f.MessageType[2], "id") }, []string{"acme.Receipt.id " + catalogue.RuleFieldDeleted}},
		{"delete a field of a message that no method has", func(f *fileProto, _, _ *messageProto) { drop(f.MessageType[3], "name") }, nil},
		{"renumber a field", func(_ *fileProto, m, _ *messageProto) { m.Field[1].Number = proto.Int32(51) }, []string{"acme.Order.count " + catalogue.RuleFieldDeleted}},
		{"swap the numbers of two fields", func(_ *fileProto, m, _ *messageProto) {
			m.Field[0].Number, m.Field[1].Number = m.Field[1].Number, m.Field[0].Number
		}, []string{"acme.Order.count " + catalogue.RuleFieldType, "acme.Order.id " + catalogue.RuleFieldType}},

		// Types.
		{"int32 to int64", func(_ *fileProto, m, _ *messageProto) { retype(m, 1, typeInt64) }, nil},
		{"int32 to uint64", func(_ *fileProto, m, _ *messageProto) { retype(m, 1, typeUint64) }, nil},
		{"int32 to bool", func(_ *fileProto, m, _ *messageProto) { retype(m, 1, typeBool) }, nil},
		{"int32 to sint32", func(_ *fileProto, m, _ *messageProto) { retype(m, 1, typeSint32) }, []string{"acme.Order.count " + catalogue.RuleFieldType}},
		{"int32 to fixed32", func(_ *fileProto, m, _ *messageProto) { retype(m, 1, typeFixed32) }, []string{"acme.Order.count " + catalogue.RuleFieldType}},
		{"int32 to string", func(_ *fileProto, m, _ *messageProto) { retype(m, 1, typeString) }, []string{"acme.Order.count " + catalogue.RuleFieldType}},
		{"int32 to an enum", func(_ *fileProto, m, _ *messageProto) { m.Field[1] = enumField("count", 2, ".acme.Color") }, []string{"acme.Order.count " + catalogue.RuleFieldType}},
		{"sint32 to sint64, deep below", func(_ *fileProto, _, l *messageProto) { retype(l, 1, typeSint64) }, nil},
		{"string to bytes", func(_ *fileProto, m, _ *messageProto) { retype(m, 0, typeBytes) }, nil},
		{"bytes to string", func(_ *fileProto, m, _ *messageProto) { retype(m, 10, typeString) }, []string{"acme.Order.raw " + catalogue.RuleFieldType}},
		{"fixed64 to sfixed64", func(_ *fileProto, m, _ *messageProto) { retype(m, 12, typeSfixed64) }, nil},
		{"fixed64 to double", func(_ *fileProto, m, _ *messageProto) { retype(m, 12, typeDouble) }, []string{"acme.Order.checksum " + catalogue.RuleFieldType}},
		{"double to float", func(_ *fileProto, m, _ *messageProto) { retype(m, 11, typeFloat) }, []string{"acme.Order.price " + catalogue.RuleFieldType}},
		{"a message to bytes", func(_ *fileProto, m, _ *messageProto) { retype(m, 2, typeBytes) }, []string{"acme.Order.line " + catalogue.RuleFieldType}},
		{"a message to another one", func(_ *fileProto, m, _ *messageProto) { m.Field[2].TypeName = proto.String(".acme.Other") }, []string{"acme.Order.line " + catalogue.RuleFieldType}},
		{"the value of a map to another type", func(_ *fileProto, m, _ *messageProto) { retype(m.NestedType[0], 1, typeString) }, []string{"acme.Order.ByNameEntry.value " + catalogue.RuleFieldType}},
		{"the key of a map to another type", func(_ *fileProto, m, _ *messageProto) { retype(m.NestedType[0], 0, typeInt32) }, []string{"acme.Order.ByNameEntry.key " + catalogue.RuleFieldType}},

		// Cardinality.
		{"one to many", func(_ *fileProto, m, _ *messageProto) { m.Field[1].Label = repeated.Enum() }, []string{"acme.Order.count " + catalogue.RuleFieldCardinality}},
		{"many to one", func(_ *fileProto, m, _ *messageProto) { m.Field[3].Label = optional.Enum() }, []string{"acme.Order.lines " + catalogue.RuleFieldCardinality}},
		{"packed to not packed", func(_ *fileProto, m, _ *messageProto) {
			m.Field[9].Options = &descriptorpb.FieldOptions{Packed: proto.Bool(false)}
		}, nil},
		{"presence lost", func(_ *fileProto, m, _ *messageProto) {
			m.Field[8].OneofIndex, m.Field[8].Proto3Optional, m.OneofDecl = nil, nil, m.OneofDecl[:1]
		}, nil},
		{"presence won", func(_ *fileProto, m, _ *messageProto) {
			m.OneofDecl = append(m.OneofDecl, &descriptorpb.OneofDescriptorProto{Name: proto.String("_count")})
			m.Field[1].OneofIndex, m.Field[1].Proto3Optional = proto.Int32(2), proto.Bool(true)
		}, nil},

		// Oneofs.
		{"into a oneof", func(_ *fileProto, m, _ *messageProto) {
			// The fields of a oneof stand together.
			m.Field = append([]*fieldProto{m.Field[0]}, append(m.Field[2:6:6], append([]*fieldProto{m.Field[1]}, m.Field[6:]...)...)...)
			m.Field[5].OneofIndex = proto.Int32(0)
		}, []string{"acme.Order.count " + catalogue.RuleFieldOneof}},
		{"out of a oneof", func(_ *fileProto, m, _ *messageProto) { m.Field[7].OneofIndex = nil }, []string{"acme.Order.cash " + catalogue.RuleFieldOneof}},
		{"to another oneof", func(_ *fileProto, m, _ *messageProto) {
			// The synthetic ones have to be the last.
			m.OneofDecl = append([]*descriptorpb.OneofDescriptorProto{{Name: proto.String("payment")}, {Name: proto.String("other")}}, m.OneofDecl[1:]...)
			m.Field[7].OneofIndex, m.Field[8].OneofIndex = proto.Int32(1), proto.Int32(2)
		}, []string{"acme.Order.cash " + catalogue.RuleFieldOneof}},
		{"a new field in a oneof", func(_ *fileProto, m, _ *messageProto) {
			more := field("cheque", 50, typeString, optional)
			more.OneofIndex = proto.Int32(0)
			m.Field = append(m.Field[:8:8], append([]*fieldProto{more}, m.Field[8:]...)...)
		}, nil},
		{"rename a oneof", func(_ *fileProto, m, _ *messageProto) { m.OneofDecl[0].Name = proto.String("pay") },
			[]string{"acme.Order.card " + catalogue.RuleFieldOneof, "acme.Order.cash " + catalogue.RuleFieldOneof}},

		// What is reserved.
		{"reserve more", func(_ *fileProto, m, _ *messageProto) { reserve(m, 30) }, nil},
		{"reserve in other pieces", func(_ *fileProto, m, _ *messageProto) {
			m.ReservedRange[0].End = proto.Int32(25)
			m.ReservedRange = append(m.ReservedRange, &descriptorpb.DescriptorProto_ReservedRange{Start: proto.Int32(25), End: proto.Int32(40)})
		}, nil},
		{"reserve less", func(_ *fileProto, m, _ *messageProto) { m.ReservedRange[0].End = proto.Int32(29) }, []string{"acme.Order " + catalogue.RuleMessageReserved}},
		{"reserve a name less", func(_ *fileProto, m, _ *messageProto) { m.ReservedName = m.ReservedName[:1] }, []string{"acme.Order " + catalogue.RuleMessageReserved}},
		{"use a reserved number", func(_ *fileProto, m, _ *messageProto) {
			m.ReservedRange = m.ReservedRange[:1]
			m.Field = append(m.Field, field("back", 40, typeString, optional))
		}, []string{"acme.Order " + catalogue.RuleMessageReserved}},

		// Enums.
		{"add a value", func(f *fileProto, _, _ *messageProto) {
			f.EnumType[0].Value = append(f.EnumType[0].Value, &descriptorpb.EnumValueDescriptorProto{Name: proto.String("PINK"), Number: proto.Int32(3)})
		}, nil},
		{"rename a value", func(f *fileProto, _, _ *messageProto) { f.EnumType[0].Value[1].Name = proto.String("ROUGE") }, nil},
		{"delete a value", func(f *fileProto, _, _ *messageProto) { f.EnumType[0].Value = f.EnumType[0].Value[:2] }, []string{"acme.Color.GREEN " + catalogue.RuleEnumValueDeleted}},
		{"delete a value and reserve its number", func(f *fileProto, _, _ *messageProto) {
			e := f.EnumType[0]
			e.Value = e.Value[:2]
			e.ReservedRange = append(e.ReservedRange, &descriptorpb.EnumDescriptorProto_EnumReservedRange{Start: proto.Int32(2), End: proto.Int32(2)})
		}, nil},
		{"renumber a value", func(f *fileProto, _, _ *messageProto) { f.EnumType[0].Value[2].Number = proto.Int32(4) }, []string{"acme.Color.GREEN " + catalogue.RuleEnumValueDeleted}},
		{"reserve fewer values", func(f *fileProto, _, _ *messageProto) { f.EnumType[0].ReservedRange[0].End = proto.Int32(11) }, []string{"acme.Color " + catalogue.RuleEnumReserved}},
		{"reserve fewer names of values", func(f *fileProto, _, _ *messageProto) { f.EnumType[0].ReservedName = nil }, []string{"acme.Color " + catalogue.RuleEnumReserved}},
		{"another enum", func(_ *fileProto, m, _ *messageProto) { m.Field[4].TypeName = proto.String(".acme.Paint") }, []string{"acme.Order.color " + catalogue.RuleFieldType}},
		{"an enum of the same name with more values", func(_ *fileProto, m, _ *messageProto) { m.Field[4].TypeName = proto.String(".acme.Outer.Color") }, nil},
		{"an enum of the same name with fewer values", func(_ *fileProto, m, _ *messageProto) { m.Field[4].TypeName = proto.String(".acme.Lesser.Color") },
			[]string{"acme.Order.color " + catalogue.RuleFieldType}},

		// Methods.
		{"add a method", func(f *fileProto, _, _ *messageProto) {
			f.Service[0].Method = append(f.Service[0].Method, method("More", ".acme.Other", ".acme.Other"))
		}, nil},
		{"delete a method", func(f *fileProto, _, _ *messageProto) { f.Service[0].Method = f.Service[0].Method[:1] }, nil},
		{"another input", func(f *fileProto, _, _ *messageProto) { f.Service[0].Method[0].InputType = proto.String(".acme.Other") }, []string{"acme.Orders.Place " + catalogue.RuleRequestType}},
		{"another output", func(f *fileProto, _, _ *messageProto) {
			f.Service[0].Method[0].OutputType = proto.String(".acme.Other")
		}, []string{"acme.Orders.Place " + catalogue.RuleResponseType}},
		{"one message to a stream", func(f *fileProto, _, _ *messageProto) { f.Service[0].Method[0].ServerStreaming = proto.Bool(true) }, []string{"acme.Orders.Place " + catalogue.RuleServerStreaming}},
		{"a stream to one message", func(f *fileProto, _, _ *messageProto) { f.Service[0].Method[1].ServerStreaming = nil }, []string{"acme.Orders.Track " + catalogue.RuleServerStreaming}},
		{"one message to a client's stream", func(f *fileProto, _, _ *messageProto) { f.Service[0].Method[0].ClientStreaming = proto.Bool(true) }, []string{"acme.Orders.Place " + catalogue.RuleClientStreaming}},
		{"another idempotency", func(f *fileProto, _, _ *messageProto) {
			f.Service[0].Method[0].Options = &descriptorpb.MethodOptions{IdempotencyLevel: descriptorpb.MethodOptions_IDEMPOTENT.Enum()}
		}, []string{"acme.Orders.Place " + catalogue.RuleIdempotency}},

		// Files.
		{"move to another file", func(f *fileProto, _, _ *messageProto) { f.Name = proto.String("acme/v2/order.proto") }, nil},
		{"deprecate and document", func(_ *fileProto, m, _ *messageProto) {
			m.Field[0].Options = &descriptorpb.FieldOptions{Deprecated: proto.Bool(true)}
		}, nil},
	}
}

func legacyChanges() []change {
	return []change{
		{"nothing", func(*fileProto, *messageProto, *messageProto) {}, nil},
		{"add a required field", func(_ *fileProto, m, _ *messageProto) {
			m.Field = append(m.Field, field("more", 50, typeString, required))
		},
			[]string{"acme.Legacy.more " + catalogue.RuleRequiredFields}},
		{"delete a required field and reserve it", func(_ *fileProto, m, _ *messageProto) {
			drop(m, "id")
			m.ReservedRange = []*descriptorpb.DescriptorProto_ReservedRange{{Start: proto.Int32(1), End: proto.Int32(2)}}
		}, []string{"acme.Legacy.id " + catalogue.RuleRequiredFields}},
		{"required to optional", func(_ *fileProto, m, _ *messageProto) { m.Field[0].Label = optional.Enum() },
			[]string{"acme.Legacy.id " + catalogue.RuleFieldCardinality, "acme.Legacy.id " + catalogue.RuleRequiredFields}},
		{"another default", func(_ *fileProto, m, _ *messageProto) { m.Field[1].DefaultValue = proto.String("8") }, []string{"acme.Legacy.size " + catalogue.RuleFieldDefault}},
		{"no default", func(_ *fileProto, m, _ *messageProto) { m.Field[2].DefaultValue = nil }, []string{"acme.Legacy.unit " + catalogue.RuleFieldDefault}},
		{"the same default of a wider type", func(_ *fileProto, m, _ *messageProto) { m.Field[1].Type = typeInt64.Enum() }, nil},
		{"the default NaN to another", func(_ *fileProto, m, _ *messageProto) { m.Field[4].DefaultValue = proto.String("0.5") }, []string{"acme.Legacy.ratio " + catalogue.RuleFieldDefault}},
		{"another default of an enum", func(_ *fileProto, m, _ *messageProto) { m.Field[5].DefaultValue = proto.String("FLAT") }, []string{"acme.Legacy.shape " + catalogue.RuleFieldDefault}},
		{"a group to a message", func(_ *fileProto, m, _ *messageProto) { m.Field[3].Type = typeMessage.Enum() }, []string{"acme.Legacy.part " + catalogue.RuleFieldType}},
		{"delete a field of a group", func(_ *fileProto, m, _ *messageProto) { m.NestedType[0].Field = nil }, []string{"acme.Legacy.Part.name " + catalogue.RuleFieldDeleted}},
		{"the type of an extension", func(f *fileProto, _, _ *messageProto) { f.Extension[0].Type = typeString.Enum() }, []string{"acme.extra " + catalogue.RuleFieldType}},
		{"delete an extension", func(f *fileProto, _, _ *messageProto) { f.Extension = nil }, nil},
	}
}

func everyType(string) bool { return true }

// breaks are the findings in short.
func breaks(found catalogue.Findings) []string {
	var out []string
	for _, f := range found.Named {
		name := f.Element
		if f.Field != "" {
			name += "." + f.Field
		}
		out = append(out, name+" "+f.Rule)
	}
	return out
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for service, of := range map[string]struct {
		file    func() *fileProto
		changes []change
	}{"acme.Orders": {orderFile, orderChanges()}, "acme.Olds": {legacyFile, legacyChanges()}} {
		for _, tc := range of.changes {
			t.Run(service+"/"+tc.name, func(t *testing.T) {
				t.Parallel()
				c := catalogue.New()
				mustPut(t, c, 1, announce(t, service, wellKnown()[1], of.file()))
				changed := of.file()
				second := changed.MessageType[0]
				if len(changed.MessageType) > 1 {
					second = changed.MessageType[1]
				}
				tc.change(changed, changed.MessageType[0], second)
				b := mustBuild(t, announce(t, service, wellKnown()[1], changed))
				found := c.Compare(b, at(2), everyType)
				require.ElementsMatch(t, tc.breaks, breaks(found), "%v", found.Named)
				require.Equal(t, len(tc.breaks), found.Total)
				for _, f := range found.Named {
					require.Equal(t, changed.GetName(), f.File)
					require.True(t, strings.HasPrefix(f.Type, service+"."), f.Type)
					require.Contains(t, f.String(), f.File+": "+f.Element)
					require.Contains(t, f.String(), "("+f.Rule+")")
				}
			})
		}
	}
}

func TestCompareFollowsTheOrderOfStarts(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	fewer := orderFile()
	drop(fewer.MessageType[0], "count")
	mustPut(t, c, 10, announce(t, "acme.Orders", wellKnown()[1], orderFile()))
	b := mustBuild(t, announce(t, "acme.Orders", wellKnown()[1], fewer))
	require.Equal(t, 1, c.Compare(b, at(11), everyType).Total)
	require.Zero(t, c.Compare(b, at(9), everyType).Total, "what is in force only adds to it")
	require.Zero(t, c.Compare(b, at(11), func(string) bool { return false }).Total)
}

// Each task type is compared with the bundle that defines it.
func TestCompareDuringARollingDeploy(t *testing.T) {
	t.Parallel()
	c := catalogue.New()
	older := orderFile()
	recent := orderFile()
	recent.Service[0].Method = recent.Service[0].Method[:1]
	recent.MessageType[0].Field = append(recent.MessageType[0].Field, field("more", 50, typeString, optional))
	mustPut(t, c, 1, announce(t, "acme.Orders", wellKnown()[1], older))
	mustPut(t, c, 2, announce(t, "acme.Orders", wellKnown()[1], recent))
	next := orderFile()
	require.Equal(t, []string{"acme.Order.more " + catalogue.RuleFieldDeleted},
		breaks(c.Compare(mustBuild(t, announce(t, "acme.Orders", wellKnown()[1], next)), at(3), everyType)), "of Place only; Track is as it was")
	_, found := c.Type("acme.Orders.Track")
	require.True(t, found)
}

func TestComparePackages(t *testing.T) {
	t.Parallel()
	file := func(pkg string, messages ...*messageProto) *fileProto {
		return &fileProto{Name: proto.String("c.proto"), Package: &pkg, Syntax: proto.String("proto3"), MessageType: messages}
	}
	c := catalogue.New()
	user := echoFile("user.proto", "acme", "Echoes", "text")
	user.Dependency = []string{"c.proto"}
	user.MessageType[0].Field = append(user.MessageType[0].Field, messageField("c", 2, optional, ".a.b.C"))
	mustPut(t, c, 1, announce(t, "acme.Echoes", file("a.b", message("C")), user))
	b := message("b")
	b.NestedType = []*messageProto{message("C")}
	require.Equal(t, []string{"a.b.C " + catalogue.RuleFilePackage},
		breaks(c.Compare(mustBuild(t, announce(t, "acme.Echoes", file("a", b), user)), at(2), everyType)))
}

func TestCompareNamesSomeAndCountsAll(t *testing.T) {
	t.Parallel()
	wide := func(fields int) *fileProto {
		f := echoFile("echo.proto", "acme", "Echoes", "text")
		for i := range fields {
			f.MessageType[0].Field = append(f.MessageType[0].Field, field(fmt.Sprint("f", i), int32(i)+2, typeString, optional))
		}
		return f
	}
	c := catalogue.New()
	mustPut(t, c, 1, announce(t, "acme.Echoes", wide(1000)))
	found := c.Compare(mustBuild(t, announce(t, "acme.Echoes", wide(0))), at(2), everyType)
	require.Len(t, found.Named, catalogue.MaxFindings)
	require.Equal(t, 1000, found.Total)
}

// Neither deep nesting nor many ranges make a comparison take long.
func TestCompareSurvivesWhatGrows(t *testing.T) {
	t.Parallel()
	deep := func(last descriptorpb.FieldDescriptorProto_Type) *fileProto {
		f := echoFile("echo.proto", "acme", "Echoes", "text")
		const messages = 20_000
		f.MessageType[0].Field = append(f.MessageType[0].Field, messageField("next", 2, optional, ".acme.M0"))
		for i := range messages {
			next := messageField("next", 1, optional, fmt.Sprintf(".acme.M%d", i+1))
			if i == messages-1 {
				next = field("next", 1, last, optional)
			}
			f.MessageType = append(f.MessageType, message(fmt.Sprint("M", i), next))
		}
		for i := range int32(50_000) {
			f.MessageType[0].ReservedRange = append(f.MessageType[0].ReservedRange,
				&descriptorpb.DescriptorProto_ReservedRange{Start: proto.Int32(10 + 2*i), End: proto.Int32(11 + 2*i)})
		}
		return f
	}
	c := catalogue.New()
	mustPut(t, c, 1, announce(t, "acme.Echoes", deep(typeString)))
	found := c.Compare(mustBuild(t, announce(t, "acme.Echoes", deep(typeInt32))), at(2), everyType)
	require.Equal(t, []string{"acme.M19999.next " + catalogue.RuleFieldType}, breaks(found))
}

func TestCompareNamesEachTaskType(t *testing.T) {
	t.Parallel()
	wide := func(fields int) *fileProto {
		f := echoFile("echo.proto", "acme", "Echoes", "text")
		f.Service[0].Method = nil
		for m := range 3 {
			name := fmt.Sprint("In", m)
			in := message(name)
			for i := range fields {
				in.Field = append(in.Field, field(fmt.Sprint("f", i), int32(i)+1, typeString, optional))
			}
			f.MessageType = append(f.MessageType, in)
			f.Service[0].Method = append(f.Service[0].Method, method(fmt.Sprint("M", m), ".acme."+name, ".acme."+name))
		}
		return f
	}
	c := catalogue.New()
	mustPut(t, c, 1, announce(t, "acme.Echoes", wide(1000)))
	found := c.Compare(mustBuild(t, announce(t, "acme.Echoes", wide(0))), at(2), everyType)
	require.Equal(t, 3000, found.Total)
	require.Len(t, found.Named, catalogue.MaxFindings+2)
	require.Equal(t, "acme.Echoes.M1", found.Named[catalogue.MaxFindings].Type)
	require.Equal(t, "acme.Echoes.M2", found.Named[catalogue.MaxFindings+1].Type)
}

func TestCompareWithAnotherVersion(t *testing.T) {
	t.Parallel()
	fewer := orderFile()
	drop(fewer.MessageType[0], "count")
	all, few := mustBuild(t, announce(t, "acme.Orders", wellKnown()[1], orderFile())), mustBuild(t, announce(t, "acme.Orders", wellKnown()[1], fewer))
	require.Equal(t, []string{"acme.Order.count " + catalogue.RuleFieldDeleted}, breaks(few.CompareWith(all, at(2), at(1), everyType)))
	require.Zero(t, few.CompareWith(all, at(1), at(2), everyType).Total, "the other one only adds to it")
	require.Zero(t, few.CompareWith(all, at(2), at(1), func(string) bool { return false }).Total)
	require.Zero(t, all.CompareWith(all, at(2), at(1), everyType).Total)
}

func TestCompareCutsReservedNames(t *testing.T) {
	t.Parallel()
	long := orderFile()
	long.MessageType[0].ReservedName = append(long.MessageType[0].ReservedName, strings.Repeat("x", 100))
	c := catalogue.New()
	mustPut(t, c, 1, announce(t, "acme.Orders", wellKnown()[1], long))
	found := c.Compare(mustBuild(t, announce(t, "acme.Orders", wellKnown()[1], orderFile())), at(2), everyType)
	require.Len(t, found.Named, 1)
	require.Contains(t, found.Named[0].Change, `"`+strings.Repeat("x", 60)+`"`)
}
