// Package lazy is a store that need not be open yet.
package lazy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	// openPatience is how long Open waits for the first try: a mistake in the
	// configuration shows at once, a lock that somebody holds does not.
	openPatience = 500 * time.Millisecond
	// openPeriod is the time between two tries.
	openPeriod = time.Second
	// openLogPeriod is the time between two log lines that say why it is not open.
	openLogPeriod = 10 * time.Second
)

// Store is a store that is opened in the background, as often as it takes.
// Until it is open, it answers that it is unavailable; then it passes all on.
type Store struct {
	open func(context.Context) (store.Store, error)
	log  *slog.Logger
	// tried is closed when the first try has ended, done when there is no more.
	tried, done chan struct{}
	cancel      context.CancelFunc

	mu     sync.Mutex
	opened store.Store
	// failed is why it is not open.
	failed error
}

var _ store.Store = (*Store)(nil)

// Open opens a store, in the background if it is unavailable now: then open,
// which must not be in use elsewhere, is called once a second until it succeeds
// or the store is closed; the context's end does not matter to that. Errors: what
// open answers at once, other than ErrUnavailable.
func Open(ctx context.Context, log *slog.Logger, open func(context.Context) (store.Store, error)) (*Store, error) {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &Store{
		open: open, log: log, tried: make(chan struct{}), done: make(chan struct{}), cancel: cancel,
		failed: fmt.Errorf("%w: it is not open yet", store.ErrUnavailable),
	}
	go s.run(background)
	timer := time.NewTimer(openPatience)
	defer timer.Stop()
	select {
	case <-s.tried:
	case <-timer.C:
		return s, nil
	}
	if err := s.fault(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the store: %w", err), s.Close())
	}
	return s, nil
}

func (s *Store) run(ctx context.Context) {
	defer close(s.done)
	ticker := time.NewTicker(openPeriod)
	defer ticker.Stop()
	err := s.try(ctx)
	close(s.tried)
	var logged time.Time
	for ; err != nil; err = s.try(ctx) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if time.Since(logged) >= openLogPeriod {
			s.log.Error("waiting for the store", "error", err)
			logged = time.Now()
		}
	}
	if !logged.IsZero() {
		s.log.Info("the store is open")
	}
}

func (s *Store) try(ctx context.Context) error {
	opened, err := s.open(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failed = err
		return err
	}
	s.opened = opened
	return nil
}

// get gives the store, or says that it is unavailable.
func (s *Store) get() (store.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.opened != nil:
		return s.opened, nil
	case errors.Is(s.failed, store.ErrUnavailable):
		return nil, s.failed
	}
	return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, s.failed)
}

// fault is what keeps the store from being opened if that can't pass by itself.
func (s *Store) fault() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened != nil || errors.Is(s.failed, store.ErrUnavailable) {
		return nil
	}
	return s.failed
}

// Close implements [store.Store].
func (s *Store) Close() error {
	s.cancel()
	<-s.done
	if opened, err := s.get(); err == nil {
		return opened.Close()
	}
	return nil
}
