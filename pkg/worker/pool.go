package worker

import (
	"sync/atomic"
	"time"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
)

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

func (p *pool) apply(t *brokerv1.TypePolicy) {
	p.policy.Store(&policy{timeout: t.Timeout.AsDuration(), maxResult: t.MaxResultBytes})
}
