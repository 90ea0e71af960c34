package catalogue

import (
	"fmt"
	"math"
	"math/big"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// span is a range of numbers, both ends included.
type span struct{ from, to int64 }

func rangesOf(ranges protoreflect.FieldRanges) []span {
	out := make([]span, 0, ranges.Len())
	for i := range ranges.Len() {
		r := ranges.Get(i)
		out = append(out, span{int64(r[0]), int64(r[1]) - 1})
	}
	return out
}

func enumRangesOf(ranges protoreflect.EnumRanges) []span {
	out := make([]span, 0, ranges.Len())
	for i := range ranges.Len() {
		r := ranges.Get(i)
		out = append(out, span{int64(r[0]), int64(r[1])})
	}
	return out
}

// reserved checks that what was reserved still is: another field or value could get
// the number while messages are about that have the old one.
func (c *comparer) reserved(where protoreflect.Descriptor, rule string, old, recent []span) {
	recent = joined(recent)
	for _, was := range old {
		for _, gap := range was.without(recent) {
			c.add(where, "", rule, "does not reserve the numbers %d to %d any more", gap.from, gap.to)
		}
	}
}

func (c *comparer) reservedNames(where protoreflect.Descriptor, rule string, old, recent protoreflect.Names) {
	for i := range old.Len() {
		if name := old.Get(i); !recent.Has(name) {
			c.add(where, "", rule, "does not reserve the name %.60q any more", name)
		}
	}
}

// joined sorts spans and makes one of those that touch.
func joined(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return int(max(-1, min(1, a.from-b.from))) })
	var out []span
	for _, s := range spans {
		if n := len(out); n > 0 && s.from <= out[n-1].to+1 {
			out[n-1].to = max(out[n-1].to, s.to)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// without is what of the span is in none of the others, which are joined.
func (s span) without(others []span) []span {
	var out []span
	first, _ := slices.BinarySearchFunc(others, s.from, func(o span, from int64) int { return int(max(-1, min(1, o.to-from))) })
	for _, o := range others[first:] {
		if o.from > s.to || s.from > s.to {
			break
		}
		if o.from > s.from {
			out = append(out, span{s.from, o.from - 1})
		}
		s.from = o.to + 1
	}
	if s.from <= s.to {
		out = append(out, s)
	}
	return out
}

// sameDefault compares the defaults of two fields, which only those of proto2 and of
// editions can have, and gives them as text. Of different types, it compares their
// values.
func sameDefault(was, is protoreflect.FieldDescriptor) (from, to string, same bool) {
	if !canHaveDefault(was) || !canHaveDefault(is) {
		return "", "", true
	}
	from, to = defaultText(was), defaultText(is)
	a, b := number(was), number(is)
	switch {
	case a == nil && b == nil:
		// Both are text, or NaN.
		return from, to, from == to
	case a == nil || b == nil:
		return from, to, zeroDefault(was, a) && zeroDefault(is, b)
	case was.Kind() == protoreflect.FloatKind || is.Kind() == protoreflect.FloatKind:
		x, _ := a.Float32()
		y, _ := b.Float32()
		return from, to, x == y
	}
	return from, to, a.Cmp(b) == 0
}

func zeroDefault(fd protoreflect.FieldDescriptor, number *big.Float) bool {
	if number != nil {
		return number.Sign() == 0
	}
	return defaultText(fd) == ""
}

func defaultText(fd protoreflect.FieldDescriptor) string {
	if fd.Kind() == protoreflect.BytesKind {
		return string(fd.Default().Bytes())
	}
	return fd.Default().String()
}

func canHaveDefault(fd protoreflect.FieldDescriptor) bool {
	return fd.Cardinality() != protoreflect.Repeated && fd.Message() == nil
}

// number is a field's default as a number; nil if it is none.
func number(fd protoreflect.FieldDescriptor) *big.Float {
	switch v := fd.Default().Interface().(type) {
	case bool:
		if v {
			return big.NewFloat(1)
		}
		return new(big.Float)
	case int32, int64, uint32, uint64, protoreflect.EnumNumber:
		exact, _ := new(big.Float).SetPrec(64).SetString(fmt.Sprintf("%d", v))
		return exact
	case float32:
		return notNaN(float64(v))
	case float64:
		return notNaN(v)
	}
	return nil
}

func notNaN(v float64) *big.Float {
	if math.IsNaN(v) {
		return nil
	}
	return big.NewFloat(v)
}
