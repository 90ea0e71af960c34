// Package retention ends what dead letters are kept for: when their time by the policy
// of their type is over it has them purged, and their tombstones forgotten later.
package retention

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	// sweepPeriod is the time between two sweeps: how late an end may be noticed.
	sweepPeriod = 10 * time.Second
	// maxSteps bounds the transactions of a sweep, which others wait for: at most
	// 10,000 dead letters in 10 seconds expire. The next sweep goes on.
	maxSteps = 20
	// logPeriod is the time between two lines about a store that does not answer.
	logPeriod = time.Minute
)

// Store is what the sweeper needs of the store.
type Store interface {
	Expire(ctx context.Context, from store.ExpirePlace) ([]store.Expired, store.ExpirePlace, error)
	Forget(ctx context.Context) (int, error)
}

// Sweeper sweeps.
type Sweeper struct {
	store  Store
	log    *slog.Logger
	period time.Duration
	// place is where the next sweep goes on.
	place store.ExpirePlace
}

// New makes a sweeper.
func New(s Store, log *slog.Logger) *Sweeper {
	return &Sweeper{store: s, log: log, period: sweepPeriod}
}

// Run sweeps until ctx ends. While the store is away it waits.
func (s *Sweeper) Run(ctx context.Context) {
	ticker := time.NewTicker(s.period)
	defer ticker.Stop()
	var logged time.Time
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil && time.Since(logged) >= logPeriod {
			s.log.WarnContext(ctx, "dead letters whose retention has ended stay for now", "error", err)
			logged = time.Now()
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// sweep goes once through all that is kept, or as far as a sweep may.
func (s *Sweeper) sweep(ctx context.Context) error {
	for range maxSteps {
		expired, next, err := s.store.Expire(ctx, s.place)
		if err != nil {
			return fmt.Errorf("purge what was kept for long enough: %w", err)
		}
		s.tell(ctx, expired)
		if s.place = next; next == (store.ExpirePlace{}) {
			break
		}
	}
	events, err := s.store.Forget(ctx)
	if err != nil {
		return fmt.Errorf("forget old audit events: %w", err)
	}
	if events > 0 {
		s.log.InfoContext(ctx, "old audit events were deleted", "count", events)
	}
	return nil
}

// tell logs what has expired, in one line.
func (s *Sweeper) tell(ctx context.Context, expired []store.Expired) {
	if len(expired) == 0 {
		return
	}
	byState := map[store.State]int{}
	for i := range expired {
		byState[expired[i].State]++
	}
	var counts []any
	for state := store.StateOpen; state <= store.StatePurged; state++ {
		if n := byState[state]; n > 0 {
			counts = append(counts, slog.Int(state.String(), n))
		}
	}
	s.log.InfoContext(ctx, "the retention of dead letters has ended: they are tombstones now, and PURGED ones are gone", slog.Group("were", counts...))
}
