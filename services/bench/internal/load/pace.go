package load

import (
	"context"
	"errors"
	"time"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/bench/internal/noop"
)

// Work is what tasks ask of their worker.
type Work struct {
	// Take is how long a handler takes.
	Take time.Duration
	// Retries is the share of tasks, from 0 to 1, whose first attempt fails and is
	// followed by another one after [noop.RetryDelay].
	Retries float64
}

// requests are n tasks of an order that ask for the work. Those that fail are
// spread evenly.
func (w Work) requests(order noop.Order, n int) ([]*taskv1.SubmitTaskRequest, error) {
	order.Take = w.Take
	fine, err := submission(order)
	if err != nil {
		return nil, err
	}
	order.FailFirst = true
	failing, err := submission(order)
	if err != nil {
		return nil, err
	}
	all := repeated(fine, n)
	for i := range all {
		if int(float64(i+1)*w.Retries) > int(float64(i)*w.Retries) {
			all[i] = failing
		}
	}
	return all, nil
}

// Pace is how many tasks per second come and go.
type Pace struct {
	// Accepted are answered to who submits them, and Done carried out by the worker,
	// as its attempts come to: measured while the queue has tasks that are new to it,
	// from a tenth to nine tenths of them.
	Accepted, Done float64
}

// Pace submits n tasks in batches of [BatchTasks] while the worker carries them
// out, and returns when the store knows of their ends.
func (l *Load) Pace(ctx context.Context, w Work, n int) (Pace, error) {
	order := l.next(n)
	requests, err := w.requests(order, n)
	if err != nil {
		return Pace{}, err
	}
	rates, err := l.timed(ctx, order.Batch, func(ctx context.Context) error { return l.submitAll(ctx, requests) })
	if err != nil {
		return Pace{}, err
	}
	marks := l.Reports.MarksOf(order.Batch)
	if len(marks) != noop.Marks || !marks[1].Time.After(marks[0].Time) {
		return Pace{}, errors.New("these are too few tasks to tell how many a second are done")
	}
	attempts := float64(marks[1].Attempts-marks[0].Attempts) / marks[1].Time.Sub(marks[0].Time).Seconds()
	return Pace{Accepted: float64(n) / rates.Accepted.Seconds(), Done: attempts / (1 + w.Retries)}, nil
}
