package worker

import "sync"

// answers hands gateways' answers to whoever waits for them, by request id.
type answers[T any] struct {
	mu      sync.Mutex
	waiting map[string]chan T
}

func (a *answers[T]) expect(id string) <-chan T {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		a.waiting = map[string]chan T{}
	}
	c := make(chan T, 1)
	a.waiting[id] = c
	return c
}

func (a *answers[T]) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting, id)
}

// deliver keeps the first answer: with several gateways a repeated request may
// be answered twice.
func (a *answers[T]) deliver(id string, answer T) {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case a.waiting[id] <- answer:
	default:
	}
}
