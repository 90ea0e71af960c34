package replay

import (
	"context"
	"sync"
	"time"

	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// lookPeriod is how long a change of a replay may go unnoticed whose bell was lost with
// another process.
const lookPeriod = 500 * time.Millisecond

// driveAll drives all replays that have not ended, each in a goroutine, until ctx ends.
func (r *Replayer) driveAll(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var mu sync.Mutex
	driven := map[string]*drive{}
	var logged time.Time
	for ctx.Err() == nil {
		news := r.bell.next()
		active, err := r.active(ctx)
		if err != nil && ctx.Err() == nil && time.Since(logged) >= logPeriod {
			r.log.WarnContext(ctx, "replays can't be read now", "error", err)
			logged = time.Now()
		}
		for i := range active {
			id := active[i].ID
			mu.Lock()
			d, is := driven[id]
			if !is {
				d = newDrive(r, id)
				driven[id] = d
			}
			mu.Unlock()
			// The drive itself may wait for the broker or the gateway.
			d.stopped.Store(active[i].Stopped())
			if is {
				continue
			}
			wg.Go(func() {
				d.run(ctx)
				mu.Lock()
				defer mu.Unlock()
				delete(driven, id)
			})
		}
		// What is driven rings as well: not each time is worth a look.
		pause(ctx, minLook)
		await(ctx, news, lookPeriod)
	}
}

// minLook is the least time between two looks for new replays.
const minLook = 5 * time.Millisecond

// active are the replays that have not ended.
func (r *Replayer) active(ctx context.Context) ([]store.Replay, error) {
	var all []store.Replay
	q := store.ReplayQuery{Active: true, Limit: store.MaxPage}
	for {
		page, err := r.cfg.Store.Replays(ctx, q)
		if err != nil {
			return all, err
		}
		for i := range page {
			all = append(all, page[i])
			q.Before = page[i].Sequence
		}
		if len(page) < store.MaxPage {
			return all, nil
		}
	}
}

// await waits for news, at most so long.
func await(ctx context.Context, news <-chan struct{}, atMost time.Duration) {
	t := time.NewTimer(atMost)
	defer t.Stop()
	select {
	case <-news:
	case <-t.C:
	case <-ctx.Done():
	}
}
