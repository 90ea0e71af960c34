package load

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

const (
	// BatchTasks is the size of a batch.
	BatchTasks = 1000
	// BatchesInFlight is how many are submitted at the same time.
	BatchesInFlight = 4
)

// Bulk submits n tasks in batches of [BatchTasks].
func (l *Load) Bulk(ctx context.Context, n int) (Rates, error) {
	return l.measure(ctx, n, func(ctx context.Context, request *taskv1.SubmitTaskRequest) error {
		return l.submitAll(ctx, repeated(request, n))
	})
}

func repeated(request *taskv1.SubmitTaskRequest, n int) []*taskv1.SubmitTaskRequest {
	all := make([]*taskv1.SubmitTaskRequest, n)
	for i := range all {
		all[i] = request
	}
	return all
}

// submitAll submits tasks in batches.
func (l *Load) submitAll(ctx context.Context, requests []*taskv1.SubmitTaskRequest) error {
	return l.eachBatch(ctx, len(requests), func(ctx context.Context, tasks taskv1.TaskServiceClient, first, size int) error {
		_, err := submitBatch(ctx, tasks, requests[first:first+size])
		return err
	})
}

// eachBatch has n tasks submitted, [BatchesInFlight] batches at the same time.
func (l *Load) eachBatch(ctx context.Context, n int, submit func(ctx context.Context, tasks taskv1.TaskServiceClient, first, size int) error) error {
	var next atomic.Int64
	all, ctx := errgroup.WithContext(ctx)
	for caller := range BatchesInFlight {
		tasks := l.Tasks[caller%len(l.Tasks)]
		all.Go(func() error {
			for {
				first := int(next.Add(BatchTasks)) - BatchTasks
				if first >= n {
					return nil
				}
				if err := submit(ctx, tasks, first, min(BatchTasks, n-first)); err != nil {
					return err
				}
			}
		})
	}
	return all.Wait()
}

// submitBatch gives the accepted tasks, in the order of their requests.
func submitBatch(ctx context.Context, tasks taskv1.TaskServiceClient, batch []*taskv1.SubmitTaskRequest) ([]*taskv1.Task, error) {
	answer, err := tasks.BatchSubmitTasks(ctx, &taskv1.BatchSubmitTasksRequest{Requests: batch})
	if err != nil {
		return nil, fmt.Errorf("submit a batch: %w", err)
	}
	if got := len(answer.GetResults()); got != len(batch) {
		return nil, fmt.Errorf("a batch of %d tasks was answered with %d results", len(batch), got)
	}
	accepted := make([]*taskv1.Task, len(batch))
	for i, result := range answer.GetResults() {
		if failed := result.GetError(); failed != nil {
			return nil, fmt.Errorf("submit task %d of a batch: %w", i, status.FromProto(failed).Err())
		}
		accepted[i] = result.GetResponse().GetTask()
	}
	return accepted, nil
}
