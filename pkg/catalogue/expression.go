package catalogue

import (
	"errors"
	"fmt"
	"sync"

	pvcel "buf.build/go/protovalidate/cel"
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// Limits of an expression in a rule: CEL has no loops without an end, but loops in
// loops, and text that grows with each step.
const (
	// maxDegree bounds loops in loops over what a payload has.
	maxDegree = 3
	// maxConstantSteps bounds loops over lists that the expression itself has.
	maxConstantSteps = 10_000
	// maxJoins bounds operations that make text longer.
	maxJoins = 32
	// maxGrowth bounds how many times longer than the payload a text may become.
	maxGrowth = 16
	// maxSpread bounds how many times larger than the payload a list may become.
	maxSpread = 256
	// maxNesting bounds loops in loops of any kind.
	maxNesting = 8
)

// syntax parses expressions as protovalidate does.
var syntax = sync.OnceValues(func() (*cel.Env, error) { return cel.NewEnv(cel.Lib(pvcel.NewLibrary())) })

// growth says how the steps that expressions take grow with what they look at.
type growth struct {
	// constant × size^degree steps are taken at most.
	constant float64
	degree   int
	// perByte says that they make elements of text, which counts with every byte then.
	perByte bool
}

// most is the growth of either of two expressions.
func (g growth) most(o growth) growth {
	return growth{max(g.constant, o.constant), max(g.degree, o.degree), g.perByte || o.perByte}
}

// growthOf is the growth of an expression. It fails if the expression is not
// valid or could take very long, or very much memory, on a payload of any size.
func growthOf(text string) (growth, error) {
	env, err := syntax()
	if err != nil {
		return growth{}, fmt.Errorf("make a parser: %w", err)
	}
	parsed, issues := env.Parse(text)
	if err := issues.Err(); err != nil {
		return growth{}, errors.New(oneLine(err))
	}
	root := parsed.NativeRep().Expr()
	if nesting(root) > maxNesting {
		return growth{}, fmt.Errorf("its expression has loops in loops to a depth of more than %d", maxNesting)
	}
	m := measure{sizes: make(map[int64]extent)}
	m.size(root, nil)
	cost := m.of(root, nil)
	switch {
	case m.bad != nil:
		return growth{}, m.bad
	case m.joins > maxJoins:
		return growth{}, fmt.Errorf("its expression makes text longer %d times, at most %d", m.joins, maxJoins)
	case m.large != nil:
		return growth{}, m.large
	case cost.degree > maxDegree:
		return growth{}, fmt.Errorf("its expression has loops in loops to a depth of %d, at most %d", cost.degree, maxDegree)
	case cost.constant > maxConstantSteps:
		return growth{}, fmt.Errorf("its expression takes more than %d steps whatever the payload is", maxConstantSteps)
	}
	return growth{cost.constant, cost.degree, m.splits}, nil
}

// cost is a number of steps: constant × size^degree.
type cost struct {
	constant float64
	degree   int
}

func (c cost) most(others ...cost) cost {
	for _, o := range others {
		c.constant, c.degree = max(c.constant, o.constant), max(c.degree, o.degree)
	}
	return c
}

// measure finds the cost of an expression.
type measure struct {
	joins int
	// splits says that it makes a list of a text.
	splits bool
	// Why it can't be used at all, and the first value that could be too large.
	bad, large error
	// The greatest size that each part of the expression has, by its id.
	sizes map[int64]extent
}

// loop is what is known within a loop; nil is outside of any.
type loop struct {
	// Variables that have, over all rounds, no more than what the loop goes over: each
	// step that looks at nothing else is paid for by the loop.
	own map[string]bool
}

func (m *measure) of(e ast.Expr, in *loop) cost {
	switch e.Kind() {
	case ast.CallKind:
		return m.call(e.AsCall(), in)
	case ast.ComprehensionKind:
		return m.loop(e.AsComprehension(), in)
	case ast.SelectKind:
		return m.of(e.AsSelect().Operand(), in)
	default:
		c := cost{constant: 1}
		for _, child := range children(e) {
			c = c.most(m.of(child, in))
		}
		return c
	}
}

func (m *measure) call(call ast.CallExpr, in *loop) cost {
	c := cost{constant: 1}
	operands := call.Args()
	if call.IsMemberFunction() {
		operands = append([]ast.Expr{call.Target()}, operands...)
	}
	m.restrict(call.FunctionName(), operands)
	for _, o := range operands {
		c = c.most(m.of(o, in))
		c.constant = max(c.constant, m.passes(o))
		if in != nil && !cheap[call.FunctionName()] && looksOutside(o, in.own) {
			c.degree = max(c.degree, 1)
		}
	}
	return c
}

// passes is how many steps it takes to pass over the part of a value that does not come
// from the payload.
func (m *measure) passes(e ast.Expr) float64 {
	fixed := m.sizes[e.ID()].fixed
	switch {
	case e.Kind() == ast.LiteralKind:
		return 1
	case e.Kind() == ast.ListKind:
		return float64(e.AsList().Size())
	case e.Kind() == ast.CallKind && makesText[e.AsCall().FunctionName()]:
		return fixed / float64(countChunks)
	}
	return fixed
}

// makesText are the functions whose results can only be text.
var makesText = map[string]bool{"string": true, "format": true, "join": true, "replace": true, "trim": true, "lowerAscii": true, "upperAscii": true, "substring": true}

// cheap are the operations that take the same time whatever their operands are, or
// stop at the first difference.
var cheap = map[string]bool{
	operators.LogicalAnd: true, operators.LogicalOr: true, operators.LogicalNot: true, operators.Conditional: true,
	operators.NotStrictlyFalse: true,
	operators.Equals:           true, operators.NotEquals: true, operators.Less: true, operators.LessEquals: true,
	operators.Greater: true, operators.GreaterEquals: true, operators.Index: true, operators.Negate: true,
	operators.Subtract: true, operators.Multiply: true, operators.Divide: true, operators.Modulo: true,
	"size": true, "has": true, "int": true, "uint": true, "double": true, "type": true, "duration": true, "timestamp": true,
	"startsWith": true, "endsWith": true, "isNan": true, "isInf": true,
}

// restrict refuses what takes time or memory out of all proportion to the payload.
func (m *measure) restrict(function string, operands []ast.Expr) {
	switch function {
	case operators.Add, "format", "join":
		m.joins++
	case "split":
		m.splits = true
	case "replace":
		m.joins += maxJoins / 2
		if len(operands) < 3 || textOf(operands[1]) == "" || operands[2].Kind() != ast.LiteralKind || len(textOf(operands[2])) > 16 {
			m.bad = errors.New("replace() needs a literal text to replace, and at most 16 bytes in its place: it could make text very long")
		}
	case "matches":
		if len(operands) > 1 && (len(children(operands[1])) > 0 && operands[1].Kind() != ast.SelectKind || looksOutside(operands[1], ruleValues)) {
			m.bad = errors.New("matches() needs a literal pattern, or one that the rule has: one from the payload can take very long")
		}
	}
}

// ruleValues are the variables by which predefined rules know what they were given.
var ruleValues = map[string]bool{"rule": true, "rules": true}

func textOf(e ast.Expr) string {
	if e.Kind() != ast.LiteralKind {
		return ""
	}
	text, _ := e.AsLiteral().Value().(string)
	return text
}

func (m *measure) loop(l ast.ComprehensionExpr, in *loop) cost {
	over := l.IterRange()
	own := map[string]bool{l.AccuVar(): true}
	if isPath(over) {
		own[l.IterVar()], own[l.IterVar2()] = true, true
	}
	inner := &loop{own: own}
	body := m.of(l.LoopStep(), inner).most(m.of(l.LoopCondition(), inner), m.of(l.Result(), inner))
	switch {
	case over.Kind() == ast.ListKind:
		body.constant *= float64(over.AsList().Size() + 1)
	case !looksOutside(over, nil):
		// Of what is written in the expression, such as "a,b".split(",").
		body.constant *= m.sizes[over.ID()].fixed + 1
	case in == nil || looksOutside(over, in.own):
		size := m.sizes[over.ID()]
		body.constant *= max(1, size.fixed, size.times)
		body.degree++
	case !isPath(over):
		size := m.sizes[over.ID()]
		body.constant *= max(1, size.fixed, size.times)
	}
	return body.most(m.of(over, in), m.of(l.AccuInit(), in))
}

// isPath says that an expression only names something, such as this.items, so that
// the elements of it are different things.
func isPath(e ast.Expr) bool {
	for e.Kind() == ast.SelectKind {
		e = e.AsSelect().Operand()
	}
	return e.Kind() == ast.IdentKind
}

// looksOutside says whether an expression has variables that are not a loop's own.
func looksOutside(e ast.Expr, own map[string]bool) bool {
	if e.Kind() == ast.IdentKind {
		return !own[e.AsIdent()]
	}
	for _, child := range children(e) {
		if looksOutside(child, own) {
			return true
		}
	}
	return false
}

func children(e ast.Expr) []ast.Expr {
	switch e.Kind() {
	case ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			return append([]ast.Expr{call.Target()}, call.Args()...)
		}
		return call.Args()
	case ast.ComprehensionKind:
		l := e.AsComprehension()
		return []ast.Expr{l.IterRange(), l.AccuInit(), l.LoopCondition(), l.LoopStep(), l.Result()}
	case ast.ListKind:
		return e.AsList().Elements()
	case ast.MapKind:
		var out []ast.Expr
		for _, entry := range e.AsMap().Entries() {
			out = append(out, entry.AsMapEntry().Key(), entry.AsMapEntry().Value())
		}
		return out
	case ast.SelectKind:
		return []ast.Expr{e.AsSelect().Operand()}
	case ast.StructKind:
		var out []ast.Expr
		for _, field := range e.AsStruct().Fields() {
			out = append(out, field.AsStructField().Value())
		}
		return out
	}
	return nil
}
