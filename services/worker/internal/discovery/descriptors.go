package discovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Descriptors learns from a file: a google.protobuf.FileDescriptorSet, as `buf
// build -o` and `protoc --include_imports --descriptor_set_out` write it.
type Descriptors struct {
	file   string
	wanted []string
}

// NewDescriptors makes a source that reads the file each time. wanted are the
// full names of services, none for all that are not reserved.
func NewDescriptors(file string, wanted []string) *Descriptors {
	return &Descriptors{file: file, wanted: wanted}
}

// Learn implements [Source].
func (d *Descriptors) Learn(context.Context) (*Schema, error) {
	schema, err := d.read()
	if err != nil {
		return nil, fmt.Errorf("--descriptors %s: %w", d.file, err)
	}
	return schema, nil
}

func (d *Descriptors) read() (*Schema, error) {
	content, err := os.ReadFile(d.file)
	if err != nil {
		return nil, err
	}
	files, err := parseSet(content)
	if err != nil {
		return nil, err
	}
	services, err := choose(slices.Collect(maps.Keys(files.services)), d.wanted)
	if err != nil {
		return nil, err
	}
	return newSchema(services, files)
}

var errNoSet = errors.New("it is no google.protobuf.FileDescriptorSet")

// parseSet keeps the bytes of each file: FileDescriptorSet has but the field
// file = 1.
func parseSet(content []byte) (*files, error) {
	out := newFiles()
	for len(content) > 0 {
		number, kind, n := protowire.ConsumeTag(content)
		if n < 0 {
			return nil, fmt.Errorf("%w: %w", errNoSet, protowire.ParseError(n))
		}
		content = content[n:]
		if number != 1 || kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, content); n < 0 {
				return nil, fmt.Errorf("%w: %w", errNoSet, protowire.ParseError(n))
			}
			content = content[n:]
			continue
		}
		raw, n := protowire.ConsumeBytes(content)
		if n < 0 {
			return nil, fmt.Errorf("%w: %w", errNoSet, protowire.ParseError(n))
		}
		if err := out.add(raw); err != nil {
			return nil, err
		}
		content = content[n:]
	}
	if len(out.byPath) == 0 {
		return nil, fmt.Errorf("%w: it has no files", errNoSet)
	}
	return out, nil
}
