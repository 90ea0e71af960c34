package notify

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"google.golang.org/genproto/googleapis/rpc/code"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Rules say which dead letters somebody is told of.
type Rules struct {
	types []string
	codes map[int]bool
}

// ParseRules reads patterns of task types, in which `*` is any text, `?` any
// character and `[a-z]` a range, and names of status codes. Without any, every
// dead letter counts; else one whose type or code is among them.
func ParseRules(types, codeNames []string) (Rules, error) {
	r := Rules{types: types, codes: map[int]bool{}}
	for _, pattern := range types {
		if _, err := path.Match(pattern, ""); err != nil {
			return r, fmt.Errorf("the pattern %q: %w", pattern, err)
		}
	}
	for _, name := range codeNames {
		number, ok := code.Code_value[name]
		if !ok {
			return r, fmt.Errorf("the status code %q is unknown; one is UNAVAILABLE", name)
		}
		r.codes[int(number)] = true
	}
	return r, nil
}

// Match says whether somebody is told of an arrival.
func (r Rules) Match(a *store.Arrival) bool {
	if len(r.types) == 0 && len(r.codes) == 0 {
		return true
	}
	if f := a.Occurrence.Failure; f != nil && r.codes[f.Code] {
		return true
	}
	for _, pattern := range r.types {
		// The patterns were checked.
		if ok, err := path.Match(pattern, a.Type); ok && err == nil {
			return true
		}
	}
	return false
}

// BuiltIn are the rules as the one that the API shows: of its types and codes, one is
// enough.
func (r Rules) BuiltIn() store.Rule {
	return store.Rule{
		ID: store.BuiltInRule, Trigger: store.TriggerDeadLetter, Types: r.types,
		Codes: slices.Sorted(maps.Keys(r.codes)), Channels: []string{store.BuiltInRule},
	}
}
