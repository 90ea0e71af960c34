package worker

import (
	"context"
	"sync"
)

// gate decides whether executions may begin in this process. It is shut while the
// worker is paused; while it is blind, which is to say that it can't be told what is
// cancelled; and for all but one execution at a time that is to have the process
// for itself: a task that is suspected of taking workers down must not take others
// along.
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
	// blind says that nothing is to begin before it is known what is cancelled.
	blind bool
}

// open says whether executions may begin.
func (s gateState) open() bool { return !s.alone && s.barred() == "" }

// barred says why nothing is to begin, not even what is alone; empty if that may.
func (s gateState) barred() string {
	switch {
	case s.paused:
		return "the worker was paused"
	case s.blind:
		return "the worker can't be told what is cancelled"
	}
	return ""
}

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
		return s.alone // only who is to be alone waits for that
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

// blind keeps all executions from beginning until see is called.
func (g *gate) blind() { g.setBlind(true) }

// see ends what blind began.
func (g *gate) see() { g.setBlind(false) }

func (g *gate) setBlind(blind bool) {
	g.change(func(s *gateState) bool {
		changed := s.blind != blind
		s.blind = blind
		return changed
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

// barred is [gateState.barred] at this moment.
func (g *gate) barred() string {
	state, _ := g.now()
	return state.barred()
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
