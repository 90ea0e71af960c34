package catalogue_test

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
)

// FuzzBuild: whatever the bytes, Build answers, and what it builds can be used.
func FuzzBuild(f *testing.F) {
	f.Add("acme.v1.ImageService", encode(f, imageFile())[0], encode(f, wellKnown()[0])[0])
	f.Add("acme.Echoes", encode(f, optionedFile(unknownOptions(f, &taskv1.TaskOptions{Priority: 3})))[0], encode(f, descriptorFile())[0])
	f.Add("old.Orders", encode(f, proto2File())[0], []byte(nil))
	f.Add("acme.Echoes", encode(f, editionFile())[0], []byte(nil))
	ruled := ruledFile(celMessage(message("Echo", messageField("items", 1, repeated, ".acme.Echo"), field("name", 2, typeString, optional)),
		"this.items.all(x, this.items.exists(y, y.name == x.name))"))
	ruled.Dependency = nil
	f.Add("acme.Echoes", encode(f, ruled)[0], []byte(nil))
	f.Add("acme.Orders", encode(f, orderFile())[0], []byte(nil))
	f.Add("acme.Olds", encode(f, legacyFile())[0], encode(f, orderFile())[0])
	f.Add("acme.Echoes", encode(f, option(".google.protobuf.FieldOptions", "mine", 1159))[0], encode(f, descriptorFile())[0])
	timestamp := encode(f, wellKnown()[1])[0]
	f.Fuzz(func(t *testing.T, service string, a, b []byte) {
		announcement := catalogue.Announcement{Services: []string{service}, Files: [][]byte{timestamp, a}}
		if len(b) > 0 {
			announcement.Files = append(announcement.Files, b)
		}
		bundle, err := catalogue.Build(announcement, catalogue.Limits{MaxBytes: 1 << 20})
		if err != nil {
			return
		}
		c := catalogue.New()
		if _, err := c.Put(bundle, at(1)); err != nil {
			t.Fatal(err)
		}
		if again, err := catalogue.Build(announcement, catalogue.Limits{}); err != nil {
			t.Fatal(err)
		} else if found := c.Compare(again, at(2), everyType); found.Total != 0 {
			t.Fatalf("it does not go with itself: %v", found.Named)
		}
		for _, tt := range c.Types() {
			_ = tt.Validate(a)
			_ = tt.Timeout()
			_ = tt.Priority()
			_ = protodesc.ToDescriptorProto(tt.Input)
		}
	})
}

// FuzzValidate: Validate and the decoder agree about every payload.
func FuzzValidate(f *testing.F) {
	types := []catalogue.TaskType{
		resizeType(f),
		mustBuild(f, announce(f, "old.Orders", proto2File())).TaskTypes()[0],
		mustBuild(f, announce(f, "acme.Echoes", editionFile())).TaskTypes()[0],
	}
	f.Add(uint8(0), bytesField(bytesField(nil, 1, "url"), 3, string(bytesField(nil, 1, "item"))))
	f.Add(uint8(0), bytesField(bytesField(nil, 4, string(bytesField(nil, 1, "key"))), 5, "\x01\x02"))
	f.Add(uint8(0), bytesField(bytesField(nil, 6, string(bytesField(nil, 1, "\xff"))), 9, "12345678"))
	f.Add(uint8(1), bytesField(bytesField(nil, 1, "id"), 100, string(bytesField(nil, 1, "id"))))
	f.Add(uint8(1), []byte("\x0a\x02id\x13\x0a\x01n\x14"))
	f.Add(uint8(2), bytesField(bytesField(nil, 1, "\xff"), 2, "\xff"))
	f.Add(uint8(2), []byte("\x1b\x0a\x01t\x12\x01t\x1c"))
	f.Fuzz(func(t *testing.T, which uint8, payload []byte) {
		tt := types[int(which)%len(types)]
		want := proto.UnmarshalOptions{Resolver: tt.Resolver()}.Unmarshal(payload, dynamicpb.NewMessage(tt.Input))
		got := tt.Validate(payload)
		if (got == nil) != (want == nil) {
			t.Fatalf("%s: Validate says %v, the decoder %v", tt.Name, got, want)
		}
	})
}

// editionFile has a message of edition 2023 whose second field is not checked for
// UTF-8 and whose third is delimited like a group.
func editionFile() *fileProto {
	file := echoFile("echo.proto", "acme", "Echoes", "text")
	file.Syntax, file.Edition = proto.String("editions"), descriptorpb.Edition_EDITION_2023.Enum()
	unchecked := field("unchecked", 2, typeString, optional)
	unchecked.Options = &descriptorpb.FieldOptions{
		Features: &descriptorpb.FeatureSet{Utf8Validation: descriptorpb.FeatureSet_NONE.Enum()},
	}
	delimited := messageField("delimited", 3, optional, ".acme.Echo")
	delimited.Options = &descriptorpb.FieldOptions{
		Features: &descriptorpb.FeatureSet{MessageEncoding: descriptorpb.FeatureSet_DELIMITED.Enum()},
	}
	file.MessageType[0].Field = append(file.MessageType[0].Field, unchecked, delimited,
		field("numbers", 4, typeInt32, repeated))
	return file
}
