package api

import (
	"context"
	"sync"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	// policyFresh is for how long policies are shown as they were read: another process
	// may change them.
	policyFresh = 5 * time.Second
	// policyTimeout bounds reading them.
	policyTimeout = time.Second
)

// policyCache knows what was set, to show it with each dead letter. What the store does
// it decides by what it reads itself.
type policyCache struct {
	store store.Policies

	mu    sync.Mutex
	known map[string]store.Settings
	until time.Time
}

// of is what holds for a type, as far as the store tells.
func (c *policyCache) of(ctx context.Context, taskType string) store.Settings {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().After(c.until) {
		if known, err := c.read(ctx); err == nil {
			c.known = known
		}
		c.until = time.Now().Add(policyFresh)
	}
	return store.Effective(c.known[taskType], c.known[store.AllTypes])
}

// forget has policies read again before they are shown next.
func (c *policyCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = time.Time{}
}

func (c *policyCache) read(ctx context.Context) (map[string]store.Settings, error) {
	// The next caller needs it too when this one leaves.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), policyTimeout)
	defer cancel()
	known := map[string]store.Settings{}
	for after := ""; ; {
		page, err := c.store.Policies(ctx, after, store.MaxPage)
		if err != nil {
			return nil, err
		}
		for i := range page {
			known[page[i].TaskType] = page[i].Set
			after = page[i].TaskType
		}
		if len(page) < store.MaxPage {
			return known, nil
		}
	}
}
