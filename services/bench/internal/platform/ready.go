//go:build unix

package platform

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/bench/internal/noop"
)

const (
	pollInterval = 50 * time.Millisecond
	pollTimeout  = 2 * time.Second
)

// awaitType waits until the gateway knows the worker's task type: only then does
// it refuse a task for its payload.
func awaitType(ctx context.Context, tasks taskv1.TaskServiceClient) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		err := try(ctx, tasks)
		if status.Code(err) == codes.InvalidArgument {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until task type %s is known: %w (%w)", noop.TaskType, context.Cause(ctx), err)
		}
	}
}

func try(ctx context.Context, tasks taskv1.TaskServiceClient) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	_, err := tasks.SubmitTask(ctx, &taskv1.SubmitTaskRequest{
		Type: noop.TaskType, Payload: &anypb.Any{TypeUrl: "type.googleapis.com/none.None"},
	})
	return err
}
