package load

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

const (
	// Callers is how many call SubmitTask at the same time.
	Callers = 64
	// BatchTasks is the size of a batch.
	BatchTasks = 1000
	// BatchesInFlight is how many are submitted at the same time.
	BatchesInFlight = 4
)

// Unary submits n tasks by [Callers] callers that each wait for their answer.
func (l *Load) Unary(ctx context.Context, n int) (Rates, error) {
	return l.measure(ctx, n, func(ctx context.Context, request *taskv1.SubmitTaskRequest) error {
		var next atomic.Int64
		all, ctx := errgroup.WithContext(ctx)
		for caller := range Callers {
			tasks := l.Tasks[caller%len(l.Tasks)]
			all.Go(func() error {
				for next.Add(1) <= int64(n) {
					if _, err := tasks.SubmitTask(ctx, request); err != nil {
						return fmt.Errorf("submit a task: %w", err)
					}
				}
				return nil
			})
		}
		return all.Wait()
	})
}

// Bulk submits n tasks in batches of [BatchTasks].
func (l *Load) Bulk(ctx context.Context, n int) (Rates, error) {
	return l.measure(ctx, n, func(ctx context.Context, request *taskv1.SubmitTaskRequest) error {
		whole := repeated(request, BatchTasks)
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
					if err := submitBatch(ctx, tasks, whole[:min(BatchTasks, n-first)]); err != nil {
						return err
					}
				}
			})
		}
		return all.Wait()
	})
}

func repeated(request *taskv1.SubmitTaskRequest, n int) []*taskv1.SubmitTaskRequest {
	all := make([]*taskv1.SubmitTaskRequest, n)
	for i := range all {
		all[i] = request
	}
	return all
}

func submitBatch(ctx context.Context, tasks taskv1.TaskServiceClient, batch []*taskv1.SubmitTaskRequest) error {
	answer, err := tasks.BatchSubmitTasks(ctx, &taskv1.BatchSubmitTasksRequest{Requests: batch})
	if err != nil {
		return fmt.Errorf("submit a batch: %w", err)
	}
	if got := len(answer.GetResults()); got != len(batch) {
		return fmt.Errorf("a batch of %d tasks was answered with %d results", len(batch), got)
	}
	for i, result := range answer.GetResults() {
		if failed := result.GetError(); failed != nil {
			return fmt.Errorf("submit task %d of a batch: %w", i, status.FromProto(failed).Err())
		}
	}
	return nil
}

// Unimplemented says whether a measure failed because the gateway does not have
// the method.
func Unimplemented(err error) bool { return status.Code(err) == codes.Unimplemented }
