package catalogue

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// extent is how large a value can be, with all that it holds, each as often as it
// holds it: fixed + times × the payload, in bytes and elements. It is square if it
// may grow with the payload faster than that.
type extent struct {
	fixed, times float64
	square       bool
}

// one is the extent of a number, a truth or a time.
var one = extent{fixed: 1}

func (e extent) plus(o extent) extent {
	return extent{e.fixed + o.fixed, e.times + o.times, e.square || o.square}
}

// by is a product, of which one side must be fixed to be bounded.
func (e extent) by(o extent) extent {
	return extent{
		e.fixed * o.fixed, e.fixed*o.times + e.times*o.fixed + e.times*o.times,
		e.square || o.square || e.times > 0 && o.times > 0,
	}
}

// size finds how large the value of an expression can be, and refuses one with a
// value out of all proportion. Variables that are not of a loop have the payload.
func (m *measure) size(e ast.Expr, vars map[string]extent) extent {
	out := m.sizeOf(e, vars)
	m.hold(out, maxSpread, "a list")
	most := m.sizes[e.ID()]
	m.sizes[e.ID()] = extent{max(out.fixed, most.fixed), max(out.times, most.times), out.square || most.square}
	return out
}

func (m *measure) hold(e extent, times float64, what string) {
	if m.large == nil && (e.square || e.times > times || e.fixed > maxConstantSteps) {
		m.large = fmt.Errorf("its expression makes %s that could be more than %.0f times as large as the payload, or than %d by itself: "+
			"repeat fewer values, and make no lists or texts of lists that it made itself", what, times, maxConstantSteps)
	}
}

func (m *measure) sizeOf(e ast.Expr, vars map[string]extent) extent {
	switch e.Kind() {
	case ast.IdentKind:
		if known, ok := vars[e.AsIdent()]; ok {
			return known
		}
		return extent{times: 1}
	case ast.LiteralKind:
		return literalSize(e)
	case ast.CallKind:
		return m.sizeOfCall(e.AsCall(), vars)
	case ast.ComprehensionKind:
		return m.sizeOfLoop(e.AsComprehension(), vars)
	}
	out := extent{}
	if e.Kind() != ast.SelectKind {
		out = one
	}
	for _, child := range children(e) {
		out = out.plus(m.size(child, vars))
	}
	return out
}

func literalSize(e ast.Expr) extent {
	switch v := e.AsLiteral().Value().(type) {
	case string:
		return extent{fixed: float64(len(v) + 1)}
	case []byte:
		return extent{fixed: float64(len(v) + 1)}
	}
	return one
}

// small are the operations whose results are numbers, truths and times.
var small = map[string]bool{
	operators.LogicalAnd: true, operators.LogicalOr: true, operators.LogicalNot: true, operators.NotStrictlyFalse: true,
	operators.Equals: true, operators.NotEquals: true, operators.Less: true, operators.LessEquals: true,
	operators.Greater: true, operators.GreaterEquals: true, operators.In: true, operators.Negate: true,
	operators.Subtract: true, operators.Multiply: true, operators.Divide: true, operators.Modulo: true,
	"size": true, "int": true, "uint": true, "double": true, "bool": true, "duration": true, "timestamp": true,
	"contains": true, "startsWith": true, "endsWith": true, "matches": true, "indexOf": true, "lastIndexOf": true,
	"unique": true, "isNan": true, "isInf": true,
}

// longest is more than a number or a time has as text: %f writes 309 digits, and up
// to 99 after the point.
var longest = map[string]float64{"string": 32, "format": 512}

// sizeOfCall is that of all operands together, if the function is not known.
func (m *measure) sizeOfCall(call ast.CallExpr, vars map[string]extent) extent {
	operands := call.Args()
	if call.IsMemberFunction() {
		operands = append([]ast.Expr{call.Target()}, operands...)
	}
	if len(operands) == 0 {
		return one
	}
	sizes := make([]extent, len(operands))
	all := extent{}
	for i, o := range operands {
		sizes[i] = m.size(o, vars)
		all = all.plus(sizes[i])
	}
	function := call.FunctionName()
	switch {
	case small[function]:
		return one
	case function == operators.Conditional && len(sizes) == 3:
		return sizes[1].plus(sizes[2])
	case function == operators.Index:
		return sizes[0]
	case function == "string":
		return all.plus(extent{fixed: longest[function]})
	case function == "split":
		// Each byte may become an element.
		return all.by(extent{fixed: 2}).plus(one)
	case function == operators.Add && isOwnResult(operands[0]):
		return all
	}
	if grown, ok := m.grown(function, operands, sizes, all); ok {
		m.hold(grown, maxGrowth, "a text")
		return grown
	}
	return all
}

// isOwnResult says that something is what a loop has made so far.
func isOwnResult(e ast.Expr) bool {
	return e.Kind() == ast.IdentKind && strings.HasPrefix(e.AsIdent(), "@")
}

// grown is the size of a text that is longer than what it is made of.
func (m *measure) grown(function string, operands []ast.Expr, sizes []extent, all extent) (extent, bool) {
	switch function {
	case operators.Add:
		return all, true
	case "join":
		if len(sizes) < 2 {
			return all, true
		}
		elements := sizes[0]
		if operands[0].Kind() == ast.ListKind {
			elements = extent{fixed: float64(operands[0].AsList().Size())}
		}
		return sizes[0].plus(elements.by(sizes[1])), true
	case "format":
		template := textOf(operands[0])
		if template == "" || longPrecision.MatchString(template) {
			m.bad = errors.New("format() needs a literal text, with at most two digits of precision: it could make text very long")
		}
		return all.by(extent{fixed: 4}).plus(extent{fixed: longest[function] * float64(strings.Count(template, "%"))}), true
	case "replace":
		if len(operands) < 3 {
			return all, true
		}
		times := float64(len(textOf(operands[2]))) / float64(max(1, len(textOf(operands[1]))))
		return sizes[0].by(extent{fixed: max(1, times)}), true
	case "quote", "strings.quote":
		return sizes[len(sizes)-1].by(extent{fixed: 3}).plus(extent{fixed: 2}), true
	}
	return extent{}, false
}

var longPrecision = regexp.MustCompile(`\.[0-9]{3}`)

// sizeOfLoop is, for one that makes a list, the sum of what its rounds add to it.
func (m *measure) sizeOfLoop(l ast.ComprehensionExpr, vars map[string]extent) extent {
	over, init := m.size(l.IterRange(), vars), m.size(l.AccuInit(), vars)
	within := maps.Clone(vars)
	if within == nil {
		within = make(map[string]extent)
	}
	round := func(element extent) extent {
		within[l.IterVar()], within[l.IterVar2()] = element, element
		within[l.AccuVar()] = extent{}
		m.size(l.LoopCondition(), within)
		return m.size(l.LoopStep(), within)
	}
	// A round adds something, and something for what its element has; all elements
	// together have no more than the list.
	most, least := round(over), round(extent{})
	sum := one
	if l.AccuInit().Kind() == ast.ListKind {
		rounds := over
		if l.IterRange().Kind() == ast.ListKind {
			rounds = extent{fixed: float64(l.IterRange().AsList().Size())}
		}
		sum = init.plus(rounds.by(least)).plus(extent{most.fixed - least.fixed, most.times - least.times, most.square})
	}
	within[l.AccuVar()] = sum
	return m.size(l.Result(), within)
}

// nesting is how deep loops are in loops.
func nesting(e ast.Expr) int {
	if e.Kind() == ast.ComprehensionKind {
		l := e.AsComprehension()
		return max(nesting(l.IterRange()), 1+max(nesting(l.LoopCondition()), nesting(l.LoopStep()), nesting(l.Result())))
	}
	deepest := 0
	for _, child := range children(e) {
		deepest = max(deepest, nesting(child))
	}
	return deepest
}
