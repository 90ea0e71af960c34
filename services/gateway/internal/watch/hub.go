// Package watch wakes those who wait for a task, or for any, when the projection
// has committed something new about it.
package watch

import (
	"sync"

	"github.com/warrenmq/warren/pkg/wake"
)

// Hub knows who waits for which task. Whoever is woken reads the store, but for those
// who only wait for a task's end: they get that along.
type Hub struct {
	mu    sync.Mutex
	tasks map[string]map[*Subscription]struct{}
	// all wait for any task.
	all map[*Subscription]struct{}
	// ends wait for the end of a task.
	ends map[string]map[*End]struct{}
}

// NewHub makes a hub.
func NewHub() *Hub {
	return &Hub{tasks: map[string]map[*Subscription]struct{}{}, all: map[*Subscription]struct{}{}, ends: map[string]map[*End]struct{}{}}
}

// Subscription waits for one task, or for any.
type Subscription struct {
	// C gets a value when there may be news since it was last read.
	C    <-chan struct{}
	wake chan struct{}
	hub  *Hub
	// id is the task's, empty for any.
	id string
}

// Subscribe starts waiting for a task. Close must be called.
func (h *Hub) Subscribe(taskID string) *Subscription {
	s := h.newSubscription(taskID)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tasks[taskID] == nil {
		h.tasks[taskID] = map[*Subscription]struct{}{}
	}
	h.tasks[taskID][s] = struct{}{}
	return s
}

// SubscribeAll starts waiting for any task. Close must be called.
func (h *Hub) SubscribeAll() *Subscription {
	s := h.newSubscription("")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[s] = struct{}{}
	return s
}

func (h *Hub) newSubscription(id string) *Subscription {
	c := make(chan struct{}, 1)
	return &Subscription{C: c, wake: c, hub: h, id: id}
}

// Close ends the subscription.
func (s *Subscription) Close() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, s)
	delete(h.tasks[s.id], s)
	if len(h.tasks[s.id]) == 0 {
		delete(h.tasks, s.id)
	}
}

// Wake wakes everyone who waits for a task, for its end, or for any. It never blocks.
func (h *Hub) Wake(taskID string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.news(taskID)
	for e := range h.ends[taskID] {
		wake.Signal(e.wake)
	}
}

// News is Wake of what has not ended the task: it leaves alone who waits for that.
func (h *Hub) News(taskID string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.news(taskID)
}

func (h *Hub) news(taskID string) {
	for s := range h.tasks[taskID] {
		wake.Signal(s.wake)
	}
	for s := range h.all {
		wake.Signal(s.wake)
	}
}
