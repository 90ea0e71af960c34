package replay

import "sync"

// bell wakes all who wait for it.
type bell struct {
	mu   sync.Mutex
	news chan struct{}
}

func newBell() *bell { return &bell{news: make(chan struct{})} }

// ring wakes all who wait.
func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.news)
	b.news = make(chan struct{})
}

// next is closed at the next ring. Take it before looking at what may change.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.news
}
