package worker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/task"
)

const (
	// defaultMaxResult is the gateway's own default.
	defaultMaxResult = 4 << 20
	// maxSlots bounds what a gateway may ask for.
	maxSlots = 1 << 16
)

// pool bounds how many tasks of one type run at once, over all links. It holds
// what gateways say of the type, and counts its handlers.
type pool struct {
	slots *slots
	// exchange and queue are what its tasks come by, as spans say.
	exchange, queue string
	// configured are the slots, and prefetch what is fetched besides, when no
	// gateway asks for another number of slots.
	configured, prefetch int
	// running counts handlers, stuck the slots that handlers hold which were written
	// off.
	running, stuck atomic.Int32
	// started, succeeded and failed count handlers since the worker was made.
	started, succeeded, failed atomic.Int64
	rules                      atomic.Pointer[rules]
	suspension                 atomic.Pointer[suspension]
	// metrics are nil where nothing is measured.
	metrics *typeMetrics

	// taking is held while a policy is taken over, version that of what was.
	taking  sync.Mutex
	version atomic.Pointer[brokerv1.PolicyVersion]

	mu sync.Mutex
	// changed is closed, and made anew, when the slots or the suspension change.
	changed chan struct{}
}

// rules are what a gateway says of a task type.
type rules struct {
	policy.Policy
	maxResult int64
}

// suspension is an operator's pause of a task type.
type suspension struct {
	reason string
	// until is when it ends by itself, by the gateways' clock; zero is never.
	until time.Time
	// over says that its end was seen, for good: what is known of that clock may
	// step back.
	over atomic.Bool
}

// left is for how long it lasts yet at a time, an hour for ever; 0 once it is over.
func (s *suspension) left(now time.Time) time.Duration {
	switch {
	case s.over.Load():
		return 0
	case s.until.IsZero():
		return time.Hour
	}
	left := s.until.Sub(now)
	if left <= 0 {
		s.over.Store(true)
		return 0
	}
	return left
}

func (s *suspension) same(o *suspension) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.reason == o.reason && s.until.Equal(o.until)
}

func newPool(concurrency, prefetch int) *pool {
	return &pool{slots: newSlots(concurrency), configured: concurrency, prefetch: prefetch, changed: make(chan struct{})}
}

// prefetchFor is what is fetched beside so many slots: in the same proportion as is
// configured, at least 1.
func (p *pool) prefetchFor(slots int) int {
	return max(1, int(int64(p.prefetch)*int64(slots)/int64(p.configured)))
}

// suspended says for how long operators have the type paused yet, about; 0 if they
// have not.
func (p *pool) suspended(c *clock) time.Duration {
	s := p.suspension.Load()
	if s == nil {
		return 0
	}
	return s.left(c.now())
}

// change is closed when the slots or the suspension change.
func (p *pool) change() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// tell says that something has changed. The caller holds mu.
func (p *pool) tell() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// apply takes over the policy that a gateway says; what it does not say has its
// default.
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

// resize sets the slots, 0 are those that are configured, and says whether these
// are others.
func (p *pool) resize(concurrency int32) bool {
	n := min(int(concurrency), maxSlots)
	if n <= 0 {
		n = p.configured
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	changed := p.slots.resize(n)
	if changed {
		p.tell()
	}
	return changed
}

// suspend takes over whether operators have the type paused, nil for not, and says
// whether that is new.
func (p *pool) suspend(m *brokerv1.Pause) bool {
	var next *suspension
	if m != nil {
		next = &suspension{reason: m.Reason}
		if m.Until != nil {
			next.until = m.Until.AsTime()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.suspension.Load().same(next) {
		return false
	}
	p.suspension.Store(next)
	p.tell()
	return true
}

// count counts what a handler's return has led to.
func (p *pool) count(e *task.Event) {
	switch {
	case e.Key.Phase == task.PhaseSucceeded:
		p.succeeded.Add(1)
	case e.Failure != nil && e.Key.Phase != task.PhaseCancelled:
		p.failed.Add(1)
	}
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
