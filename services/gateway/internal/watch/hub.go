// Package watch wakes those who wait for a task when the projection has
// committed something new about it.
package watch

import "sync"

// Hub knows who waits for which task. It passes on no content: whoever is woken
// reads the store.
type Hub struct {
	mu    sync.Mutex
	tasks map[string]map[*Subscription]struct{}
}

// NewHub makes a hub.
func NewHub() *Hub { return &Hub{tasks: map[string]map[*Subscription]struct{}{}} }

// Subscription waits for one task.
type Subscription struct {
	// C gets a value when there may be news since it was last read.
	C    <-chan struct{}
	wake chan struct{}
	hub  *Hub
	id   string
}

// Subscribe starts waiting for a task. Close must be called.
func (h *Hub) Subscribe(taskID string) *Subscription {
	c := make(chan struct{}, 1)
	s := &Subscription{C: c, wake: c, hub: h, id: taskID}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tasks[taskID] == nil {
		h.tasks[taskID] = map[*Subscription]struct{}{}
	}
	h.tasks[taskID][s] = struct{}{}
	return s
}

// Close ends the subscription.
func (s *Subscription) Close() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.tasks[s.id], s)
	if len(h.tasks[s.id]) == 0 {
		delete(h.tasks, s.id)
	}
}

// Wake wakes everyone who waits for a task. It never blocks.
func (h *Hub) Wake(taskID string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.tasks[taskID] {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}
