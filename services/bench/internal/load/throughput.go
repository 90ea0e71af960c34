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

// Callers is how many call SubmitTask at the same time.
const Callers = 64

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

// Unimplemented says whether a measure failed because the gateway does not have
// the method.
func Unimplemented(err error) bool { return status.Code(err) == codes.Unimplemented }
