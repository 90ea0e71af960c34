package catalogue_test

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/warrenmq/warren/pkg/catalogue"
)

// benchPayload is a small request: three items, three labels, two scalars.
func benchPayload() []byte {
	b := bytesField(nil, 1, "https://example.com/picture.jpg")
	for i := range 3 {
		item := string(bytesField(nil, 1, fmt.Sprintf("item-%d", i)))
		b = bytesField(b, 3, item)
		b = bytesField(b, 4, string(bytesField(bytesField(nil, 1, fmt.Sprintf("key-%d", i)), 2, item)))
	}
	return bytesField(b, 5, "\x01\x02\x03")
}

func BenchmarkValidate(b *testing.B) {
	tt := resizeType(b)
	payload := benchPayload()
	b.ReportAllocs()
	for b.Loop() {
		if err := tt.Validate(payload); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecode is what Validate avoids.
func BenchmarkDecode(b *testing.B) {
	tt := resizeType(b)
	payload := benchPayload()
	b.ReportAllocs()
	for b.Loop() {
		if err := proto.Unmarshal(payload, dynamicpb.NewMessage(tt.Input)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkType(b *testing.B) {
	c := catalogue.New()
	mustPut(b, c, 1, imageAnnouncement(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := c.Type("acme.v1.ImageService.Resize"); !ok {
			b.Fatal("not found")
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	// That of Warren is refused, but its files are built, the rules of
	// buf.validate among them.
	for _, service := range []protoreflect.FullName{"demo.v1.ImageService", "warren.task.v1.TaskService"} {
		a, err := catalogue.Collect(nil, service)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(string(service), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := catalogue.Build(a, catalogue.Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkID(b *testing.B) {
	a, err := catalogue.Collect(nil, "warren.task.v1.TaskService")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = a.ID()
	}
}
