package load

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// Callers is how many call SubmitTask at the same time.
const Callers = 64

// Unary submits n tasks by [Callers] callers that each wait for their answer.
func (l *Load) Unary(ctx context.Context, n int) (Rates, error) {
	return l.measure(ctx, n, func(ctx context.Context, request *taskv1.SubmitTaskRequest) error {
		return byCallers(ctx, n, func(ctx context.Context, caller int) error {
			if _, err := l.Tasks[caller%len(l.Tasks)].SubmitTask(ctx, request); err != nil {
				return fmt.Errorf("submit a task: %w", err)
			}
			return nil
		})
	})
}

// Unimplemented says whether a measure failed because the gateway does not have
// the method.
func Unimplemented(err error) bool { return status.Code(err) == codes.Unimplemented }
