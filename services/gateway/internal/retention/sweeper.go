// Package retention forgets tasks that ended long ago and idempotency keys whose
// window has ended, and trims the feed.
package retention

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// period is the time between two sweeps.
	period = time.Minute
	// maxTombstone is how long a purged task's id is remembered, so that a late
	// event does not revive it.
	maxTombstone = 7 * 24 * time.Hour
	// maxFeed is how long events are kept for watches of many tasks, as the API
	// says.
	maxFeed = 24 * time.Hour
)

// Sweeper removes ended tasks by age.
type Sweeper struct {
	store  store.Store
	maxAge time.Duration
	ages   Ages
	log    *slog.Logger
}

// Ages says how long tasks are kept of those task types that have an age of their
// own. It is false while that is not known: no task is removed then.
type Ages func() (map[string]time.Duration, bool)

// NewSweeper makes a sweeper of tasks that ended longer ago than maxAge, or than
// ages says for their task type; it is asked anew for each sweep, nil is no type
// that has an age of its own.
func NewSweeper(s store.Store, maxAge time.Duration, ages Ages, log *slog.Logger) *Sweeper {
	if ages == nil {
		ages = func() (map[string]time.Duration, bool) { return nil, true }
	}
	return &Sweeper{store: s, maxAge: maxAge, ages: ages, log: log}
}

// Run sweeps once a minute until ctx ends.
func (s *Sweeper) Run(ctx context.Context) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("ended tasks can't be removed now", "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Sweep removes what is due, in transactions of at most store.MaxPurge rows,
// between which others get to write.
func (s *Sweeper) Sweep(ctx context.Context) error {
	now := time.Now()
	err := all(func() (int, error) { return s.store.PurgeKeys(ctx, now, store.MaxPurge) })
	if err != nil {
		return fmt.Errorf("purge idempotency keys: %w", err)
	}
	ages, known := s.ages()
	if !known {
		return nil
	}
	types := slices.Sorted(maps.Keys(ages))
	for _, t := range types {
		if err := s.ended(ctx, store.Ended{Before: now.Add(-ages[t]), TaskType: t}); err != nil {
			return fmt.Errorf("purge ended tasks of %s: %w", t, err)
		}
	}
	if err := s.ended(ctx, store.Ended{Before: now.Add(-s.maxAge), Except: types}); err != nil {
		return fmt.Errorf("purge ended tasks: %w", err)
	}
	err = all(func() (int, error) { return s.store.PurgeTombstones(ctx, now.Add(-maxTombstone), store.MaxPurge) })
	if err != nil {
		return fmt.Errorf("purge tombstones: %w", err)
	}
	err = all(func() (int, error) { return s.store.TrimFeed(ctx, now.Add(-maxFeed), store.MaxPurge) })
	if err != nil {
		return fmt.Errorf("trim the feed: %w", err)
	}
	return nil
}

func (s *Sweeper) ended(ctx context.Context, which store.Ended) error {
	return all(func() (int, error) { return s.store.PurgeEnded(ctx, which, store.MaxPurge) })
}

// all purges until nothing is left to purge.
func all(purge func() (int, error)) error {
	for {
		n, err := purge()
		if err != nil || n < store.MaxPurge {
			return err
		}
	}
}
