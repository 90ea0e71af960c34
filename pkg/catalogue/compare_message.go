package catalogue

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// messages compares two messages of one name.
func (c *comparer) messages(old, recent protoreflect.MessageDescriptor) {
	c.packages(old, recent)
	for was := range elements(old.Fields()) {
		is := recent.Fields().ByNumber(was.Number())
		switch {
		case is != nil:
			c.fields(was, is)
		case !recent.ReservedRanges().Has(was.Number()):
			c.add(recent, was.Name(), RuleFieldDeleted, "was deleted, or has another number, and its number %d is not reserved", was.Number())
		}
	}
	before, after := c.old.extensions[old.FullName()], c.recent.extensions[old.FullName()]
	for _, number := range slices.Sorted(maps.Keys(before)) {
		if is := after[number]; is != nil {
			c.fields(before[number].TypeDescriptor().Descriptor(), is.TypeDescriptor().Descriptor())
		}
	}
	c.requiredFields(old, recent)
	c.reserved(recent, RuleMessageReserved, rangesOf(old.ReservedRanges()), rangesOf(recent.ReservedRanges()))
	c.reservedNames(recent, RuleMessageReserved, old.ReservedNames(), recent.ReservedNames())
}

// requiredFields compares which fields are required: who does not know that one is
// leaves it out, and the others can't read the message.
func (c *comparer) requiredFields(old, recent protoreflect.MessageDescriptor) {
	required := func(md protoreflect.MessageDescriptor, number protoreflect.FieldNumber) bool {
		return md.RequiredNumbers().Has(number)
	}
	for was := range elements(old.Fields()) {
		if required(old, was.Number()) && !required(recent, was.Number()) {
			c.add(recent, was.Name(), RuleRequiredFields, "was required and is not any more")
		}
	}
	for is := range elements(recent.Fields()) {
		if required(recent, is.Number()) && !required(old, is.Number()) {
			c.add(recent, is.Name(), RuleRequiredFields, "is required now")
		}
	}
}

// fields compares two fields of one number.
func (c *comparer) fields(was, is protoreflect.FieldDescriptor) {
	where, name := fieldPlace(is)
	if !is.IsExtension() {
		if from, to := oneofOf(was), oneofOf(is); from != to {
			c.add(where, name, RuleFieldOneof, "moved from %s to %s", oneofName(from), oneofName(to))
		}
	}
	if !was.ContainingMessage().IsMapEntry() || !is.ContainingMessage().IsMapEntry() {
		if from, to := cardinalityOf(was), cardinalityOf(is); from != to {
			c.add(where, name, RuleFieldCardinality, "is %s and no longer %s", to, from)
		}
	}
	if from, to, same := sameDefault(was, is); !same {
		c.add(where, name, RuleFieldDefault, "has the default %.60q and no longer %.60q", to, from)
	}
	c.types(was, is)
}

// fieldPlace is where a field is to be found: for an extension the scope that has
// it, since the message that it extends may be anybody's.
func fieldPlace(fd protoreflect.FieldDescriptor) (protoreflect.Descriptor, protoreflect.Name) {
	if fd.IsExtension() {
		return fd, ""
	}
	return fd.ContainingMessage(), fd.Name()
}

// types compares the types of two fields.
func (c *comparer) types(was, is protoreflect.FieldDescriptor) {
	where, name := fieldPlace(is)
	switch {
	case wireGroup(was.Kind()) != wireGroup(is.Kind()):
		// All text is bytes, but not the other way round.
		if was.Kind() != protoreflect.StringKind || is.Kind() != protoreflect.BytesKind {
			c.add(where, name, RuleFieldType, "is of the type %s and no longer %s", typeText(is), typeText(was))
		}
	case is.Enum() != nil && was.Enum().FullName() == is.Enum().FullName():
		c.enums(was.Enum(), is.Enum())
	case is.Enum() != nil:
		if was.Enum().Name() != is.Enum().Name() || !hasValuesOf(is.Enum(), was.Enum()) {
			c.add(where, name, RuleFieldType, "is of the type %s, which lacks values of %s", is.Enum().FullName(), was.Enum().FullName())
		}
	case is.Message() != nil && was.Message().FullName() == is.Message().FullName():
		c.reach(was.Message(), is.Message())
	case is.Message() != nil:
		c.add(where, name, RuleFieldType, "is of the type %s and no longer %s", is.Message().FullName(), was.Message().FullName())
	}
}

// enums compares two enums of one name.
func (c *comparer) enums(old, recent protoreflect.EnumDescriptor) {
	if !c.first(old.FullName()) {
		return
	}
	c.packages(old, recent)
	for was := range elements(old.Values()) {
		if recent.Values().ByNumber(was.Number()) == nil && !recent.ReservedRanges().Has(was.Number()) {
			c.add(recent, was.Name(), RuleEnumValueDeleted, "was deleted, or has another number, and its number %d is not reserved", was.Number())
		}
	}
	c.reserved(recent, RuleEnumReserved, enumRangesOf(old.ReservedRanges()), enumRangesOf(recent.ReservedRanges()))
	c.reservedNames(recent, RuleEnumReserved, old.ReservedNames(), recent.ReservedNames())
}

// hasValuesOf says whether an enum has each value of another under its number.
func hasValuesOf(enum, other protoreflect.EnumDescriptor) bool {
	for value := range elements(other.Values()) {
		if own := enum.Values().ByName(value.Name()); own == nil || own.Number() != value.Number() {
			return false
		}
	}
	return true
}

// wireGroup is the same for kinds whose values are encoded alike. A single kind is a
// group of its own: enums have values that an integer has not, float and double
// differ in size.
func wireGroup(kind protoreflect.Kind) protoreflect.Kind {
	switch kind {
	case protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.BoolKind:
		return protoreflect.Int32Kind
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		return protoreflect.Sint32Kind
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.Fixed32Kind
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.Fixed64Kind
	}
	return kind
}

func typeText(fd protoreflect.FieldDescriptor) string {
	switch {
	case fd.Kind() == protoreflect.GroupKind:
		return "group " + string(fd.Message().FullName())
	case fd.Message() != nil:
		return string(fd.Message().FullName())
	case fd.Enum() != nil:
		return string(fd.Enum().FullName())
	}
	return fd.Kind().String()
}

// cardinalityOf tells apart only what is encoded differently: that a field has
// presence is not, and a map is a list of its entries.
func cardinalityOf(fd protoreflect.FieldDescriptor) string {
	switch {
	case fd.Cardinality() == protoreflect.Repeated:
		return "repeated"
	case fd.Cardinality() == protoreflect.Required:
		return "required"
	}
	return "optional"
}

// oneofOf is empty for a field in none, and for an optional one of proto3.
func oneofOf(fd protoreflect.FieldDescriptor) protoreflect.Name {
	if oneof := fd.ContainingOneof(); oneof != nil && !oneof.IsSynthetic() {
		return oneof.Name()
	}
	return ""
}

func oneofName(name protoreflect.Name) string {
	if name == "" {
		return "outside of any oneof"
	}
	return "the oneof " + string(name)
}
