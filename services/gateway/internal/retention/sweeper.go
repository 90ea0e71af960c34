// Package retention forgets tasks that ended long ago.
package retention

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// period is the time between two sweeps.
	period = time.Minute
	// maxTombstone is how long a purged task's id is remembered, so that a late
	// event does not revive it.
	maxTombstone = 7 * 24 * time.Hour
)

// Sweeper removes ended tasks by age.
type Sweeper struct {
	store  store.Store
	maxAge time.Duration
	log    *slog.Logger
}

// NewSweeper makes a sweeper of tasks that ended longer ago than maxAge.
func NewSweeper(s store.Store, maxAge time.Duration, log *slog.Logger) *Sweeper {
	return &Sweeper{store: s, maxAge: maxAge, log: log}
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
	if err := s.all(ctx, s.store.PurgeEnded, now.Add(-s.maxAge)); err != nil {
		return fmt.Errorf("purge ended tasks: %w", err)
	}
	if err := s.all(ctx, s.store.PurgeTombstones, now.Add(-maxTombstone)); err != nil {
		return fmt.Errorf("purge tombstones: %w", err)
	}
	return nil
}

func (s *Sweeper) all(ctx context.Context, purge func(context.Context, time.Time, int) (int, error), before time.Time) error {
	for {
		n, err := purge(ctx, before, store.MaxPurge)
		if err != nil || n < store.MaxPurge {
			return err
		}
	}
}
