package catalogue_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/warrenmq/warren/pkg/catalogue"
)

// bytesField appends a length-delimited field.
func bytesField(b []byte, number protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), value)
}

func resizeType(t testing.TB) catalogue.TaskType {
	t.Helper()
	return mustBuild(t, imageAnnouncement(t)).TaskTypes()[0]
}

func TestValidateNamesTheField(t *testing.T) {
	t.Parallel()
	tt := resizeType(t)
	const bad = "\xff\xfe"
	item := string(bytesField(nil, 1, bad))
	good := string(bytesField(nil, 1, "good"))
	twoGood := bytesField(bytesField(nil, 3, good), 3, good)
	for name, tc := range map[string]struct {
		payload []byte
		field   string
		text    string
	}{
		"string":           {bytesField(nil, 1, bad), "url", "UTF-8"},
		"element":          {bytesField(twoGood, 3, item), "items[2].name", "UTF-8"},
		"map":              {bytesField(nil, 4, string(bytesField(nil, 2, item))), "labels.value.name", "UTF-8"},
		"map key":          {bytesField(nil, 4, item), "labels.key", "UTF-8"},
		"deep":             {bytesField(nil, 6, string(bytesField(nil, 6, string(bytesField(nil, 1, bad))))), "parent.parent.url", "UTF-8"},
		"packed":           {bytesField(nil, 5, "\x01\x80"), "sizes[0]", "cut short"},
		"packed fixed":     {bytesField(nil, 9, "\x01"), "checksums[0]", "cut short"},
		"varint too long":  {append(protowire.AppendTag(nil, 2, protowire.VarintType), strings.Repeat("\xff", 11)...), "width", "malformed"},
		"length":           {append(protowire.AppendTag(nil, 1, protowire.BytesType), 200, 1), "url", "cut short"},
		"tag":              {[]byte{0x80}, "", "cut short"},
		"field number 0":   {[]byte{0x02, 0x01}, "", "malformed"},
		"number too large": {protowire.AppendTag(nil, protowire.MaxValidNumber+1, protowire.VarintType), "", "malformed"},
		"end of no group":  {protowire.AppendTag(nil, 1, protowire.EndGroupType), "url", "malformed"},
		"unknown field":    {append(protowire.AppendTag(nil, 99, protowire.BytesType), 5), "", "unknown field 99: cut short"},
		"too deep":         {nested(10001), "parent.parent.parent", "nested too deeply"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tt.Validate(tc.payload)
			require.ErrorIs(t, err, catalogue.ErrPayloadUndecodable)
			require.ErrorContains(t, err, tc.text)
			require.ErrorContains(t, err, "acme.v1.ResizeRequest")
			var invalid *catalogue.PayloadError
			require.ErrorAs(t, err, &invalid)
			if name == "too deep" {
				require.True(t, strings.HasPrefix(invalid.Field, tc.field))
				return
			}
			require.Equal(t, tc.field, invalid.Field)
			require.Equal(t, "acme.v1.ImageService.Resize", invalid.Type)
			require.EqualValues(t, "acme.v1.ResizeRequest", invalid.Input)
		})
	}
}

// nested is a ResizeRequest with parents to a depth of levels, itself counted.
func nested(levels int) []byte {
	var b []byte
	for range levels - 1 {
		b = append(protowire.AppendVarint(protowire.AppendTag(nil, 6, protowire.BytesType), uint64(len(b))), b...)
	}
	return b
}

func TestValidateAccepts(t *testing.T) {
	t.Parallel()
	tt := resizeType(t)
	for name, payload := range map[string][]byte{
		"empty":              nil,
		"unknown field":      bytesField(nil, 99, "\xff"),
		"another wire type":  protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1),
		"packed":             bytesField(nil, 5, "\x01\x02"),
		"not packed":         protowire.AppendVarint(protowire.AppendTag(nil, 5, protowire.VarintType), 1),
		"garbage in an Any":  bytesField(nil, 7, string(bytesField(nil, 2, "\xff"))),
		"bytes not UTF-8":    bytesField(nil, 3, string(bytesField(nil, 2, "\xff"))),
		"as deep as allowed": nested(10000),
	} {
		require.NoError(t, tt.Validate(payload), name)
	}
}

func TestValidateAny(t *testing.T) {
	t.Parallel()
	tt := resizeType(t)
	require.NoError(t, tt.ValidateAny(&anypb.Any{TypeUrl: "type.googleapis.com/acme.v1.ResizeRequest"}))
	require.NoError(t, tt.ValidateAny(&anypb.Any{TypeUrl: "/acme.v1.ResizeRequest"}))
	require.ErrorIs(t, tt.ValidateAny(&anypb.Any{TypeUrl: "/acme.v1.ResizeRequest", Value: []byte{0x80}}), catalogue.ErrPayloadUndecodable)
	for _, payload := range []*anypb.Any{nil, {}, {TypeUrl: "type.googleapis.com/acme.v1.Item"}} {
		err := tt.ValidateAny(payload)
		require.ErrorIs(t, err, catalogue.ErrPayloadType)
		require.ErrorContains(t, err, "acme.v1.ResizeRequest")
	}
}

// proto2File has what only proto2 has: required fields, groups, extensions.
func proto2File() *fileProto {
	group := field("part", 2, typeGroup, repeated)
	group.TypeName = proto.String(".old.Order.Part")
	order := message("Order",
		field("id", 1, typeString, required), group, messageField("next", 3, optional, ".old.Order"))
	order.NestedType = []*messageProto{message("Part", field("name", 1, typeString, required))}
	order.ExtensionRange = []*descriptorpb.DescriptorProto_ExtensionRange{{Start: proto.Int32(100), End: proto.Int32(200)}}
	note := messageField("note", 100, repeated, ".old.Order")
	note.Extendee = proto.String(".old.Order")
	return &fileProto{
		Name: proto.String("old.proto"), Package: proto.String("old"),
		MessageType: []*messageProto{order},
		Extension:   []*fieldProto{note},
		Service:     []*descriptorpb.ServiceDescriptorProto{service("Orders", method("Place", ".old.Order", ".old.Order"))},
	}
}

func TestValidateProto2(t *testing.T) {
	t.Parallel()
	tt := mustBuild(t, announce(t, "old.Orders", proto2File())).TaskTypes()[0]
	order := bytesField(nil, 1, "id")
	part := func(content []byte) []byte {
		b := protowire.AppendTag(order, 2, protowire.StartGroupType)
		return protowire.AppendTag(append(b, content...), 2, protowire.EndGroupType)
	}
	require.NoError(t, tt.Validate(order))
	require.NoError(t, tt.Validate(bytesField(nil, 1, "\xff")), "proto2 does not check UTF-8")
	require.NoError(t, tt.Validate(part(bytesField(nil, 1, "name"))))
	require.NoError(t, tt.Validate(bytesField(bytesField(order, 3, ""), 3, string(order))), "what repeated occurrences have is merged")
	require.NoError(t, tt.Validate(bytesField(order, 100, string(order))))

	require.ErrorContains(t, tt.Validate(nil), "old.Order.id")
	require.ErrorContains(t, tt.Validate(part(nil)), "old.Order.Part.name")
	require.ErrorContains(t, tt.Validate(bytesField(order, 100, "")), "old.Order.id", "within an extension too")
	require.ErrorContains(t, tt.Validate(bytesField(order, 100, "\x80")), "field [old.note][0]")
	require.ErrorContains(t, tt.Validate(part([]byte{0x80})), "field part[0]")
	require.ErrorContains(t, tt.Validate(protowire.AppendTag(order, 2, protowire.StartGroupType)), "field part[0]: the payload can't be decoded: cut short")
}
