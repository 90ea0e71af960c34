package watch

import (
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/wake"
)

// Outcome is how a task has ended.
type Outcome struct {
	State task.State
	// Event is the one that decided it, with all that it brings. It is shared: nobody
	// may change it.
	Event *task.Event
}

// End waits for a task's end.
type End struct {
	// C gets a value when the task may have ended since it was last read.
	C    <-chan struct{}
	wake chan struct{}
	hub  *Hub
	id   string
	// outcome is nil as long as none was passed on.
	outcome *Outcome
}

// SubscribeEnd starts waiting for a task's end, of which the task may not be known yet.
// Close must be called.
func (h *Hub) SubscribeEnd(taskID string) *End {
	c := make(chan struct{}, 1)
	e := &End{C: c, wake: c, hub: h, id: taskID}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ends[taskID] == nil {
		h.ends[taskID] = map[*End]struct{}{}
	}
	h.ends[taskID][e] = struct{}{}
	return e
}

// Close ends the subscription. Nil has none, and a second Close does nothing.
func (e *End) Close() {
	if e == nil {
		return
	}
	h := e.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.ends[e.id], e)
	if len(h.ends[e.id]) == 0 {
		delete(h.ends, e.id)
	}
}

// TaskID is whose end is waited for.
func (e *End) TaskID() string { return e.id }

// Outcome is how the task has ended, if that was passed on; else the store has it.
func (e *End) Outcome() (Outcome, bool) {
	e.hub.mu.Lock()
	defer e.hub.mu.Unlock()
	if e.outcome == nil {
		return Outcome{}, false
	}
	return *e.outcome, true
}

// Awaited says whether anybody waits for a task's end.
func (h *Hub) Awaited(taskID string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ends[taskID]) > 0
}

// Ended is Wake of a task that has ended, and passes on how. The first end is that which
// counts for who waits.
func (h *Hub) Ended(taskID string, o Outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.news(taskID)
	for e := range h.ends[taskID] {
		if e.outcome == nil {
			e.outcome = &o
		}
		wake.Signal(e.wake)
	}
}
