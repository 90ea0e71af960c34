package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/warrenmq/warren/pkg/wake"
)

// slots bound how many executions there are at once. The limit changes at any time:
// those above a lower one go on.
type slots struct {
	mu                   sync.Mutex
	limit, used, waiting int
	// free has a token if somebody waits and a slot may be free.
	free chan struct{}
}

func newSlots(limit int) *slots { return &slots{limit: limit, free: make(chan struct{}, 1)} }

// size is the limit.
func (s *slots) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limit
}

// resize sets the limit, and says whether it is another one.
func (s *slots) resize(limit int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := s.limit != limit
	s.limit = limit
	s.tell()
	return changed
}

// tryTake takes a slot if one is free.
func (s *slots) tryTake() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used >= s.limit {
		return false
	}
	s.used++
	s.tell() // the next who waits may have one too
	return true
}

// errNoSlot says that no slot became free in time.
var errNoSlot = errors.New("no slot is free")

// take waits for a slot. It fails with errNoSlot after the patience, and with the
// cause of the end of ctx.
func (s *slots) take(ctx context.Context, patience time.Duration) error {
	if s.tryTake() {
		return nil
	}
	s.wait(1)
	defer s.wait(-1)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for !s.tryTake() {
		select {
		case <-s.free:
		case <-timer.C:
			return errNoSlot
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (s *slots) wait(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting += n
	s.tell()
}

// release frees a slot.
func (s *slots) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	s.tell()
}

// tell wakes one who waits if a slot is free.
func (s *slots) tell() {
	if s.waiting > 0 && s.used < s.limit {
		wake.Signal(s.free)
	}
}
