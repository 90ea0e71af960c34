package policy

import (
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// path leads from TaskOptions to one of the fields that can be overridden.
type path struct {
	name   string
	fields []protoreflect.FieldDescriptor
	// Paths lead on from here.
	inner bool
}

// overridable are all the paths, each before those that lead on from it.
//
// They end at what is one value: a scalar, a list, a message of somebody else's
// like a duration, and a message with a oneof, because of such a message no path
// could name the part that was chosen.
var overridable = sync.OnceValue(func() []path {
	var out []path
	var visit func(protoreflect.MessageDescriptor, path)
	visit = func(md protoreflect.MessageDescriptor, parent path) {
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			p := path{
				name:   strings.TrimPrefix(parent.name+"."+string(fd.Name()), "."),
				fields: append(slices.Clip(parent.fields), fd),
				inner:  divisible(fd),
			}
			out = append(out, p)
			if p.inner {
				visit(fd.Message(), p)
			}
		}
	}
	visit((*taskv1.TaskOptions)(nil).ProtoReflect().Descriptor(), path{})
	return out
})

func divisible(fd protoreflect.FieldDescriptor) bool {
	md := fd.Message()
	if md == nil || fd.IsList() || fd.IsMap() || md.ParentFile() != fd.ParentFile() {
		return false
	}
	for i := range md.Oneofs().Len() {
		if !md.Oneofs().Get(i).IsSynthetic() {
			return false
		}
	}
	return true
}

// known are the paths of these names, shortest first, without the names that
// this version does not know.
func known(names []string) []path {
	var out []path
	for _, p := range overridable() {
		if slices.Contains(names, p.name) {
			out = append(out, p)
		}
	}
	return out
}

// parse is known for names that must all exist; a path that another one covers
// is left out.
func parse(names []string) ([]path, *FieldError) {
	if len(names) == 0 {
		return nil, &FieldError{"update_mask", "must name at least one field of TaskOptions"}
	}
	for _, name := range names {
		if problem := unknown(name); problem != "" {
			return nil, &FieldError{"update_mask", problem}
		}
	}
	var out []path
	for _, p := range known(names) {
		if !slices.ContainsFunc(out, func(q path) bool { return q.covers(p) }) {
			out = append(out, p)
		}
	}
	return out, nil
}

// unknown says what is wrong with a name; nothing if it is that of a path.
func unknown(name string) string {
	for _, p := range overridable() {
		switch {
		case p.name == name:
			return ""
		case !p.inner && strings.HasPrefix(name, p.name+"."):
			return quote(name) + " is part of " + quote(p.name) + ", which can only be overridden as a whole"
		}
	}
	return quote(name) + " is not a field of TaskOptions"
}

// covers says whether q is p or leads on from it.
func (p path) covers(q path) bool {
	return q.name == p.name || strings.HasPrefix(q.name, p.name+".")
}

// get is the value of the path's field, and whether it is set.
func (p path) get(m protoreflect.Message) (protoreflect.Value, bool) {
	last := len(p.fields) - 1
	for _, fd := range p.fields[:last] {
		if !m.Has(fd) {
			return protoreflect.Value{}, false
		}
		m = m.Get(fd).Message()
	}
	return m.Get(p.fields[last]), m.Has(p.fields[last])
}

// set sets the path's field; the value is not copied.
func (p path) set(m protoreflect.Message, value protoreflect.Value) {
	last := len(p.fields) - 1
	for _, fd := range p.fields[:last] {
		m = m.Mutable(fd).Message()
	}
	m.Set(p.fields[last], value)
}

func (p path) clear(m protoreflect.Message) {
	last := len(p.fields) - 1
	for _, fd := range p.fields[:last] {
		if !m.Has(fd) {
			return
		}
		m = m.Mutable(fd).Message()
	}
	m.Clear(p.fields[last])
}
