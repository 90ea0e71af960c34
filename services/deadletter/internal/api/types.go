package api

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
)

// Bounds of what is kept of the gateway's task types.
const (
	typeTimeout = time.Second
	// typeFresh is how long an answer holds; one that says nothing holds shorter.
	typeFresh   = 10 * time.Minute
	typeMissing = 5 * time.Second
	maxTypes    = 10_000
)

// TypeGetter is the gateway's catalogue.
type TypeGetter interface {
	GetTaskType(ctx context.Context, r *adminv1.GetTaskTypeRequest, opts ...grpc.CallOption) (*adminv1.GetTaskTypeResponse, error)
}

// TypeCache implements [Types] by asking the gateway.
type TypeCache struct {
	gateway TypeGetter

	mu    sync.Mutex
	known map[string]knownType
}

type knownType struct {
	input string
	until time.Time
}

// NewTypeCache makes a cache.
func NewTypeCache(gateway TypeGetter) *TypeCache {
	return &TypeCache{gateway: gateway, known: map[string]knownType{}}
}

// Input implements [Types].
func (c *TypeCache) Input(ctx context.Context, taskType string) string {
	c.mu.Lock()
	k, ok := c.known[taskType]
	c.mu.Unlock()
	if ok && time.Now().Before(k.until) {
		return k.input
	}
	ctx, cancel := context.WithTimeout(ctx, typeTimeout)
	defer cancel()
	k.until = time.Now().Add(typeMissing)
	if t, err := c.gateway.GetTaskType(ctx, &adminv1.GetTaskTypeRequest{Name: taskType}); err == nil {
		k = knownType{t.GetTaskType().GetInput(), time.Now().Add(typeFresh)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxTypes {
		clear(c.known)
	}
	c.known[taskType] = k
	return k.input
}
