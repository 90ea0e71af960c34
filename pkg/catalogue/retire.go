package catalogue

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Retire takes a task type out of all bundles, until one that has it is put again: a
// bundle that was built anew, even if it is equal to one from before. A service goes
// with its last task type. The answer is false if there is no such type; undo puts
// it back.
func (c *Catalogue) Retire(name string) (undo func(), found bool) {
	name = TypeName(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.current.Load()
	if _, found = old.byName[name]; !found {
		return func() {}, false
	}
	var left, cut []release
	for _, r := range old.releases {
		limited := r.without(func(t TaskType) bool { return t.Name == name })
		if limited != r.Bundle {
			cut = append(cut, r)
		}
		left = append(left, release{limited, r.start})
	}
	c.current.Store(newSnapshot(left))
	return func() {
		for _, r := range cut {
			// It fails for bundles that were not built.
			_, _ = c.Put(r.Bundle, r.start)
		}
	}, true
}

// Limited is the bundle with those of its task types alone that are among the gRPC
// methods: what is left of it when others were retired. It is b itself if that is all.
func (b *Bundle) Limited(grpcMethods map[string]bool) *Bundle {
	return b.without(func(t TaskType) bool { return !grpcMethods[t.GRPCMethod] })
}

// without is the bundle without some task types, and without services that had some
// and have none left. It has another ID, so that it is not taken for the whole one.
func (b *Bundle) without(gone func(TaskType) bool) *Bundle {
	// Services that have a type, and whether one is left.
	left, services := []TaskType{}, map[string]bool{}
	var names []string
	for _, t := range b.taskTypes {
		if gone(t) {
			names = append(names, t.Name)
			if !services[t.Service] {
				services[t.Service] = false
			}
		} else {
			left = append(left, t)
			services[t.Service] = true
		}
	}
	if len(names) == 0 {
		return b
	}
	out := *b
	out.id = b.id + "-" + strings.Join(names, "-")
	out.taskTypes = left
	out.services = slices.DeleteFunc(slices.Clone(b.services), func(s string) bool {
		has, known := services[s]
		return known && !has
	})
	return &out
}

// SetRetired replaces the task types that are known to be retired, made by
// [RetiredType].
func (c *Catalogue) SetRetired(types map[string]TaskType) {
	kept := maps.Clone(types)
	c.retired.Store(&kept)
}

// Retired returns a task type that is retired, to show what is kept of its tasks: its
// names, and messages of which nothing but the name is known.
func (c *Catalogue) Retired(name string) (TaskType, bool) {
	known := c.retired.Load()
	if known == nil {
		return TaskType{}, false
	}
	t, ok := (*known)[TypeName(name)]
	return t, ok
}

// RetiredType makes a task type of which only names are known: its own, and the full
// names of its messages.
func RetiredType(name, input, output string) (TaskType, error) {
	i := strings.LastIndexByte(name, '.')
	t := TaskType{Name: name, Service: name[:max(i, 0)], Method: name[i+1:]}
	t.GRPCMethod = "/" + t.Service + "/" + t.Method
	var err error
	if t.Input, err = emptyMessage(input); err != nil {
		return TaskType{}, fmt.Errorf("the input of the retired task type %s: %w", name, err)
	}
	if t.Output, err = emptyMessage(output); err != nil {
		return TaskType{}, fmt.Errorf("the output of the retired task type %s: %w", name, err)
	}
	return t, nil
}

func emptyMessage(name string) (protoreflect.MessageDescriptor, error) {
	full := protoreflect.FullName(name)
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("retired.proto"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String(string(full.Name()))}},
	}
	if parent := full.Parent(); parent != "" {
		file.Package = proto.String(string(parent))
	}
	built, err := protodesc.NewFile(file, nil)
	if err != nil {
		return nil, err
	}
	return built.Messages().Get(0), nil
}
