package worker

import (
	"context"
	"sync"
)

// isolation lets one execution at a time have the whole process for itself: a
// task that is suspected of taking workers down must not take others along.
type isolation struct {
	mu sync.Mutex
	// executing counts the executions that have begun, an isolated one included.
	executing int
	// alone says that an execution wants to be alone, or is.
	alone bool
	// changed is closed, and made anew, when anything changes.
	changed chan struct{}
}

func newIsolation() *isolation { return &isolation{changed: make(chan struct{})} }

// enter begins an execution, unless another one wants to be alone.
func (i *isolation) enter() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.alone {
		return false
	}
	i.executing++
	return true
}

// leave ends an execution.
func (i *isolation) leave() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.executing--
	i.notify()
}

// claim keeps others from beginning until yield is called. It is false if
// another execution has done so before.
func (i *isolation) claim() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.alone {
		return false
	}
	i.alone = true
	i.notify()
	return true
}

// yield lets others begin again.
func (i *isolation) yield() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.alone = false
	i.notify()
}

func (i *isolation) notify() {
	close(i.changed)
	i.changed = make(chan struct{})
}

// state says whether an execution wants to be alone, how many have begun, and
// gives a channel that is closed when this changes.
func (i *isolation) state() (alone bool, executing int, changed <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.alone, i.executing, i.changed
}

// await waits until the state is as wanted; false when ctx ends before.
func (i *isolation) await(ctx context.Context, wanted func(alone bool, executing int) bool) bool {
	for {
		alone, executing, changed := i.state()
		if wanted(alone, executing) {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// untilAlone gives a context that ends when an execution wants to be alone.
func (i *isolation) untilAlone(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		i.await(ctx, func(alone bool, _ int) bool { return alone })
		cancel()
	}()
	return ctx, func() {
		cancel()
		<-done
	}
}
