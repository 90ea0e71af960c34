// Package load puts Warren under load as its users do, over gRPC, and measures
// how long that takes.
package load

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/bench/internal/noop"
)

// Load submits tasks to a gateway. One measure runs at a time.
type Load struct {
	// Tasks are clients of the gateway, used in turn. At least one is required.
	Tasks []taskv1.TaskServiceClient
	// Reports are those of the one worker. Required.
	Reports *noop.Listener
	// Conns are connections to the gateway for calls of the worker's method, used in
	// turn, and Direct one to a server that has the method itself. Calls need them.
	Conns  []grpc.ClientConnInterface
	Direct grpc.ClientConnInterface

	batches uint32
}

// Rates are how long a measure took from its first submission on.
type Rates struct {
	// Accepted is when the last submission was answered, Done when the end of the
	// last task was in the store.
	Accepted, Done time.Duration
}

// next is an order of a batch of its own; tasks is as in [noop.Order].
func (l *Load) next(tasks int) noop.Order {
	l.batches++
	return noop.Order{Batch: l.batches, Tasks: uint32(tasks)}
}

func submission(order noop.Order) (*taskv1.SubmitTaskRequest, error) {
	payload, err := anypb.New(order.Payload())
	if err != nil {
		return nil, fmt.Errorf("encode a payload: %w", err)
	}
	return &taskv1.SubmitTaskRequest{Type: noop.TaskType, Payload: payload}, nil
}

// measure measures what submits n tasks.
func (l *Load) measure(ctx context.Context, n int, submit func(context.Context, *taskv1.SubmitTaskRequest) error) (Rates, error) {
	order := l.next(n)
	request, err := submission(order)
	if err != nil {
		return Rates{}, err
	}
	return l.timed(ctx, order.Batch, func(ctx context.Context) error { return submit(ctx, request) })
}

// timed measures what submits a batch.
func (l *Load) timed(ctx context.Context, batch uint32, submit func(context.Context) error) (Rates, error) {
	begin := time.Now()
	if err := submit(ctx); err != nil {
		return Rates{}, err
	}
	accepted := time.Since(begin)
	if err := l.awaitBatch(ctx, batch); err != nil {
		return Rates{}, err
	}
	return Rates{Accepted: accepted, Done: time.Since(begin)}, nil
}

// awaitBatch waits until the store knows that all tasks of a batch have succeeded.
// It asks for those that the worker started last, as many as it can hold at once:
// what it started before them has ended, and the store learns of ends in their
// order.
func (l *Load) awaitBatch(ctx context.Context, batch uint32) error {
	last, err := l.Reports.AwaitAll(ctx, batch)
	if err != nil {
		return err
	}
	return l.awaitEnds(ctx, last)
}

const (
	waiters     = 8
	waitTimeout = time.Minute
)

// awaitEnds waits until the store knows that the tasks have succeeded.
func (l *Load) awaitEnds(ctx context.Context, ids []string) error {
	all, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range waiters {
		all.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(ids) {
					return nil
				}
				if err := l.awaitEnd(ctx, ids[i]); err != nil {
					return err
				}
			}
		})
	}
	return all.Wait()
}

func (l *Load) awaitEnd(ctx context.Context, id string) error {
	request := &taskv1.WaitTaskRequest{TaskId: id, Timeout: durationpb.New(waitTimeout)}
	answer, err := l.Tasks[0].WaitTask(ctx, request)
	// The store may be so far behind that it does not know the task yet.
	for status.Code(err) == codes.Unavailable && pause(ctx) {
		answer, err = l.Tasks[0].WaitTask(ctx, request)
	}
	if err != nil {
		return fmt.Errorf("wait for task %s: %w", id, err)
	}
	if state := answer.GetTask().GetState(); state != taskv1.TaskState_TASK_STATE_SUCCEEDED {
		return fmt.Errorf("task %s is %v, not SUCCEEDED", id, state)
	}
	return nil
}

// pausePeriod is the time between two calls of one that is to be called again.
const pausePeriod = 50 * time.Millisecond

// pause waits a little, and says whether the context has not ended.
func pause(ctx context.Context) bool {
	timer := time.NewTimer(pausePeriod)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
