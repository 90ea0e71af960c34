package schema

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/warrenmq/warren/pkg/catalogue"
)

// Bounds of what is kept.
const (
	// fresh is how long an answer holds: a new version of a type counts after that.
	fresh = 2 * time.Second
	// maxTypes bounds the types, and with them the descriptors.
	maxTypes = 200
)

// digest is that of a descriptor set.
type digest [sha256.Size]byte

// cache keeps types by name, and bundles by what they were built from, which is the same
// for all types of a service and as a rule for ever.
type cache struct {
	mu      sync.Mutex
	types   map[string]*entry
	bundles map[digest]*catalogue.Bundle
}

// entry is what is known of a type.
type entry struct {
	// asking is full while somebody asks the gateway.
	asking chan struct{}

	mu    sync.Mutex
	until time.Time
	known catalogue.TaskType
	err   error
}

func newCache() *cache {
	return &cache{types: map[string]*entry{}, bundles: map[digest]*catalogue.Bundle{}}
}

// entry is that of a type; when there are too many, all are forgotten.
func (c *cache) entry(taskType string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.types[taskType]
	if !ok {
		if len(c.types) >= maxTypes {
			clear(c.types)
			clear(c.bundles)
		}
		e = &entry{asking: make(chan struct{}, 1)}
		c.types[taskType] = e
	}
	return e
}

// bundle builds what a descriptor set defines, once.
func (c *cache) bundle(of digest, build func() (*catalogue.Bundle, error)) (*catalogue.Bundle, error) {
	c.mu.Lock()
	b, ok := c.bundles[of]
	c.mu.Unlock()
	if ok {
		return b, nil
	}
	b, err := build()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.bundles) >= maxTypes {
		clear(c.bundles)
	}
	c.bundles[of] = b
	return b, nil
}

// get answers what is known and fresh, and else asks; one asks for all who wait.
func (e *entry) get(ctx context.Context, ask func(context.Context) (catalogue.TaskType, error)) (catalogue.TaskType, error) {
	if t, ok, err := e.now(); ok {
		return t, err
	}
	select {
	case e.asking <- struct{}{}:
	case <-ctx.Done():
		return catalogue.TaskType{}, ctx.Err()
	}
	defer func() { <-e.asking }()
	if t, ok, err := e.now(); ok {
		return t, err
	}
	t, err := ask(ctx)
	if ctx.Err() != nil {
		// That is this caller's own trouble.
		return t, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known, e.err, e.until = t, err, time.Now().Add(fresh)
	return t, err
}

// now is what is known; false if that is not fresh.
func (e *entry) now() (catalogue.TaskType, bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.known, time.Now().Before(e.until), e.err
}
