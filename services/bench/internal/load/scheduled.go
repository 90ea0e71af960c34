package load

import (
	"context"
	"fmt"
	"sync"
	"time"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// Ahead says when tasks are due that are scheduled: evenly, from First on, within
// Over.
type Ahead struct {
	First time.Time
	Over  time.Duration
}

// Scheduled are tasks that wait for their time.
type Scheduled struct {
	// Took is how long it took until all were accepted.
	Took time.Duration
	// Sample are ids of some of them, over all of their times.
	Sample []string
}

// Schedule submits n tasks for later, in batches of [BatchTasks], and gives a
// sample of so many. Progress is told how many were accepted after each batch, by
// one goroutine at a time.
func (l *Load) Schedule(ctx context.Context, n int, ahead Ahead, sample int, progress func(accepted int)) (Scheduled, error) {
	request, err := submission(l.next(0))
	if err != nil {
		return Scheduled{}, err
	}
	var mu sync.Mutex
	var found Scheduled
	accepted, step := 0, max(n/max(sample, 1), 1)
	begin := time.Now()
	err = l.eachBatch(ctx, n, func(ctx context.Context, tasks taskv1.TaskServiceClient, first, size int) error {
		batch, err := submitFor(ctx, tasks, request, size, func(i int) time.Time {
			return ahead.First.Add(time.Duration(float64(ahead.Over) * float64(first+i) / float64(n)))
		})
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for i, task := range batch {
			if (first+i)%step == 0 && len(found.Sample) < sample {
				found.Sample = append(found.Sample, task.GetTaskId())
			}
		}
		accepted += size
		progress(accepted)
		return nil
	})
	found.Took = time.Since(begin)
	return found, err
}

// RunNow runs tasks before their time, one when the one before has started, and
// says how long it took from the call until each one's handler was called.
func (l *Load) RunNow(ctx context.Context, ids []string) ([]time.Duration, error) {
	var waits []time.Duration
	for _, id := range ids {
		begin := time.Now()
		if _, err := l.Tasks[0].RunTaskNow(ctx, &taskv1.RunTaskNowRequest{TaskId: id}); err != nil {
			return nil, fmt.Errorf("run task %s now: %w", id, err)
		}
		started, err := l.Reports.AwaitStart(ctx, id)
		if err != nil {
			return nil, err
		}
		waits = append(waits, started.Sub(begin.Round(0)))
	}
	return waits, l.awaitEnds(ctx, ids)
}
