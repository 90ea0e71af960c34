package load

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

const (
	// startTick is how often what is due by then is submitted at a rate.
	startTick = 2 * time.Millisecond
	// endsAwaited of the last tasks have to end before a measure does, so that the
	// next one finds nothing of them.
	endsAwaited = 256
)

// Starts submits tasks at a rate per second for a time, in small batches, and says
// of each how long it took from just before its submission until its handler was
// called for the first time.
func (l *Load) Starts(ctx context.Context, w Work, rate float64, during time.Duration) ([]time.Duration, error) {
	requests, err := w.requests(l.next(0), max(int(rate*during.Seconds()), 1))
	if err != nil {
		return nil, err
	}
	accepted, begins, err := l.atRate(ctx, requests, rate)
	if err != nil {
		return nil, err
	}
	found, ids := make([]time.Duration, len(accepted)), make([]string, len(accepted))
	for i, task := range accepted {
		ids[i] = task.GetTaskId()
		started, err := l.Reports.AwaitStart(ctx, ids[i])
		if err != nil {
			return nil, err
		}
		found[i] = started.Sub(begins[i].Round(0))
	}
	return found, l.awaitEnds(ctx, ids[max(len(ids)-endsAwaited, 0):])
}

// atRate submits the tasks at a rate per second, whether those before were
// answered or not, and says when each was.
func (l *Load) atRate(ctx context.Context, requests []*taskv1.SubmitTaskRequest, rate float64) ([]*taskv1.Task, []time.Time, error) {
	accepted, begins := make([]*taskv1.Task, len(requests)), make([]time.Time, len(requests))
	all, within := errgroup.WithContext(ctx)
	ticker := time.NewTicker(startTick)
	defer ticker.Stop()
	begin, calls := time.Now(), 0
	for sent := 0; sent < len(requests) && within.Err() == nil; {
		now := time.Now()
		due := min(int(now.Sub(begin).Seconds()*rate)+1, len(requests), sent+BatchTasks)
		if due > sent {
			first, tasks := sent, l.Tasks[calls%len(l.Tasks)]
			all.Go(func() error {
				batch, err := submitBatch(within, tasks, requests[first:due])
				copy(accepted[first:due], batch)
				return err
			})
			for i := range begins[first:due] {
				begins[first+i] = now
			}
			sent, calls = due, calls+1
		}
		select {
		case <-ticker.C:
		case <-within.Done():
		}
	}
	if err := all.Wait(); err != nil {
		return nil, nil, err
	}
	return accepted, begins, context.Cause(ctx)
}
