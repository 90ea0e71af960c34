package worker

import (
	"sync/atomic"
	"time"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/catalogue"
)

// defaultMaxResult is the gateway's own default.
const defaultMaxResult = 4 << 20

// pool bounds how many tasks of one type run at once, over all links. It holds
// the policy in force for the type.
type pool struct {
	slots   chan struct{}
	running atomic.Int32
	policy  atomic.Pointer[policy]
}

// policy is what a gateway says of a task type.
type policy struct {
	timeout   time.Duration
	maxResult int64
}

func newPool(concurrency int) *pool {
	return &pool{slots: make(chan struct{}, concurrency)}
}

// release frees a slot that was taken by sending into slots.
func (p *pool) release() { <-p.slots }

// apply takes over what a gateway says; what it does not say has its default.
func (p *pool) apply(t *brokerv1.TypePolicy) {
	next := &policy{timeout: t.Timeout.AsDuration(), maxResult: t.MaxResultBytes}
	if next.timeout <= 0 {
		next.timeout = catalogue.DefaultTimeout
	}
	if next.maxResult <= 0 {
		next.maxResult = defaultMaxResult
	}
	p.policy.Store(next)
}
