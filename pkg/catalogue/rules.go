package catalogue

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Limits of the rules of one bundle: each costs about a tenth of a millisecond to
// compile, and some hundred kilobytes with an expression of its own.
const (
	maxRules       = 2000
	maxExpressions = 500
	// Longest expression, in bytes.
	maxExpression = 4096
	// maxScopes bounds the sum of the messages and enums that are in the scopes of
	// expressions about messages: CEL makes a kilobyte of each, for each message anew.
	maxScopes = 100_000
)

// ruleBook has the rules of buf.validate that the messages of a bundle have. It is
// used for the inputs of task types while their bundle is built.
type ruleBook struct {
	types *bundleTypes
	// Made for the first message with rules, for all of the bundle: it keeps what it
	// has compiled.
	validator protovalidate.Validator
	// The rules of each message by itself.
	messages map[protoreflect.FullName]*messageRules
	// What is left of the limits.
	rules, expressions, scopes int
	// How many messages and enums a file has, its imports included.
	sizes map[string]int
}

// messageRules are the rules of one message, without those of the messages that it
// holds.
type messageRules struct {
	// There are some.
	any bool
	// What is charged for when they are checked, by what they are for: the message or
	// one of its fields. Missing is nothing.
	growths map[protoreflect.FullName]growth
	// Why they can't be used; nil if they can, as far as is known.
	bad error
	// They can be used.
	compiled bool
}

func newRuleBook(types *bundleTypes) *ruleBook {
	return &ruleBook{
		types: types, messages: make(map[protoreflect.FullName]*messageRules), sizes: make(map[string]int),
		rules: maxRules, expressions: maxExpressions, scopes: maxScopes,
	}
}

// inputRules are the rules for an input, all that it holds included.
type inputRules struct {
	validator protovalidate.Validator
	growths   map[protoreflect.FullName]growth
}

// read gives the rules of an input, nil if there are none. It compiles them, so that
// one which is not valid is refused now and not when a payload comes.
func (b *ruleBook) read(input protoreflect.MessageDescriptor) (*inputRules, error) {
	out := &inputRules{growths: make(map[protoreflect.FullName]growth)}
	reached := reachable(input)
	found := false
	for _, md := range reached {
		rules := b.of(md)
		if rules.bad != nil {
			return nil, fmt.Errorf("the rules (buf.validate) of message %s can't be used: %w", md.FullName(), rules.bad)
		}
		found = found || rules.any
		maps.Copy(out.growths, rules.growths)
	}
	if !found {
		return nil, nil
	}
	if err := b.compile(reached); err != nil {
		return nil, err
	}
	out.validator = b.validator
	return out, nil
}

// reachable are a message and all that it holds, extensions aside: no rules are
// checked in those.
func reachable(md protoreflect.MessageDescriptor) []protoreflect.MessageDescriptor {
	seen := map[protoreflect.FullName]bool{md.FullName(): true}
	out := []protoreflect.MessageDescriptor{md}
	for i := 0; i < len(out); i++ {
		for fd := range elements(out[i].Fields()) {
			if next := fd.Message(); next != nil && !seen[next.FullName()] {
				seen[next.FullName()] = true
				out = append(out, next)
			}
		}
	}
	return out
}

func (b *ruleBook) of(md protoreflect.MessageDescriptor) *messageRules {
	if known := b.messages[md.FullName()]; known != nil {
		return known
	}
	rules := &messageRules{growths: make(map[protoreflect.FullName]growth)}
	rules.bad = b.readMessage(md, rules)
	b.messages[md.FullName()] = rules
	return rules
}

func (b *ruleBook) readMessage(md protoreflect.MessageDescriptor, rules *messageRules) error {
	own, err := protovalidate.ResolveMessageRules(md)
	if err != nil {
		return err
	}
	if own != nil {
		if err := b.add(rules, md, md, own); err != nil {
			return err
		}
	}
	for oneof := range elements(md.Oneofs()) {
		own, err := protovalidate.ResolveOneofRules(oneof)
		if err != nil {
			return err
		}
		rules.any = rules.any || own.GetRequired()
	}
	for fd := range elements(md.Fields()) {
		own, err := protovalidate.ResolveFieldRules(fd)
		switch {
		case err != nil:
			return fmt.Errorf("field %s: %w", fd.Name(), err)
		case own == nil:
			continue
		}
		if err := b.add(rules, fd, fd.Message(), own); err != nil {
			return fmt.Errorf("field %s: %w", fd.Name(), err)
		}
	}
	return nil
}

// add counts the rules for a message or a field, which may be about a message, and
// what checking them may cost.
func (b *ruleBook) add(rules *messageRules, what protoreflect.Descriptor, about protoreflect.MessageDescriptor, own proto.Message) error {
	rules.any = true
	if b.rules--; b.rules < 0 {
		return fmt.Errorf("%w: more than %d messages and fields with rules", ErrLimit, maxRules)
	}
	before := b.expressions
	g, err := b.growth(own.ProtoReflect())
	if err != nil {
		return err
	}
	// A loop alone is paid for by what it goes over.
	if g.degree > 1 || g.constant > 1 {
		rules.growths[what.FullName()] = g
	}
	if about == nil {
		return nil
	}
	// A field has one scope for itself and one for its elements, or keys and values.
	if b.scopes -= min(3, before-b.expressions) * b.sizeOf(about.ParentFile()); b.scopes < 0 {
		return fmt.Errorf("%w: too many expressions about messages of files with many messages", ErrLimit)
	}
	return nil
}

// sizeOf counts the messages and enums of a file and of all that it imports.
func (b *ruleBook) sizeOf(file protoreflect.FileDescriptor) int {
	if known, ok := b.sizes[file.Path()]; ok {
		return known
	}
	size := 0
	seen := make(map[string]bool)
	var visit func(protoreflect.FileDescriptor)
	visit = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		size += typesIn(file)
		for _, imported := range imports(file.Imports()) {
			visit(imported)
		}
	}
	visit(file)
	b.sizes[file.Path()] = size
	return size
}

func typesIn(scope interface {
	Messages() protoreflect.MessageDescriptors
	Enums() protoreflect.EnumDescriptors
}) int {
	size := scope.Enums().Len()
	for md := range elements(scope.Messages()) {
		size += 1 + typesIn(md)
	}
	return size
}

// growth is that of the expressions in rules, at whatever depth, and of the predefined
// rules that they use.
func (b *ruleBook) growth(rules protoreflect.Message) (growth, error) {
	var greatest growth
	var bad error
	visit := func(g growth, err error) bool {
		greatest, bad = greatest.most(g), errors.Join(bad, err)
		return err == nil
	}
	switch own := rules.Interface().(type) {
	case *validate.Rule:
		return b.expression(own.GetId(), own.GetExpression())
	case *validate.FieldRules:
		for _, e := range own.GetCelExpression() {
			visit(b.expression(e, e))
		}
	case *validate.MessageRules:
		for _, e := range own.GetCelExpression() {
			visit(b.expression(e, e))
		}
	}
	rules.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.IsExtension() && !visit(b.predefined(fd)) {
			return false
		}
		if fd.Message() == nil || fd.IsMap() {
			return true
		}
		if !fd.IsList() {
			return visit(b.growth(v.Message()))
		}
		for i := range v.List().Len() {
			if !visit(b.growth(v.List().Get(i).Message())) {
				return false
			}
		}
		return true
	})
	return greatest, bad
}

// predefined is the growth of a rule that somebody has defined in an extension of
// the rules of a type.
func (b *ruleBook) predefined(fd protoreflect.FieldDescriptor) (growth, error) {
	rules, err := protovalidate.ResolvePredefinedRules(fd)
	if err != nil {
		return growth{}, err
	}
	var greatest growth
	for _, rule := range rules.GetCel() {
		g, err := b.expression(rule.GetId(), rule.GetExpression())
		if err != nil {
			return growth{}, err
		}
		greatest = greatest.most(g)
	}
	return greatest, nil
}

func (b *ruleBook) expression(id, text string) (growth, error) {
	if b.expressions--; b.expressions < 0 {
		return growth{}, fmt.Errorf("%w: more than %d expressions in rules", ErrLimit, maxExpressions)
	}
	if len(text) > maxExpression {
		return growth{}, fmt.Errorf("rule %.60q: %w: its expression has %d bytes, at most %d", id, ErrLimit, len(text), maxExpression)
	}
	g, err := growthOf(text)
	if err != nil {
		return growth{}, fmt.Errorf("rule %.60q: %w", id, err)
	}
	return g, nil
}

// compile has the rules of messages compiled by checking an empty one of each, and
// names what can't be compiled.
func (b *ruleBook) compile(reached []protoreflect.MessageDescriptor) error {
	if b.validator == nil {
		validator, err := protovalidate.New(protovalidate.WithExtensionTypeResolver(b.types))
		if err != nil {
			return fmt.Errorf("make a validator: %w", err)
		}
		b.validator = validator
	}
	for _, md := range reached {
		rules := b.of(md)
		if rules.compiled {
			continue
		}
		empty := dynamicpb.NewMessage(md)
		if badRule(check(b.validator, empty)) {
			rules.bad = b.whichRule(empty)
			return fmt.Errorf("the rules (buf.validate) of message %s can't be used: %w", md.FullName(), rules.bad)
		}
		rules.compiled = true
	}
	return nil
}

// whichRule says which field of a message has a rule that can't be compiled, if one
// of its fields has, and why.
func (b *ruleBook) whichRule(empty *dynamicpb.Message) error {
	for fd := range elements(empty.Descriptor().Fields()) {
		err := check(b.validator, empty, protovalidate.WithFilter(protovalidate.FilterFunc(
			func(_ protoreflect.Message, asked protoreflect.Descriptor) bool { return asked == fd })))
		if badRule(err) {
			return fmt.Errorf("field %s: %s", fd.Name(), oneLine(err))
		}
	}
	return errors.New(oneLine(check(b.validator, empty)))
}

func badRule(err error) bool {
	var bad *protovalidate.CompilationError
	return errors.As(err, &bad) || errors.Is(err, errPanicked)
}

var errPanicked = errors.New("a rule made the check panic")

// check survives whatever a rule does to those who check it.
func check(validator protovalidate.Validator, m proto.Message, options ...protovalidate.ValidationOption) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %.200v", errPanicked, v)
		}
	}()
	return validator.Validate(m, options...)
}

func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	return cut(text, 500)
}
