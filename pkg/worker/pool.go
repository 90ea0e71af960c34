package worker

import (
	"fmt"
	"sync/atomic"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/policy"
)

// defaultMaxResult is the gateway's own default.
const defaultMaxResult = 4 << 20

// pool bounds how many tasks of one type run at once, over all links. It holds
// the policy in force for the type.
type pool struct {
	slots   chan struct{}
	running atomic.Int32
	// stuck counts the slots that handlers hold which were written off.
	stuck atomic.Int32
	rules atomic.Pointer[rules]
}

// rules are what a gateway says of a task type.
type rules struct {
	policy.Policy
	maxResult int64
}

func newPool(concurrency int) *pool {
	return &pool{slots: make(chan struct{}, concurrency)}
}

// release frees a slot that was taken by sending into slots.
func (p *pool) release() { <-p.slots }

// apply takes over what a gateway says; what it does not say has its default.
func (p *pool) apply(t *brokerv1.TypePolicy) error {
	options := t.Options
	if options == nil {
		options = &taskv1.TaskOptions{Timeout: t.Timeout}
	}
	compiled, err := policy.Compile(options)
	if err != nil {
		return fmt.Errorf("the policy of %s: %w", t.Type, err)
	}
	if t.Provisional && p.rules.Load() != nil {
		// What operators have set is not known to who says this.
		return nil
	}
	next := &rules{compiled, t.MaxResultBytes}
	if next.maxResult <= 0 {
		next.maxResult = defaultMaxResult
	}
	p.rules.Store(next)
	return nil
}

// of is what holds for one task: its submission may have a policy of its own.
func (r *rules) of(m *broker.TaskMessage) *rules {
	if m.Timeout == nil && m.Retry == nil {
		return r
	}
	// What it was allowed may be more than the type's policy allows by now: it is
	// cut to that.
	own, _ := r.Submission(m.Timeout, m.Retry)
	return &rules{own, r.maxResult}
}
