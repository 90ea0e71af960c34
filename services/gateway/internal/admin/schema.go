package admin

import (
	"fmt"
	"strings"

	"github.com/jhump/protoreflect/v2/protoprint"
	"google.golang.org/protobuf/reflect/protoreflect"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
)

// maxSchema bounds a schema, in bytes: clients take answers of 4 MiB unless they are set
// up for more. The descriptors are shown in any case, and the texts in what is left.
const maxSchema = 4<<20 - 64<<10

// wellKnown are the packages that everybody has. What their files say is not shown as
// text, as it is not about the task type.
var wellKnown = []string{"google.protobuf", "google.rpc", "google.api", "google.type", "buf.validate", "warren.task.v1"}

// schemaOf shows the files that describe a task type.
func schemaOf(t *catalogue.TaskType) (*adminv1.Schema, error) {
	set, err := t.DescriptorSet()
	if err != nil {
		return nil, err
	}
	out := &adminv1.Schema{DescriptorSet: set}
	left := maxSchema - len(set)
	for _, file := range t.Files() {
		if isWellKnown(string(file.Package())) {
			continue
		}
		shown := &adminv1.SchemaFile{Path: file.Path()}
		text, err := printed(file)
		switch {
		case err != nil:
			shown.Problem = strings.ToValidUTF8(err.Error(), "\uFFFD")
		case len(text) > left:
			shown.Problem = "the texts of all files are too large to be shown; see descriptor_set"
		default:
			shown.Text = text
			left -= len(text)
		}
		out.Files = append(out.Files, shown)
	}
	return out, nil
}

func isWellKnown(pkg string) bool {
	for _, known := range wellKnown {
		if pkg == known || strings.HasPrefix(pkg, known+".") {
			return true
		}
	}
	return false
}

// printed is a file as its author could have written it. What a worker announces may be
// stranger than what the printer was made for.
func printed(file protoreflect.FileDescriptor) (text string, err error) {
	defer func() {
		if v := recover(); v != nil {
			text, err = "", fmt.Errorf("it can't be printed: %v; see descriptor_set", v)
		}
	}()
	text, err = (&protoprint.Printer{}).PrintProtoToString(file)
	if err != nil {
		return "", fmt.Errorf("it can't be printed: %w; see descriptor_set", err)
	}
	return strings.ToValidUTF8(text, "\uFFFD"), nil
}
