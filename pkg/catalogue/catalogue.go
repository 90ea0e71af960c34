package catalogue

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Catalogue is the set of task types known now. It is safe for concurrent use;
// readers never wait. [New] makes one.
type Catalogue struct {
	// Held by writers.
	mu      sync.Mutex
	current atomic.Pointer[snapshot]
	// By name; see SetRetired.
	retired atomic.Pointer[map[string]TaskType]
}

// New returns an empty catalogue.
func New() *Catalogue {
	c := new(Catalogue)
	c.current.Store(newSnapshot(nil))
	return c
}

// Put adds what a program that was started at the given time announces, and says
// whether that changed anything. A bundle counts by the latest start that it was
// put with; the package documentation says what follows from that. So the order
// of calls does not matter, nor does a repetition. It fails on a bundle that
// [Build] did not make.
func (c *Catalogue) Put(b *Bundle, start time.Time) (bool, error) {
	if b == nil || b.types == nil {
		return false, errors.New("put bundle into the catalogue: the bundle was not built")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.current.Load()
	added := release{b, start}
	others := slices.Clone(old.releases)
	if i := old.index(b.id); i >= 0 {
		if !start.After(others[i].start) {
			return false, nil
		}
		added.Bundle = others[i].Bundle
		others = slices.Delete(others, i, i+1)
	}
	s := newSnapshot(append(others, added))
	if s.index(b.id) < 0 {
		return false, nil
	}
	c.current.Store(s)
	return true, nil
}

// Type returns the task type of that name, which may be written in any of the
// ways that [TypeName] understands.
func (c *Catalogue) Type(name string) (TaskType, bool) {
	t, ok := c.current.Load().byName[TypeName(name)]
	return t, ok
}

// Types returns all task types, sorted by name.
func (c *Catalogue) Types() []TaskType {
	return slices.Clone(c.current.Load().taskTypes)
}

// Services returns the full names of all services, sorted.
func (c *Catalogue) Services() []string {
	return slices.Clone(c.current.Load().services)
}

// Bundle returns the bundle of that ID if it defines a service or a task type
// now.
func (c *Catalogue) Bundle(id string) (*Bundle, bool) {
	s := c.current.Load()
	i := s.index(id)
	if i < 0 {
		return nil, false
	}
	return s.releases[i].Bundle, true
}

// Resolver finds the types linked into the process and then those of each
// bundle, in the order of the package documentation; one that is put later is
// found from then on. Where the task type is known, [TaskType.Resolver] is the
// better one: it can't meet another bundle's type of the same name.
func (c *Catalogue) Resolver() *Resolver {
	return &Resolver{finders: func() []finder { return c.current.Load().finders }}
}
