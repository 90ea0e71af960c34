package groups

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/warrenmq/warren/pkg/retry"
	"github.com/warrenmq/warren/services/deadletter/internal/fingerprint"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Bounds of what is done in the background, so that it leaves the store to others for
// most of the time.
const (
	batch = 250
	// rest is the time between two batches, idle that between two looks for more.
	rest = 50 * time.Millisecond
	idle = time.Minute
	// logPeriod is the time between two log lines about the same trouble.
	logPeriod = 10 * time.Second
)

// Store is what a keeper needs of the store.
type Store interface {
	Ungrouped(ctx context.Context, version, limit int) ([]store.Ungrouped, error)
	Regroup(ctx context.Context, regroupings []store.Regrouping) error
	ForgetHours(ctx context.Context, limit int) (int, error)
}

// Keeper groups dead letters that were stored before there were groups, by programs of
// earlier versions, or by an earlier version of the fingerprint; and forgets the hours that
// groups no longer show.
type Keeper struct {
	store Store
	log   *slog.Logger
}

// NewKeeper makes a keeper.
func NewKeeper(s Store, log *slog.Logger) *Keeper { return &Keeper{s, log} }

// Run works until ctx ends. While the store is unavailable it waits.
func (k *Keeper) Run(ctx context.Context) {
	var logged time.Time
	grouped := 0
	for ctx.Err() == nil {
		n, more, err := k.step(ctx)
		grouped += n
		pause := rest
		switch {
		case err != nil:
			if ctx.Err() == nil && !errors.Is(err, store.ErrUnavailable) && time.Since(logged) >= logPeriod {
				k.log.ErrorContext(ctx, "failure groups can't be kept up", "error", err)
				logged = time.Now()
			}
			pause = time.Second
		case !more:
			if grouped > 0 {
				k.log.InfoContext(ctx, "grouped dead letters that were stored without a failure group", "dead_letters", grouped)
			}
			grouped, pause = 0, idle
		}
		retry.Pause(ctx, pause)
	}
}

// step does a batch of each, and says how many dead letters it has grouped, and whether
// there is more to do.
func (k *Keeper) step(ctx context.Context) (grouped int, more bool, err error) {
	found, err := k.store.Ungrouped(ctx, fingerprint.Version, batch)
	if err != nil {
		return 0, false, err
	}
	if len(found) > 0 {
		if err := k.store.Regroup(ctx, regroupings(found)); err != nil {
			return 0, false, err
		}
	}
	forgotten, err := k.store.ForgetHours(ctx, batch)
	return len(found), len(found) > 0 || forgotten == batch, err
}

func regroupings(found []store.Ungrouped) []store.Regrouping {
	all := make([]store.Regrouping, len(found))
	for i := range found {
		u := &found[i]
		all[i] = store.Regrouping{Sequence: u.Sequence, Version: fingerprint.Version, Runs: map[int]store.Fingerprint{}}
		for _, r := range u.Runs {
			all[i].Runs[r.Run] = Of(Input(u.Type, r.Cause, r.Reason, r.Failure))
		}
	}
	return all
}
