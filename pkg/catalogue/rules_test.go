package catalogue_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/warrenmq/warren/pkg/catalogue"
)

// ruled gives a field rules.
func ruled(f *fieldProto, rules *validate.FieldRules) *fieldProto {
	f.Options = new(descriptorpb.FieldOptions)
	proto.SetExtension(f.Options, validate.E_Field, rules)
	return f
}

func celRule(id, expression string) *validate.Rule {
	return &validate.Rule{Id: &id, Expression: &expression, Message: proto.String("must " + id)}
}

func celField(expression string) *validate.FieldRules {
	return &validate.FieldRules{Cel: []*validate.Rule{celRule("hold", expression)}}
}

func celMessage(m *messageProto, expressions ...string) *messageProto {
	m.Options = new(descriptorpb.MessageOptions)
	rules := new(validate.MessageRules)
	for i, e := range expressions {
		rules.Cel = append(rules.Cel, celRule(fmt.Sprint("hold.", i), e))
	}
	proto.SetExtension(m.Options, validate.E_Message, rules)
	return m
}

func stringRules(rules *validate.StringRules) *validate.FieldRules {
	return &validate.FieldRules{Type: &validate.FieldRules_String_{String_: rules}}
}

// validateFiles are the files that one with rules imports.
func validateFiles() []*fileProto {
	out := []*fileProto{descriptorFile()}
	for _, file := range []protoreflect.FileDescriptor{
		durationpb.File_google_protobuf_duration_proto, validate.File_buf_validate_validate_proto,
	} {
		out = append(out, protodesc.ToFileDescriptorProto(file))
	}
	deps := validate.File_buf_validate_validate_proto.Imports()
	have := map[string]bool{}
	for _, f := range out {
		have[f.GetName()] = true
	}
	for i := range deps.Len() {
		if f := deps.Get(i); !have[f.Path()] {
			out = append(out, protodesc.ToFileDescriptorProto(f.FileDescriptor))
		}
	}
	return out
}

func ruledFile(messages ...*messageProto) *fileProto {
	return &fileProto{
		Name: proto.String("acme/echo.proto"), Package: proto.String("acme"), Syntax: proto.String("proto3"),
		Dependency:  []string{"buf/validate/validate.proto"},
		MessageType: messages,
		Service:     []*descriptorpb.ServiceDescriptorProto{service("Echoes", method("Say", ".acme.Echo", ".acme.Echo"))},
	}
}

func ruledAnnouncement(t testing.TB, file *fileProto, more ...*fileProto) catalogue.Announcement {
	t.Helper()
	return announce(t, "acme.Echoes", append(append(validateFiles(), more...), file)...)
}

// ruledType is the only task type of a file with rules.
func ruledType(t testing.TB, messages ...*messageProto) catalogue.TaskType {
	t.Helper()
	b := mustBuild(t, ruledAnnouncement(t, ruledFile(messages...)))
	require.Empty(t, b.Refusals())
	return b.TaskTypes()[0]
}

// invalid is why a payload breaks rules.
func invalid(t testing.TB, tt catalogue.TaskType, payload []byte) *catalogue.PayloadError {
	t.Helper()
	err := tt.Validate(payload)
	require.ErrorIs(t, err, catalogue.ErrPayloadInvalid)
	var bad *catalogue.PayloadError
	require.ErrorAs(t, err, &bad)
	require.NotEmpty(t, bad.Violations)
	return bad
}

func fieldsOf(bad *catalogue.PayloadError) []string {
	var out []string
	for _, v := range bad.Violations {
		out = append(out, v.Field+" "+v.Rule)
	}
	return out
}

func TestRulesHold(t *testing.T) {
	t.Parallel()
	echo := message("Echo",
		ruled(field("name", 1, typeString, optional), stringRules(&validate.StringRules{MinLen: proto.Uint64(2)})),
		ruled(messageField("items", 2, repeated, ".acme.Item"), &validate.FieldRules{Type: &validate.FieldRules_Repeated{Repeated: &validate.RepeatedRules{MaxItems: proto.Uint64(3)}}}),
		messageField("labels", 3, repeated, ".acme.Echo.LabelsEntry"),
		ruled(field("sizes", 4, typeInt32, repeated), celField("this.all(x, x > 0)")),
		messageField("parent", 5, optional, ".acme.Echo"),
		ruled(messageField("wait", 6, optional, ".google.protobuf.Duration"),
			&validate.FieldRules{Type: &validate.FieldRules_Duration{Duration: &validate.DurationRules{LessThan: &validate.DurationRules_Lte{Lte: durationpb.New(time.Second)}}}}),
	)
	echo.NestedType = []*messageProto{mapEntry("LabelsEntry", messageField("value", 2, optional, ".acme.Item"))}
	file := ruledFile(celMessage(echo, "this.name != 'nobody'"),
		message("Item", ruled(field("name", 1, typeString, optional), stringRules(&validate.StringRules{Pattern: proto.String("^[a-z]*$")}))))
	file.Dependency = append(file.Dependency, "google/protobuf/duration.proto")
	tt := mustBuild(t, ruledAnnouncement(t, file)).TaskTypes()[0]

	named := bytesField(nil, 1, "good")
	item := func(name string) string { return string(bytesField(nil, 1, name)) }
	items := func(names ...string) []byte {
		b := named
		for _, n := range names {
			b = bytesField(b, 2, item(n))
		}
		return b
	}
	require.NoError(t, tt.Validate(named))
	require.NoError(t, tt.Validate(bytesField(items("a", "b"), 4, "\x01\x02")))
	for name, tc := range map[string]struct {
		payload []byte
		want    []string
	}{
		"a field":        {nil, []string{"name string.min_len"}},
		"the message":    {bytesField(nil, 1, "nobody"), []string{" hold.0"}},
		"a list":         {items("a", "b", "c", "d"), []string{"items repeated.max_items"}},
		"an element":     {items("a", "b", "C"), []string{"items[2].name string.pattern"}},
		"some elements":  {items("A", "b", "C"), []string{"items[0].name string.pattern", "items[2].name string.pattern"}},
		"an entry":       {bytesField(named, 3, string(bytesField(bytesField(nil, 1, "k"), 2, item("X")))), []string{`labels["k"].name string.pattern`}},
		"an expression":  {bytesField(named, 4, "\x01\x00"), []string{"sizes hold"}},
		"deep":           {bytesField(named, 5, string(bytesField(nil, 5, string(named)))), []string{"parent.name string.min_len"}},
		"two fields":     {bytesField(nil, 4, "\x00"), []string{"name string.min_len", "sizes hold"}},
		"a duration":     {bytesField(named, 6, "\x08\x02"), []string{"wait duration.lte"}},
		"with a mistake": {bytesField(bytesField(nil, 1, "x"), 99, "?"), []string{"name string.min_len"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := invalid(t, tt, tc.payload)
			require.ElementsMatch(t, tc.want, fieldsOf(bad))
			for _, v := range bad.Violations {
				require.NotEmpty(t, v.Message)
				require.ErrorContains(t, bad, v.String())
			}
		})
	}
	require.ErrorIs(t, tt.Validate([]byte{0x80}), catalogue.ErrPayloadUndecodable)
}

// predefinedFile has rules of somebody's own that others can use.
func predefinedFile(expression string) *fileProto {
	ext := field("shouted", 5000, typeBool, optional)
	ext.Extendee = proto.String(".buf.validate.StringRules")
	ext.Options = new(descriptorpb.FieldOptions)
	proto.SetExtension(ext.Options, validate.E_Predefined, &validate.PredefinedRules{Cel: []*validate.Rule{celRule("string.shouted", expression)}})
	return &fileProto{
		Name: proto.String("acme/rules.proto"), Package: proto.String("acme.rules"), Syntax: proto.String("proto2"),
		Dependency: []string{"buf/validate/validate.proto"}, Extension: []*fieldProto{ext},
	}
}

func shouted() *validate.FieldRules {
	rules := new(validate.StringRules)
	// As protoc has it, which does not know the extension in Go.
	rules.ProtoReflect().SetUnknown([]byte{0xc0, 0xb8, 0x02, 0x01})
	return stringRules(rules)
}

func TestPredefinedRulesHold(t *testing.T) {
	t.Parallel()
	file := ruledFile(message("Echo", ruled(field("name", 1, typeString, optional), shouted())))
	file.Dependency = append(file.Dependency, "acme/rules.proto")
	b := mustBuild(t, ruledAnnouncement(t, file, predefinedFile("!rule || this == this.upperAscii()")))
	require.Empty(t, b.Refusals())
	tt := b.TaskTypes()[0]
	require.NoError(t, tt.Validate(bytesField(nil, 1, "LOUD")))
	require.Equal(t, []string{"name string.shouted"}, fieldsOf(invalid(t, tt, bytesField(nil, 1, "quiet"))))

	// Without the file that defines it, nobody knows the rule: it must not be ignored.
	b = mustBuild(t, ruledAnnouncement(t, ruledFile(message("Echo", ruled(field("name", 1, typeString, optional), shouted())))))
	require.Len(t, b.Refusals(), 1)
	require.Contains(t, b.Refusals()[0].Message, "field name")
	require.Contains(t, b.Refusals()[0].Message, "unknown rules")
}

func TestARequiredOneofHolds(t *testing.T) {
	t.Parallel()
	echo := message("Echo", field("a", 1, typeString, optional), field("b", 2, typeString, optional))
	echo.Field[0].OneofIndex, echo.Field[1].OneofIndex = proto.Int32(0), proto.Int32(0)
	one := &descriptorpb.OneofDescriptorProto{Name: proto.String("either"), Options: new(descriptorpb.OneofOptions)}
	proto.SetExtension(one.Options, validate.E_Oneof, &validate.OneofRules{Required: proto.Bool(true)})
	echo.OneofDecl = []*descriptorpb.OneofDescriptorProto{one}
	tt := ruledType(t, echo)
	require.NoError(t, tt.Validate(bytesField(nil, 1, "")))
	require.Equal(t, []string{"either required"}, fieldsOf(invalid(t, tt, nil)))
}

func TestBadRulesAreRefusedByName(t *testing.T) {
	t.Parallel()
	loops := func(depth int) string {
		return strings.Repeat("this.all(x, this.all(y, ", depth/2) + "true" + strings.Repeat("))", depth/2)
	}
	many := make([]string, 600)
	for i := range many {
		many[i] = "true"
	}
	for name, tc := range map[string]struct {
		messages []*messageProto
		want     []string
	}{
		"no CEL":             {[]*messageProto{message("Echo", ruled(field("name", 1, typeString, optional), celField("this +")))}, []string{"acme.Echo", "field name", `rule "hold"`}},
		"another type":       {[]*messageProto{message("Echo", ruled(field("name", 1, typeString, optional), celField("this > 5")))}, []string{"acme.Echo", "field name", "hold"}},
		"no answer":          {[]*messageProto{message("Echo", ruled(field("name", 1, typeString, optional), celField("5")))}, []string{"field name", "bool or string"}},
		"rules of a number":  {[]*messageProto{message("Echo", ruled(field("name", 1, typeInt32, optional), stringRules(&validate.StringRules{MinLen: proto.Uint64(1)})))}, []string{"field name"}},
		"of the message":     {[]*messageProto{celMessage(message("Echo", field("name", 1, typeString, optional)), "this.gone == ''")}, []string{"message acme.Echo", "gone"}},
		"of a nested one":    {[]*messageProto{message("Echo", messageField("item", 1, optional, ".acme.Item")), celMessage(message("Item"), "this.gone == ''")}, []string{"gone"}},
		"of a nested field":  {[]*messageProto{message("Echo", messageField("item", 1, optional, ".acme.Item")), message("Item", ruled(field("name", 1, typeString, optional), celField("this > 5")))}, []string{"acme.Item", "field name"}},
		"loops in loops":     {[]*messageProto{message("Echo", ruled(field("sizes", 1, typeInt32, repeated), celField(loops(4))))}, []string{"field sizes", "loops in loops"}},
		"loops by itself":    {[]*messageProto{message("Echo", ruled(field("n", 1, typeInt32, optional), celField("[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, [1,2,3,4,5,6,7,8,9].all(d, [1,2,3,4,5,6,7,8,9].all(e, true)))))")))}, []string{"field n", "steps"}},
		"loops over a text":  {[]*messageProto{message("Echo", ruled(field("n", 1, typeInt32, optional), celField(fmt.Sprintf("%q.split(',').all(a, %q.split(',').all(b, true))", strings.Repeat(",", 100), strings.Repeat(",", 100)))))}, []string{"field n", "steps"}},
		"text that grows":    {[]*messageProto{message("Echo", ruled(field("s", 1, typeString, optional), celField("this.replace('', '0123456789').replace('', '0123456789') != ''")))}, []string{"field s", "replace()"}},
		"text that adds up":  {[]*messageProto{message("Echo", ruled(field("s", 1, typeString, optional), celField(strings.Repeat("this+", 100)+"this != ''")))}, []string{"field s", "longer 100 times"}},
		"a pattern sent":     {[]*messageProto{celMessage(message("Echo", field("a", 1, typeString, optional), field("b", 2, typeString, optional)), "this.a.matches(this.b)")}, []string{"acme.Echo", "matches()"}},
		"a pattern computed": {[]*messageProto{celMessage(message("Echo", field("a", 1, typeString, optional), field("b", 2, typeString, optional)), "this.a.matches('^' + 'b')")}, []string{"acme.Echo", "matches()"}},
		"a pattern too far":  {[]*messageProto{message("Echo", ruled(field("s", 1, typeString, optional), stringRules(&validate.StringRules{Pattern: proto.String("(((a{100}){100}){100}){100}")})))}, []string{"field s"}},
		"long":               {[]*messageProto{message("Echo", ruled(field("s", 1, typeString, optional), celField(strings.Repeat(" ", 5000)+"true")))}, []string{"field s", "5004 bytes"}},
		"deep":               {[]*messageProto{message("Echo", ruled(field("s", 1, typeString, optional), celField(strings.Repeat("(", 2000)+"true"+strings.Repeat(")", 2000))))}, []string{"field s"}},
		"many":               {[]*messageProto{celMessage(message("Echo"), many...)}, []string{"more than 500 expressions"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := mustBuild(t, ruledAnnouncement(t, ruledFile(tc.messages...)))
			require.Empty(t, b.TaskTypes())
			require.Len(t, b.Refusals(), 1)
			refusal := b.Refusals()[0]
			require.Equal(t, "acme.Echoes.Say", refusal.Name)
			require.False(t, refusal.Service)
			for _, want := range tc.want {
				require.Contains(t, refusal.Message, want)
			}
			require.NotContains(t, refusal.Message, "\n")
			require.Less(t, len(refusal.Message), 2000)
		})
	}
}

// What only users of one message need does not cost the others their service.
func TestBadRulesCostOnlyTheMethodsThatHaveThem(t *testing.T) {
	t.Parallel()
	file := ruledFile(message("Echo", ruled(field("name", 1, typeString, optional), celField("this > 5"))), message("Good"))
	file.Service[0].Method = append(file.Service[0].Method, method("Well", ".acme.Good", ".acme.Echo"))
	b := mustBuild(t, ruledAnnouncement(t, file))
	require.Equal(t, []string{"acme.Echoes.Well"}, typeNames(b.TaskTypes()), "rules for results are not applied")
}

func TestUsefulRulesAreNotRefused(t *testing.T) {
	t.Parallel()
	echo := message("Echo", messageField("items", 1, repeated, ".acme.Item"), field("prefix", 2, typeString, optional))
	for _, expression := range []string{
		"this.items.all(x, x.name.startsWith(this.prefix))",
		"this.items.all(x, this.items.exists_one(y, y.name == x.name))",
		"this.items.map(x, x.name).unique()",
		"this.items.all(x, x.tags.all(t, t in ['a', 'b']))",
		"this.prefix.matches('^[a-z]{1,20}$') && this.items.size() < 10 ? '' : 'must be ' + this.prefix + ' and few'",
		"this.items.filter(x, x.name != '').size() > 0 || this.prefix.replace('-', '') == ''",
	} {
		m := celMessage(proto.CloneOf(echo), expression)
		b := mustBuild(t, ruledAnnouncement(t, ruledFile(m, message("Item", field("name", 1, typeString, optional), field("tags", 2, typeString, repeated)))))
		require.Empty(t, b.Refusals(), expression)
	}
}

// Lists and texts that grow with each step take no memory and no time of a build: they
// are refused, whether they start with the payload or with themselves.
func TestWhatGrowsIsRefused(t *testing.T) {
	t.Parallel()
	times := func(what string, n int) string { return strings.TrimSuffix(strings.Repeat(what+",", n), ",") }
	joined := strings.Repeat(".map(a,["+times("a", 100)+"].join(''))", 4) + " != []"
	spread := strings.Repeat(".map(a,["+times("a", 300)+"])", 3)
	for name, tc := range map[string]struct{ expression, want string }{
		"joins in a row":            {"['x']" + joined, "a list"},
		"joins of the payload":      {"[this]" + joined, "a text"},
		"one join":                  {"[" + times("this", 100) + "].join('') != ''", "a text"},
		"joins with much between":   {"this.split('').join('" + strings.Repeat("-", 100) + "') != ''", "a text"},
		"a join with the payload":   {"this.split('').join(this) != ''", "a text"},
		"text in each round":        {"this.split('').map(x, this + x) != []", "a list"},
		"additions in a row":        {"[this]" + strings.Repeat(".map(a, a+a)", 10) + " != []", "a text"},
		"additions of literals":     {"['xxxx']" + strings.Repeat(".map(a, a+a+a+a)", 8) + " != []", "a text"},
		"formats in a row":          {"['x']" + strings.Repeat(".map(a, '%s%s%s%s'.format([a,a,a,a]))", 7) + " != []", "a text"},
		"a format of the payload":   {"this.format([this]) != ''", "format()"},
		"a format with many digits": {"'%.999999f'.format([1.0]) != ''", "format()"},
		"quotes in quotes":          {strings.Repeat("strings.quote(", 40) + "this" + strings.Repeat(")", 40) + " != ''", "a text"},
		"lists in lists":            {"[1]" + spread + ".all(p,p.all(q,q.all(r,r.all(s,s==1))))", "a list"},
		"lists that are compared":   {"[1]" + spread + ".all(p, p == p)", "a list"},
		"maps in maps":              {"[1]" + strings.Repeat(".map(a,{1:a,2:a,3:a,4:a,5:a,6:a,7:a,8:a,9:a})", 5) + " != []", "a list"},
		"loops over a made list":    {"[1].map(a,[" + times("a", 200) + "]).all(p,p.all(q,p.all(r,r==1)))", "steps"},
		"comparing in loops":        {"[1].map(a,[" + times("a", 200) + "]).all(p, p.all(q, p == p))", "steps"},
		"loops too deep":            {strings.Repeat("[1].all(x,", 9) + "true" + strings.Repeat(")", 9), "loops in loops"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.LessOrEqual(t, len(tc.expression), 4096)
			b := mustBuild(t, ruledAnnouncement(t, ruledFile(message("Echo", ruled(field("s", 1, typeString, optional), celField(tc.expression))))))
			require.Empty(t, b.TaskTypes())
			require.Len(t, b.Refusals(), 1)
			require.Contains(t, b.Refusals()[0].Message, "field s")
			require.Contains(t, b.Refusals()[0].Message, tc.want)
		})
	}
}

func TestTextsAndListsThatStaySmallAreNotRefused(t *testing.T) {
	t.Parallel()
	for _, expression := range []string{
		"this.split(',').map(x, x.trim()).filter(x, x != '').unique()",
		"this.split(',').all(x, x in ['red', 'green', 'blue', 'yellow', 'black', 'white'])",
		"this.split(' ').map(x, x.lowerAscii()).join('-').matches('^[a-z-]*$')",
		"this.size() < 64 ? '' : 'must be shorter than %d, but is %s (%d)'.format([64, this, this.size()])",
		"['/', '?', '#'].exists(x, this.contains(x)) ? 'must have none of ' + ['/', '?', '#'].join(', ') : ''",
		"this == '' || this.split('.').map(x, [x, x.size() > 3 ? x : 'x' + x]).all(p, p[1].startsWith(p[0]) || p[0] != '')",
		"string(this.size()) + strings.quote(this) != '' && this.replace(' ', '%20').size() < 1000",
	} {
		b := mustBuild(t, ruledAnnouncement(t, ruledFile(message("Echo", ruled(field("s", 1, typeString, optional), celField(expression))))))
		require.Empty(t, b.Refusals(), expression)
	}
}

// A payload makes a loop in a loop long; the answer comes soon all the same.
func TestRulesTakeBoundedTime(t *testing.T) {
	t.Parallel()
	tt := ruledType(t, celMessage(message("Echo", messageField("items", 1, repeated, ".acme.Item")),
		"this.items.all(x, this.items.exists(y, y.name == x.name))"), message("Item", field("name", 1, typeString, optional)))
	items := func(n int) (b []byte) {
		for i := range n {
			b = bytesField(b, 1, string(bytesField(nil, 1, fmt.Sprint(i))))
		}
		return b
	}
	require.NoError(t, tt.Validate(items(300)))
	start := time.Now()
	bad := invalid(t, tt, items(100_000))
	require.Less(t, time.Since(start), soon)
	require.Equal(t, []string{" warren.steps"}, fieldsOf(bad))
	require.ErrorContains(t, bad, "acme.Echo")

	// A text that is taken to pieces counts with every byte.
	tt = ruledType(t, message("Echo", ruled(field("s", 1, typeString, optional), celField("this.split('').all(x, this.split('').exists(y, y == x))"))))
	require.NoError(t, tt.Validate(bytesField(nil, 1, strings.Repeat("a", 300))))
	start = time.Now()
	bad = invalid(t, tt, bytesField(nil, 1, strings.Repeat("a", 200_000)))
	require.Less(t, time.Since(start), soon)
	require.Equal(t, []string{" warren.steps"}, fieldsOf(bad))
	require.ErrorContains(t, bad, "acme.Echo.s")

	// So do loops over what the rule has itself, around one over the payload.
	ones := "[" + strings.TrimSuffix(strings.Repeat("1,", 98), ",") + "]"
	tt = ruledType(t, celMessage(message("Echo", messageField("items", 1, repeated, ".acme.Item")),
		fmt.Sprintf("%s.all(x, %s.all(y, this.items.all(z, z.name != 'q')))", ones, ones)), message("Item", field("name", 1, typeString, optional)))
	require.NoError(t, tt.Validate(items(50)))
	start = time.Now()
	bad = invalid(t, tt, items(100_000))
	require.Less(t, time.Since(start), soon)
	require.Equal(t, []string{" warren.steps"}, fieldsOf(bad))
	// And for each element of a field.
	tt = ruledType(t, message("Echo", ruled(field("n", 1, typeInt32, repeated), &validate.FieldRules{Type: &validate.FieldRules_Repeated{Repeated: &validate.RepeatedRules{
		Items: celField(fmt.Sprintf("%s.all(x, %s.all(y, this != 7))", ones, ones)),
	}}})))
	bad = invalid(t, tt, bytesField(nil, 1, strings.Repeat("\x01", 100_000)))
	require.Less(t, time.Since(start), soon)
	require.Equal(t, []string{" warren.steps"}, fieldsOf(bad))

	// A loop alone is paid for by what it goes over.
	tt = ruledType(t, celMessage(message("Echo", messageField("items", 1, repeated, ".acme.Item")),
		"this.items.all(x, x.name.contains('') && x.tags.all(t, t.size() < 10))"), message("Item", field("name", 1, typeString, optional), field("tags", 2, typeString, repeated)))
	require.NoError(t, tt.Validate(items(100_000)))
}

func TestViolationsAreBounded(t *testing.T) {
	t.Parallel()
	tt := ruledType(t, message("Echo", messageField("items", 1, repeated, ".acme.Item")),
		message("Item", ruled(field("name", 1, typeString, optional), stringRules(&validate.StringRules{MaxLen: proto.Uint64(0)}))))
	items := func(n int) (b []byte) {
		for range n {
			b = bytesField(b, 1, string(bytesField(nil, 1, "x")))
		}
		return b
	}
	bad := invalid(t, tt, items(1000))
	require.Len(t, bad.Violations, 20)
	require.ErrorContains(t, bad, "and 980 more")
	bad = invalid(t, tt, items(100_000))
	require.Equal(t, []string{"items[0].name string.max_len"}, fieldsOf(bad), "the others are not looked for")

	long := string(bytesField(nil, 1, strings.Repeat("é", 100_000)))
	tt = ruledType(t, message("Echo", ruled(field("name", 1, typeString, optional), celField("'no ' + this"))))
	bad = invalid(t, tt, []byte(long))
	require.Less(t, len(bad.Error()), 1000)
	require.True(t, strings.HasSuffix(bad.Violations[0].Message, "…"))
}

// A rule that fails on a payload is no rule that it keeps.
func TestARuleThatCannotBeApplied(t *testing.T) {
	t.Parallel()
	tt := ruledType(t, message("Echo", ruled(field("n", 1, typeInt32, optional), celField("10 / this > 1"))))
	require.NoError(t, tt.Validate([]byte{0x08, 0x02}))
	require.Equal(t, []string{" warren.rule"}, fieldsOf(invalid(t, tt, []byte{0x08, 0x00})))
}

func TestRulesDoNotLookIntoAny(t *testing.T) {
	t.Parallel()
	file := ruledFile(message("Echo", messageField("extra", 1, optional, ".google.protobuf.Any")))
	file.Dependency = append(file.Dependency, "google/protobuf/any.proto")
	b := mustBuild(t, ruledAnnouncement(t, file, wellKnown()[0]))
	require.NoError(t, b.TaskTypes()[0].Validate(bytesField(nil, 1, string(bytesField(nil, 1, "type.googleapis.com/acme.Echo")))))
}

// Types without rules have none to pay for, whatever else their bundle has.
func TestTypesWithoutRulesAreNotDecoded(t *testing.T) {
	file := ruledFile(message("Echo", field("name", 1, typeString, optional)),
		message("Ruled", ruled(field("name", 1, typeString, optional), stringRules(&validate.StringRules{MinLen: proto.Uint64(1)}))))
	file.Service[0].Method = append(file.Service[0].Method, method("Ruled", ".acme.Ruled", ".acme.Echo"))
	b := mustBuild(t, ruledAnnouncement(t, file))
	payload := bytesField(nil, 1, "text")
	allocations := func(name string) float64 {
		for _, tt := range b.TaskTypes() {
			if tt.Method == name {
				return testing.AllocsPerRun(100, func() { require.NoError(t, tt.Validate(payload)) })
			}
		}
		return -1
	}
	require.Zero(t, allocations("Say"))
	require.Positive(t, allocations("Ruled"))
}
