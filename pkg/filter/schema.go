package filter

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// FieldLabels is the field of a schema whose filters may name labels.KEY; its values are
// [Labels].
const FieldLabels Field = "labels"

// Schema is the fields that filters may name, and what their values are.
type Schema map[Field]Values

// Values are what a field can be compared with. Those of one field are of one
// kind; the zero value is that of no field.
type Values struct {
	kind  kind
	names map[string]int
	// prefix is that of the names in the API's enum.
	prefix string
}

// kind is what a field's values are.
type kind int

const (
	kindText kind = iota + 1
	kindID
	kindEnum
	kindNumber
	kindTime
	kindLabels
)

// Texts are the values of a field that becomes [Text].
func Texts() Values { return Values{kind: kindText} }

// IDs are texts that may be UUIDs: one that = or != compares with may have any
// spelling.
func IDs() Values { return Values{kind: kindID} }

// Names are the values of a field that becomes [Enum]: numbers above 0 by their
// names. They may also be written as the API's enum has them, with its prefix, or
// as the numbers.
func Names(prefix string, numbers map[string]int) Values {
	return Values{kind: kindEnum, names: numbers, prefix: prefix}
}

// Numbers are the values of a field that becomes [Number]. Some of them may have
// names, which can be written in their place; nil is none.
func Numbers(named map[string]int) Values { return Values{kind: kindNumber, names: named} }

// Times are the values of a field that becomes [Time].
func Times() Values { return Values{kind: kindTime} }

// Labels are the values of [FieldLabels], which becomes [Label].
func Labels() Values { return Values{kind: kindLabels} }

// Fields are the names of the fields, sorted, with labels.KEY for labels.
func (s Schema) Fields() []string {
	var names []string
	for field, values := range s {
		if values.kind == kindLabels {
			field += ".KEY"
		}
		names = append(names, string(field))
	}
	slices.Sort(names)
	return names
}

func (s Schema) fieldList() string { return strings.Join(s.Fields(), ", ") }

// nameList is the names by their numbers.
func (v Values) nameList() string {
	names := slices.SortedFunc(maps.Keys(v.names), func(a, b string) int { return v.names[a] - v.names[b] })
	return strings.Join(names, ", ")
}

// enum is the number of a name, or of the text of a number; false for none.
func (v Values) enum(name string) (int, bool) {
	if value, ok := v.names[strings.TrimPrefix(name, v.prefix)]; ok {
		return value, true
	}
	for _, value := range v.names {
		if strconv.Itoa(value) == name {
			return value, true
		}
	}
	return 0, false
}
