// Package filtertest says what filters hold for, one by one: what the queries
// that engines make of them have to select.
package filtertest

import (
	"cmp"
	"slices"
	"time"

	"github.com/warrenmq/warren/pkg/filter"
)

// Subject is what filters are about. Most of its fields have one value, which may
// be empty or 0; some have several, or none.
type Subject struct {
	Texts   map[filter.Field][]string
	Numbers map[filter.Field][]int64
	// Times that are zero are unset.
	Times  map[filter.Field]time.Time
	Labels map[string]string
}

// Holds says whether a filter holds for something; nil does for all.
func Holds(f filter.Expr, s Subject) bool {
	term := func(f filter.Expr) bool { return Holds(f, s) }
	switch f := f.(type) {
	case filter.And:
		return !slices.ContainsFunc(f.Terms, func(f filter.Expr) bool { return !term(f) })
	case filter.Or:
		return slices.ContainsFunc(f.Terms, term)
	case filter.Not:
		return !term(f.Term)
	case filter.Text:
		return slices.ContainsFunc(s.Texts[f.Field], f.Match.Holds)
	case filter.Label:
		value, ok := s.Labels[f.Key]
		return ok && (f.Match.Kind == filter.MatchPresent || f.Match.Holds(value))
	case filter.Enum:
		if f.Value == 0 {
			return !slices.ContainsFunc(s.Numbers[f.Field], func(n int64) bool { return n != 0 })
		}
		return slices.Contains(s.Numbers[f.Field], int64(f.Value))
	case filter.Number:
		return slices.ContainsFunc(s.Numbers[f.Field], func(n int64) bool { return ordered(f.Order, cmp.Compare(n, f.Value)) })
	case filter.Time:
		t := s.Times[f.Field]
		return !t.IsZero() && ordered(f.Order, t.Compare(f.Value))
	}
	return true
}

func ordered(o filter.Order, compared int) bool {
	switch o {
	case filter.Equal:
		return compared == 0
	case filter.Less:
		return compared < 0
	case filter.LessOrEqual:
		return compared <= 0
	case filter.Greater:
		return compared > 0
	case filter.GreaterOrEqual:
		return compared >= 0
	}
	return false
}
