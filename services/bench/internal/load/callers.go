package load

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// byCallers has do called n times by [Callers] callers, which each wait for its return.
// The first error ends them all. Callers have numbers, from 0.
func byCallers(ctx context.Context, n int, do func(ctx context.Context, caller int) error) error {
	var next atomic.Int64
	all, ctx := errgroup.WithContext(ctx)
	for caller := range Callers {
		all.Go(func() error {
			for next.Add(1) <= int64(n) {
				if err := do(ctx, caller); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return all.Wait()
}

// paced begins do n times, every so often, whether or not those before have returned,
// and waits for all. The first error ends them.
func paced(ctx context.Context, n int, every time.Duration, do func(ctx context.Context, i int) error) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	all, within := errgroup.WithContext(ctx)
	for i := 0; i < n && within.Err() == nil; i++ {
		all.Go(func() error { return do(within, i) })
		select {
		case <-ticker.C:
		case <-within.Done():
		}
	}
	if err := all.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}
