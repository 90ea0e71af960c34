package catalogue

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/reflect/protoregistry"
)

// Catalogue is the set of task types known now. It is safe for concurrent use;
// readers never wait. [New] makes one.
type Catalogue struct {
	// Held by writers.
	mu      sync.Mutex
	current atomic.Pointer[snapshot]
}

// New returns an empty catalogue.
func New() *Catalogue {
	c := new(Catalogue)
	c.current.Store(newSnapshot(make(map[string]*Bundle)))
	return c
}

// Put adds the bundle. Its services are from now on defined by it alone: a task
// type that an earlier bundle had under such a service and this one has not is
// gone. Other services of the earlier bundle stay. A bundle with the ID of the one
// that already owns all these services changes nothing. It fails on a bundle that
// [Build] did not make.
func (c *Catalogue) Put(b *Bundle) error {
	if b == nil || b.types == nil {
		return errors.New("put bundle into the catalogue: the bundle was not built")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.current.Load().owners
	ownsAll := !slices.ContainsFunc(b.services, func(service string) bool {
		owner := old[service]
		return owner == nil || owner.id != b.id
	})
	if ownsAll {
		return nil
	}
	owners := maps.Clone(old)
	for _, service := range b.services {
		owners[service] = b
	}
	c.current.Store(newSnapshot(owners))
	return nil
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

// Bundle returns the bundle that defines the service.
func (c *Catalogue) Bundle(service string) (*Bundle, bool) {
	b, ok := c.current.Load().owners[service]
	return b, ok
}

// Resolver finds the types linked into the process and then those of each
// bundle, in the order of the package documentation; one that is put later is
// found from then on. Where the task type is known, [TaskType.Resolver] is the
// better one: it can't meet another bundle's type of the same name.
func (c *Catalogue) Resolver() *Resolver {
	return &Resolver{finders: func() []finder { return c.current.Load().finders }}
}

// snapshot is the catalogue between two changes; it is never modified.
type snapshot struct {
	// By service.
	owners map[string]*Bundle
	// Those that own a service, each once, by the first service that they own.
	bundles   []*Bundle
	services  []string
	taskTypes []TaskType
	byName    map[string]TaskType
	finders   []finder
}

func newSnapshot(owners map[string]*Bundle) *snapshot {
	s := &snapshot{
		owners:   owners,
		services: slices.Sorted(maps.Keys(owners)),
		byName:   make(map[string]TaskType),
		finders:  []finder{protoregistry.GlobalTypes},
	}
	seen := make(map[*Bundle]bool)
	for _, service := range s.services {
		b := owners[service]
		if seen[b] {
			continue
		}
		seen[b] = true
		s.bundles = append(s.bundles, b)
		s.finders = append(s.finders, b.types)
	}
	for _, b := range s.bundles {
		for _, t := range b.taskTypes {
			if owners[t.Service] == b {
				s.byName[t.Name] = t
			}
		}
	}
	s.taskTypes = slices.SortedFunc(maps.Values(s.byName), compareTypes)
	return s
}
