package telemetry

import (
	"context"
	"sync"
	"time"
)

// sampleIdle is for how long samples are taken after they were asked for last. Metrics
// are read at least once a minute where they are read at all.
const sampleIdle = 3 * time.Minute

// Sampler keeps the last sample of what takes time to learn, for callbacks, which must
// not wait. While nobody asks for samples it takes none: metrics that are off, or that
// nobody reads, cost nothing.
type Sampler[T any] struct {
	period time.Duration
	take   func(context.Context) (T, error)
	wanted chan struct{}

	mu    sync.Mutex
	last  T
	known bool
	asked time.Time
}

// NewSampler makes a sampler. While its Run does, take is called at most once in a
// period, each time with a context that ends; its errors mean that nothing is known.
func NewSampler[T any](period time.Duration, take func(context.Context) (T, error)) *Sampler[T] {
	return &Sampler[T]{period: period, take: take, wanted: make(chan struct{}, 1)}
}

// Last is the last sample; false while nothing is known. It never waits.
func (s *Sampler[T]) Last() (T, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = time.Now()
	select {
	case s.wanted <- struct{}{}:
	default:
	}
	return s.last, s.known
}

// Run takes samples until ctx ends, while somebody asks for them.
func (s *Sampler[T]) Run(ctx context.Context) {
	for {
		select {
		case <-s.wanted:
		case <-ctx.Done():
			return
		}
		s.sampleWhileAsked(ctx)
		s.keep(*new(T), false)
	}
}

func (s *Sampler[T]) sampleWhileAsked(ctx context.Context) {
	ticker := time.NewTicker(s.period)
	defer ticker.Stop()
	for ctx.Err() == nil && s.isAsked() {
		bounded, cancel := context.WithTimeout(ctx, 2*s.period)
		sample, err := s.take(bounded)
		cancel()
		s.keep(sample, err == nil)
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

func (s *Sampler[T]) isAsked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.asked) < sampleIdle
}

func (s *Sampler[T]) keep(sample T, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.known = sample, known
}
