package load

import (
	"context"
	"fmt"
	"time"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/bench/internal/noop"
)

// Backlog is a full queue.
type Backlog struct {
	Work
	// Tasks is how many wait in it.
	Tasks int
	// Slots is how many tasks the worker runs at the same time, [BatchTasks] at
	// most. They are held for Hold while the queue is filled.
	Slots int
	Hold  time.Duration
}

// Behind fills a queue and lets the worker begin with it. It then submits up to n
// CRITICAL tasks, one when the one before has started, and says how long it took
// from just before each one's submission until its handler was called. They are
// fewer when the queue has come to its last tenth before.
func (l *Load) Behind(ctx context.Context, b Backlog, n int) ([]time.Duration, error) {
	if err := l.hold(ctx, b.Slots, b.Hold); err != nil {
		return nil, err
	}
	order := l.next(b.Tasks)
	requests, err := b.requests(order, b.Tasks)
	if err != nil {
		return nil, err
	}
	if err := l.submitAll(ctx, requests); err != nil {
		return nil, err
	}
	if _, err := l.Reports.AwaitMarks(ctx, order.Batch, 1); err != nil {
		return nil, err
	}
	waits, err := l.overtake(ctx, order.Batch, n)
	if err != nil {
		return nil, err
	}
	return waits, l.awaitBatch(ctx, order.Batch)
}

// hold takes the worker's slots.
func (l *Load) hold(ctx context.Context, slots int, during time.Duration) error {
	order := l.next(0)
	order.Take = during
	request, err := submission(order)
	if err != nil {
		return err
	}
	holders, err := submitBatch(ctx, l.Tasks[0], repeated(request, slots))
	if err != nil {
		return err
	}
	for _, task := range holders {
		if _, err := l.Reports.AwaitStart(ctx, task.GetTaskId()); err != nil {
			return err
		}
	}
	return nil
}

// overtake submits CRITICAL tasks before those of a batch.
func (l *Load) overtake(ctx context.Context, batch uint32, n int) ([]time.Duration, error) {
	request, err := submission(l.next(0))
	if err != nil {
		return nil, err
	}
	request.Priority = taskv1.Priority_PRIORITY_CRITICAL
	var waits []time.Duration
	for len(waits) < n {
		begin := time.Now()
		answer, err := l.Tasks[0].SubmitTask(ctx, request)
		if err != nil {
			return nil, fmt.Errorf("submit a critical task: %w", err)
		}
		started, err := l.Reports.AwaitStart(ctx, answer.GetTask().GetTaskId())
		if err != nil {
			return nil, err
		}
		if len(l.Reports.MarksOf(batch)) == noop.Marks {
			break
		}
		waits = append(waits, started.Sub(begin.Round(0)))
	}
	return waits, nil
}
