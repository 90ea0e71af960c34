package replay

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// A worker that was cut off may finish after its task was given up: the task's
// success is a correction, and closes the dead letter. It can come as late as the
// longest attempt ends, so that every OPEN or QUARANTINED dead letter is asked for
// until then, ever more seldom.
const (
	correctPeriod = 15 * time.Second
	// maxCorrection is the longest attempt, and an hour that its message may have
	// waited in a worker.
	maxCorrection = 13 * time.Hour
	correctPage   = 500
)

// correct closes what was corrected, until ctx ends.
func (r *Replayer) correct(ctx context.Context) {
	ticker := time.NewTicker(correctPeriod)
	defer ticker.Stop()
	var logged time.Time
	for last := time.Now(); ; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		err := r.Correct(ctx, last, now)
		if err != nil && ctx.Err() == nil && time.Since(logged) >= logPeriod {
			r.log.WarnContext(ctx, "whether dead letters were corrected can't be learned now", "error", err)
			logged = time.Now()
		}
		if err == nil {
			last = now
		}
	}
}

// Correct asks the gateway for those OPEN or QUARANTINED dead letters that are due
// between two times, and resolves those whose task has ended well after all. Errors:
// [ErrGateway] for one of them, the store's.
func (r *Replayer) Correct(ctx context.Context, last, now time.Time) error {
	for _, state := range []store.State{store.StateOpen, store.StateQuarantined} {
		if err := r.correctAll(ctx, store.Query{State: state, Filter: dueBetween(last, now), Limit: correctPage}); err != nil {
			return err
		}
	}
	return nil
}

func (r *Replayer) correctAll(ctx context.Context, q store.Query) error {
	for {
		page, err := r.cfg.Store.List(ctx, q)
		if err != nil {
			return err
		}
		var group errgroup.Group
		group.SetLimit(askers)
		for i := range page.DeadLetters {
			d := &page.DeadLetters[i]
			if q.After = d.Sequence; !d.Foreign {
				group.Go(func() error { return r.correctOne(ctx, d) })
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
		if !page.More {
			return nil
		}
	}
}

// dueBetween selects those whose age in periods, since they were made OPEN, has come to a
// power of two between two times.
func dueBetween(last, now time.Time) filter.Expr {
	var windows []filter.Expr
	for age := correctPeriod; age <= 2*maxCorrection; age *= 2 {
		windows = append(windows, filter.And{Terms: []filter.Expr{
			filter.Time{Field: store.FieldUpdateTime, Order: filter.Greater, Value: last.Add(-age)},
			filter.Time{Field: store.FieldUpdateTime, Order: filter.LessOrEqual, Value: now.Add(-age)},
		}})
	}
	return filter.Or{Terms: windows}
}

func (r *Replayer) correctOne(ctx context.Context, d *store.DeadLetter) error {
	t, err := r.taskOf(ctx, d.ID)
	if err != nil || t == nil || int(t.Run) < d.Run || endedWell(t) == 0 {
		return err
	}
	_, err = r.cfg.Store.ResolveNow(ctx, store.ResolveRequest{
		ID: d.ID, Etag: d.Etag, Run: int(t.Run), Reason: "a worker that was cut off has finished: the gateway says " + stateName(t),
	})
	if errors.Is(err, store.ErrEtag) || errors.Is(err, store.ErrNotOpen) {
		return nil // it has changed meanwhile
	}
	if err == nil {
		r.logOf(d.ID, d.Type, int(t.Run)).InfoContext(ctx, "dead letter resolved by a correction", "task_state", stateName(t))
	}
	return err
}
