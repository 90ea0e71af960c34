package catalogue

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoregistry"
)

// release is a bundle with the latest start of a program that announced it.
type release struct {
	*Bundle
	start time.Time
}

// newerFirst orders releases by what they may define. That equal starts are
// decided too lets all gateways decide alike.
func newerFirst(a, b release) int {
	return cmp.Or(b.start.Compare(a.start), strings.Compare(b.id, a.id))
}

// snapshot is the catalogue between two changes; it is never modified.
type snapshot struct {
	// Those that define a service or a task type, the newer first.
	releases []release
	// By service: the newest that has it.
	owners map[string]*Bundle
	// By task type: of the newest that has it.
	byName map[string]TaskType

	services  []string
	taskTypes []TaskType
	// In the order in which a bare name is looked up.
	bundles []*Bundle
	finders []finder
}

// newSnapshot reorders the releases that it is given, and leaves out those that
// define nothing any more.
func newSnapshot(releases []release) *snapshot {
	s := &snapshot{owners: make(map[string]*Bundle), byName: make(map[string]TaskType)}
	slices.SortFunc(releases, newerFirst)
	for _, r := range releases {
		if s.define(r.Bundle) {
			s.releases = append(s.releases, r)
		}
	}
	s.services = slices.Sorted(maps.Keys(s.owners))
	s.taskTypes = slices.SortedFunc(maps.Values(s.byName), compareTypes)
	s.bundles = s.lookupOrder()
	s.finders = []finder{protoregistry.GlobalTypes}
	for _, b := range s.bundles {
		s.finders = append(s.finders, b.types)
	}
	return s
}

// define enters what no newer bundle has, and says whether there is anything.
func (s *snapshot) define(b *Bundle) bool {
	defined := false
	for _, service := range b.services {
		if s.owners[service] == nil {
			s.owners[service], defined = b, true
		}
	}
	for _, t := range b.taskTypes {
		if _, known := s.byName[t.Name]; !known {
			s.byName[t.Name], defined = t, true
		}
	}
	return defined
}

func (s *snapshot) lookupOrder() []*Bundle {
	seen := make(map[*Bundle]bool, len(s.releases))
	var order []*Bundle
	add := func(b *Bundle) {
		if !seen[b] {
			seen[b] = true
			order = append(order, b)
		}
	}
	for _, service := range s.services {
		add(s.owners[service])
	}
	for _, r := range s.releases {
		add(r.Bundle)
	}
	return order
}

// index returns the place of the bundle among the releases; -1 for none.
func (s *snapshot) index(id string) int {
	return slices.IndexFunc(s.releases, func(r release) bool { return r.id == id })
}
