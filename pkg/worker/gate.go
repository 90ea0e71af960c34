package worker

import (
	"context"
	"sync"
)

// gate decides whether executions may begin in this process. It is shut while the
// worker is paused, and for all but one execution at a time that is to have the
// process for itself: a task that is suspected of taking workers down must not
// take others along.
type gate struct {
	mu    sync.Mutex
	state gateState
	// changed is closed, and made anew, when the state changes.
	changed chan struct{}
}

type gateState struct {
	// executing counts the executions that have begun, an isolated one included.
	executing int
	// alone says that an execution wants to be alone, or is.
	alone bool
	// paused says that nothing is to begin, for the reason why.
	paused bool
	why    string
}

// open says whether executions may begin.
func (s gateState) open() bool { return !s.alone && !s.paused }

func (s gateState) shut() bool { return !s.open() }

// clear says whether the only execution is the one that asks.
func (s gateState) clear() bool { return s.executing == 1 }

func newGate() *gate { return &gate{changed: make(chan struct{})} }

// enter begins an execution, unless the gate is shut.
func (g *gate) enter() (begun bool) {
	g.change(func(s *gateState) bool {
		if begun = s.open(); begun {
			s.executing++
		}
		return false // nobody waits for more to run
	})
	return begun
}

// leave ends an execution.
func (g *gate) leave() {
	g.change(func(s *gateState) bool {
		s.executing--
		return true
	})
}

// claim keeps others from beginning until yield is called. It is false if
// another execution has done so before.
func (g *gate) claim() bool {
	return g.change(func(s *gateState) bool {
		if s.alone {
			return false
		}
		s.alone = true
		return true
	})
}

// yield lets others begin again.
func (g *gate) yield() {
	g.change(func(s *gateState) bool {
		s.alone = false
		return true
	})
}

// pause keeps all executions from beginning until resume is called. It says
// whether that, or the reason, is new.
func (g *gate) pause(why string) bool {
	return g.change(func(s *gateState) bool {
		if s.paused && s.why == why {
			return false
		}
		s.paused, s.why = true, why
		return true
	})
}

// resume ends a pause; false if there is none.
func (g *gate) resume() bool {
	return g.change(func(s *gateState) bool {
		if !s.paused {
			return false
		}
		s.paused, s.why = false, ""
		return true
	})
}

// change has f change the state, and tells who waits for that if f says so.
func (g *gate) change(f func(*gateState) bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !f(&g.state) {
		return false
	}
	close(g.changed)
	g.changed = make(chan struct{})
	return true
}

// now is the state, and a channel that is closed when it changes.
func (g *gate) now() (gateState, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state, g.changed
}

// paused says whether nothing is to begin, not even what is alone.
func (g *gate) paused() bool {
	state, _ := g.now()
	return state.paused
}

// await waits until the state is as wanted; false when ctx ends before.
func (g *gate) await(ctx context.Context, wanted func(gateState) bool) bool {
	for {
		state, changed := g.now()
		if wanted(state) {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// untilShut gives a context that ends when the gate is shut.
func (g *gate) untilShut(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.await(ctx, gateState.shut)
		cancel()
	}()
	return ctx, func() {
		cancel()
		<-done
	}
}
