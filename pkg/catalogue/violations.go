package catalogue

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// maxViolations and maxViolationBytes bound what an answer names, which has to fit
	// into trailers of 8 KiB, as message and once more as detail.
	maxViolations     = 20
	maxViolationBytes = 2048
	// maxText is the longest text of one rule, in bytes.
	maxText = 300
	// maxListed is the largest payload whose violations are all looked for, by the
	// number of its messages and elements: each costs a kilobyte.
	maxListed = 5000
	// maxSteps bounds what loops in loops may take to check one payload: about a
	// second.
	maxSteps = 20_000_000
)

// checkRules checks a payload by the rules of its input.
func (t TaskType) checkRules(m protoreflect.Message) error {
	meter := &meter{growths: t.rules.growths, left: maxSteps}
	options := []protovalidate.ValidationOption{protovalidate.WithFailFast()}
	if len(meter.growths) > 0 {
		options = append(options, protovalidate.WithFilter(meter))
	}
	err := check(t.rules.validator, m.Interface(), options...)
	if err != nil && meter.left > 0 && countChunks.message(m, maxListed) < maxListed {
		// The answer shall name them all.
		meter.left = maxSteps
		err = check(t.rules.validator, m.Interface(), options[1:]...)
	}
	var broken *protovalidate.ValidationError
	switch {
	case meter.left <= 0:
		return t.invalid(Violation{Field: "", Rule: "warren.steps", Message: fmt.Sprintf(
			"checking the rules of %s would take too many steps: its loops go over too much, send less of it", meter.where)})
	case err == nil:
		return nil
	case errors.As(err, &broken):
		return t.invalid(violationsOf(broken)...)
	default:
		return t.invalid(Violation{Rule: "warren.rule", Message: "a rule can't be applied to it: " + cut(oneLine(err), maxText)})
	}
}

func violationsOf(broken *protovalidate.ValidationError) []Violation {
	out := make([]Violation, 0, len(broken.Violations))
	for _, v := range broken.Violations {
		message := v.Proto.GetMessage()
		if message == "" {
			message = "breaks the rule"
		}
		out = append(out, Violation{
			Field: cut(protovalidate.FieldPathString(v.Proto.GetField()), maxText), Rule: cut(v.Proto.GetRuleId(), maxText), Message: cut(message, maxText),
		})
	}
	return out
}

// invalid names as many violations as an answer can hold.
func (t TaskType) invalid(all ...Violation) error {
	var texts []string
	size := 0
	for _, v := range all {
		text := v.String()
		if size += len(text); len(texts) == maxViolations || size > maxViolationBytes {
			break
		}
		texts = append(texts, text)
	}
	text := strings.Join(texts, "; ")
	if more := len(all) - len(texts); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return &PayloadError{
		Type: t.Name, Input: t.Input.FullName(), Violations: all[:len(texts)], Err: fmt.Errorf("%w: %s", ErrPayloadInvalid, text),
	}
}

// meter is asked before the rules of each message and field are applied, and lets
// nothing be applied any more once that would take too many steps.
type meter struct {
	growths map[protoreflect.FullName]growth
	left    float64
	// What there were too few steps left for.
	where protoreflect.FullName
}

// ShouldValidate implements [protovalidate.Filter].
func (m *meter) ShouldValidate(holder protoreflect.Message, what protoreflect.Descriptor) bool {
	if m.left <= 0 {
		return false
	}
	g := m.growths[what.FullName()]
	if g.constant == 0 {
		return true
	}
	if m.left -= g.steps(holder, what, int(m.left)+1); m.left <= 0 {
		m.where = what.FullName()
		return false
	}
	return true
}

// steps is what checking the rules for a message, or for a field of it, takes at most.
func (g growth) steps(holder protoreflect.Message, what protoreflect.Descriptor, limit int) float64 {
	fd, isField := what.(protoreflect.FieldDescriptor)
	if g.degree == 0 {
		return g.constant * float64(applications(holder, fd))
	}
	count, size := countChunks, 0
	if g.perByte {
		count = countBytes
	}
	if isField {
		size = count.value(fd, holder.Get(fd), limit)
	} else {
		size = count.message(holder, limit)
	}
	return g.constant * math.Pow(float64(size), float64(g.degree))
}

// applications is how often rules are applied: those of a field to each of its elements.
func applications(holder protoreflect.Message, fd protoreflect.FieldDescriptor) int {
	switch {
	case fd == nil:
		return 1
	case fd.IsList():
		return 1 + holder.Get(fd).List().Len()
	case fd.IsMap():
		return 1 + 2*holder.Get(fd).Map().Len()
	}
	return 1
}

// cut shortens a text to so many bytes, between two characters, and makes it valid.
func cut(text string, length int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= length {
		return text
	}
	return strings.ToValidUTF8(text[:length], "") + "…"
}
