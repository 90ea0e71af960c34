package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

const (
	// LateRate is how many tasks per second are due to measure lateness.
	LateRate = 200
	// lead is between the first submission and the time that its task is due.
	lead = 2 * time.Second
	// watchAhead is how long before a task is due its watch begins.
	watchAhead = 500 * time.Millisecond
)

// Late is how long after a task's time parts of its life came.
type Late struct {
	// Started is when the handler was called, Seen when a watcher was told of the
	// end.
	Started, Seen time.Duration
}

// Lateness submits tasks that are due at [LateRate] per second for a time, all
// before they are due, each with a watcher.
func (l *Load) Lateness(ctx context.Context, during time.Duration) ([]Late, error) {
	request, err := submission(l.next(0))
	if err != nil {
		return nil, err
	}
	found := make([]Late, max(int(during.Seconds()*LateRate), 1))
	first := time.Now().Add(lead).Truncate(time.Millisecond)
	due := func(i int) time.Time { return first.Add(time.Duration(i) * time.Second / LateRate) }
	all, within := errgroup.WithContext(ctx)
	for begin := 0; begin < len(found) && within.Err() == nil; begin += LateRate {
		size := min(LateRate, len(found)-begin)
		tasks := l.Tasks[begin/LateRate%len(l.Tasks)]
		accepted, err := submitFor(within, tasks, request, size, func(i int) time.Time { return due(begin + i) })
		if err != nil {
			all.Go(func() error { return err })
			break
		}
		for i, task := range accepted {
			all.Go(func() (err error) {
				found[begin+i], err = l.followLate(within, tasks, task, due(begin+i))
				return err
			})
		}
	}
	if err := all.Wait(); err != nil {
		return nil, err
	}
	return found, context.Cause(ctx)
}

// submitFor submits n tasks, each for its time.
func submitFor(ctx context.Context, tasks taskv1.TaskServiceClient, request *taskv1.SubmitTaskRequest, n int, due func(i int) time.Time) ([]*taskv1.Task, error) {
	batch := make([]*taskv1.SubmitTaskRequest, n)
	for i := range batch {
		batch[i] = &taskv1.SubmitTaskRequest{Type: request.GetType(), Payload: request.GetPayload(), ScheduleTime: timestamppb.New(due(i))}
	}
	accepted, err := submitBatch(ctx, tasks, batch)
	if err != nil {
		return nil, err
	}
	if time.Now().After(due(0)) {
		return nil, errors.New("the gateway took so long to accept tasks that they were due by then")
	}
	return accepted, nil
}

// followLate watches one task from its first event on.
func (l *Load) followLate(ctx context.Context, tasks taskv1.TaskServiceClient, task *taskv1.Task, due time.Time) (Late, error) {
	if err := waitUntil(ctx, due.Add(-watchAhead)); err != nil {
		return Late{}, err
	}
	if err := awaitSuccess(ctx, tasks, task); err != nil {
		return Late{}, fmt.Errorf("watch task %s: %w", task.GetTaskId(), err)
	}
	seen := time.Since(due.Round(0))
	started, err := l.Reports.AwaitStart(ctx, task.GetTaskId())
	if err != nil {
		return Late{}, err
	}
	return Late{Started: started.Sub(due.Round(0)), Seen: seen}, nil
}

func waitUntil(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
