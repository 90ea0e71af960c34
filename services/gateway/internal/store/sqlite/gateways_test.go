package sqlite

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/storetest"
)

// gateways are stores of several gateways with one file, of which each changes
// tasks in turn.
type gateways struct {
	store.Store
	all  []*Store
	turn atomic.Int64
}

func (g *gateways) next() *Store { return g.all[int(g.turn.Add(1))%len(g.all)] }

func (g *gateways) Apply(ctx context.Context, events []task.Event) ([]store.Change, error) {
	return g.next().Apply(ctx, events)
}

func (g *gateways) Cancel(ctx context.Context, requests []store.CancelRequest) ([]store.CancelAnswer, error) {
	return g.next().Cancel(ctx, requests)
}

func (g *gateways) Schedule(ctx context.Context, tasks []store.Scheduled) ([]store.Change, error) {
	return g.next().Schedule(ctx, tasks)
}

func (g *gateways) Update(ctx context.Context, version int64, e task.Event, message []byte) (store.Change, error) {
	return g.next().Update(ctx, version, e, message)
}

func (g *gateways) Fire(ctx context.Context, f store.Fire) ([]store.Change, error) {
	return g.next().Fire(ctx, f)
}

func (g *gateways) PurgeEnded(ctx context.Context, which store.Ended, limit int) (int, error) {
	return g.next().PurgeEnded(ctx, which, limit)
}

func (g *gateways) PurgeTombstones(ctx context.Context, purgedBefore time.Time, limit int) (int, error) {
	return g.next().PurgeTombstones(ctx, purgedBefore, limit)
}

func (g *gateways) Close() error {
	var errs []error
	for _, s := range g.all {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// No gateway relies on what it remembers of a task that another one has changed.
func TestStoreOfSeveralGateways(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store {
		file := EmptyFile(t)
		all := []*Store{OpenHasty(t, file), OpenHasty(t, file)}
		return &gateways{Store: all[0], all: all}
	}, "Apply", "Cancel", "Schedule", "PurgeEnded", "Tombstone")
}
