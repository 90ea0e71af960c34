package catalogue

import (
	"cmp"
	"fmt"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// MaxFindings is how many findings a comparison names, besides the first one of each
// task type; the others it counts.
const MaxFindings = 50

// The rules that a change can break. They are those of the category WIRE of
// `buf breaking` and have its names (https://buf.build/docs/breaking/rules).
const (
	RuleFieldDeleted     = "FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED"
	RuleFieldCardinality = "FIELD_WIRE_COMPATIBLE_CARDINALITY"
	RuleFieldType        = "FIELD_WIRE_COMPATIBLE_TYPE"
	RuleFieldOneof       = "FIELD_SAME_ONEOF"
	RuleFieldDefault     = "FIELD_SAME_DEFAULT"
	RuleRequiredFields   = "MESSAGE_SAME_REQUIRED_FIELDS"
	RuleMessageReserved  = "RESERVED_MESSAGE_NO_DELETE"
	RuleEnumValueDeleted = "ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED"
	RuleEnumReserved     = "RESERVED_ENUM_NO_DELETE"
	RuleFilePackage      = "FILE_SAME_PACKAGE"
	RuleRequestType      = "RPC_SAME_REQUEST_TYPE"
	RuleResponseType     = "RPC_SAME_RESPONSE_TYPE"
	RuleClientStreaming  = "RPC_SAME_CLIENT_STREAMING"
	RuleServerStreaming  = "RPC_SAME_SERVER_STREAMING"
	RuleIdempotency      = "RPC_SAME_IDEMPOTENCY_LEVEL"
)

// Finding is one change that lets old and new versions of a task type misread each
// other's bytes.
type Finding struct {
	// Name of the task type.
	Type string
	// Path of the file, in the newer version.
	File string
	// Full name of the message, enum or method that changed.
	Element string
	// Name of the field or of the enum value; empty when it is the element itself.
	Field string
	// One of the Rule constants.
	Rule string
	// For people: what changed.
	Change string
}

// String has all that a finding says but the task type.
func (f Finding) String() string {
	name := f.Element
	if f.Field != "" {
		name += "." + f.Field
	}
	return fmt.Sprintf("%s: %s %s (%s)", f.File, name, f.Change, f.Rule)
}

// Findings are what a comparison has found.
type Findings struct {
	// The first [MaxFindings], and the first one of each task type. Those of a task type
	// stand together.
	Named []Finding
	// All, also those that are not named.
	Total int
}

func (f *Findings) add(finding Finding) {
	f.Total++
	// Task types are compared one after the other.
	if n := len(f.Named); n < MaxFindings || f.Named[n-1].Type != finding.Type {
		f.Named = append(f.Named, finding)
	}
}

// Compare checks the task types of a bundle against those in force, whose tasks wait
// in queues and whose callers live: their inputs and outputs, and all messages and
// enums that these hold, as deep as it goes, extensions of the bundles included; not
// what a google.protobuf.Any holds. A type that is not in force yet goes with
// anything.
//
// The one of the two that was started first is the old one, start being that of the
// bundle. Only types that the filter takes are compared.
func (c *Catalogue) Compare(b *Bundle, start time.Time, filter func(taskType string) bool) Findings {
	s := c.current.Load()
	return b.compare(start, func(name string) (*bundleTypes, time.Time) {
		known, ok := s.byName[name]
		if !ok || !filter(name) {
			return nil, time.Time{}
		}
		return known.types, s.startOf(known.types)
	})
}

// CompareWith checks the task types of a bundle against those of another version, as
// [Catalogue.Compare] does against those in force. Only types that both have and that
// the filter takes are compared.
func (b *Bundle) CompareWith(other *Bundle, start, otherStart time.Time, filter func(taskType string) bool) Findings {
	return b.compare(start, func(name string) (*bundleTypes, time.Time) {
		if !filter(name) {
			return nil, time.Time{}
		}
		return other.types, otherStart
	})
}

// compare compares each task type of a bundle with the types that known gives for it,
// which were started then; with nothing if these are nil.
func (b *Bundle) compare(start time.Time, known func(taskType string) (*bundleTypes, time.Time)) Findings {
	var out Findings
	seen := make(map[comparison]bool)
	for _, name := range b.methodNames() {
		types, started := known(name)
		if types == nil || types == b.types {
			continue
		}
		m := comparer{old: types, recent: b.types, taskType: name, seen: seen, found: &out}
		if start.Before(started) {
			m.old, m.recent = m.recent, m.old
		}
		m.methods(name)
	}
	return out
}

// methodNames are those of the bundle's task types, and of the methods that are none:
// one could have been a task type before.
func (b *Bundle) methodNames() []string {
	out := make([]string, 0, len(b.taskTypes)+len(b.refusals))
	for i := range b.taskTypes {
		out = append(out, b.taskTypes[i].Name)
	}
	for _, r := range b.refusals {
		if !r.Service {
			out = append(out, r.Name)
		}
	}
	return out
}

func (s *snapshot) startOf(types *bundleTypes) time.Time {
	for _, r := range s.releases {
		if r.types == types {
			return r.start
		}
	}
	return time.Time{}
}

// comparison is of what two bundles call by the same name.
type comparison struct {
	old, recent *bundleTypes
	name        protoreflect.FullName
}

// comparer compares what two versions of a task type reach.
type comparer struct {
	old, recent *bundleTypes
	taskType    string
	// Shared by all task types, so that a message is compared, and found at fault,
	// once.
	seen  map[comparison]bool
	found *Findings
	// Messages that are still to be compared, because recursion could get too deep.
	todo [][2]protoreflect.MessageDescriptor
}

func (c *comparer) add(where protoreflect.Descriptor, field protoreflect.Name, rule, change string, args ...any) {
	c.found.add(Finding{
		Type: c.taskType, File: where.ParentFile().Path(), Element: string(where.FullName()), Field: string(field),
		Rule: rule, Change: fmt.Sprintf(change, args...),
	})
}

// methods compares a method, and then all that it reaches.
func (c *comparer) methods(name string) {
	old, recent := c.old.method(name), c.recent.method(name)
	if old == nil || recent == nil {
		return
	}
	c.packages(old, recent)
	if was, is := old.Input().FullName(), recent.Input().FullName(); was != is {
		c.add(recent, "", RuleRequestType, "takes %s and no longer %s", is, was)
	} else {
		c.reach(old.Input(), recent.Input())
	}
	if was, is := old.Output().FullName(), recent.Output().FullName(); was != is {
		c.add(recent, "", RuleResponseType, "answers %s and no longer %s", is, was)
	} else {
		c.reach(old.Output(), recent.Output())
	}
	if was, is := old.IsStreamingClient(), recent.IsStreamingClient(); was != is {
		c.add(recent, "", RuleClientStreaming, "takes %s and no longer %s", kindOfCall(is), kindOfCall(was))
	}
	if was, is := old.IsStreamingServer(), recent.IsStreamingServer(); was != is {
		c.add(recent, "", RuleServerStreaming, "answers %s and no longer %s", kindOfCall(is), kindOfCall(was))
	}
	if was, is := idempotency(old), idempotency(recent); was != is {
		c.add(recent, "", RuleIdempotency, "changed its idempotency_level from %s to %s", was, is)
	}
	for len(c.todo) > 0 {
		pair := c.todo[len(c.todo)-1]
		c.todo = c.todo[:len(c.todo)-1]
		c.messages(pair[0], pair[1])
	}
}

func (t *bundleTypes) method(name string) protoreflect.MethodDescriptor {
	desc, err := t.files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil
	}
	method, _ := desc.(protoreflect.MethodDescriptor)
	return method
}

func kindOfCall(streaming bool) string {
	if streaming {
		return "a stream"
	}
	return "one message"
}

func idempotency(method protoreflect.MethodDescriptor) descriptorpb.MethodOptions_IdempotencyLevel {
	options, _ := method.Options().(*descriptorpb.MethodOptions)
	return options.GetIdempotencyLevel()
}

// packages compares the packages of two things of one name. They can differ: the
// message a.b.C is C in the package a.b, or within the message b of the package a.
func (c *comparer) packages(old, recent protoreflect.Descriptor) {
	was, is := old.ParentFile(), recent.ParentFile()
	if was.Path() == is.Path() && was.Package() != is.Package() {
		c.add(recent, "", RuleFilePackage, "is in package %q and no longer in %q",
			cmp.Or(is.Package(), "(none)"), cmp.Or(was.Package(), "(none)"))
	}
}

// reach has two messages of one name compared, unless they were.
func (c *comparer) reach(old, recent protoreflect.MessageDescriptor) {
	if c.first(old.FullName()) {
		c.todo = append(c.todo, [2]protoreflect.MessageDescriptor{old, recent})
	}
}

func (c *comparer) first(name protoreflect.FullName) bool {
	key := comparison{c.old, c.recent, name}
	first := !c.seen[key]
	c.seen[key] = true
	return first
}
