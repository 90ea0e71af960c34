package client

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// longestWait is what WaitTask allows; shortWait is less than what it takes to say
// that a task has not ended yet.
const longestWait, shortWait = 5 * time.Minute, 100 * time.Millisecond

// Task shows a task as of now, in BASIC view. Errors: those of TaskService.GetTask.
func (c *Client) Task(ctx context.Context, taskID string) (*taskv1.Task, error) {
	answer, err := c.tasks.GetTask(ctx, &taskv1.GetTaskRequest{TaskId: taskID})
	return answer.GetTask(), err
}

// Cancel cancels a task, for a reason that its handler and whoever looks at it see.
// The answer's outcome says how that stands: CANCELLED, CANCEL_REQUESTED while a
// handler may still run, ENDED if the task has ended otherwise. Errors: those of
// TaskService.CancelTask.
func (c *Client) Cancel(ctx context.Context, taskID, reason string) (*taskv1.CancelTaskResponse, error) {
	return c.tasks.CancelTask(ctx, &taskv1.CancelTaskRequest{TaskId: taskID, Reason: reason})
}

// Wait waits for a task's end, however long that takes and across lost connections,
// and returns it in FULL view, whatever its state. Errors: ctx's end, which leaves the
// task alone, and those of TaskService.WaitTask that waiting can't cure.
func (c *Client) Wait(ctx context.Context, taskID string) (*taskv1.Task, error) {
	r := &taskv1.WaitTaskRequest{TaskId: taskID, View: taskv1.TaskView_TASK_VIEW_FULL, Timeout: durationpb.New(longestWait)}
	for p := new(patience); ; {
		began := time.Now()
		answer, err := c.tasks.WaitTask(ctx, r, grpc.WaitForReady(true))
		switch {
		case err == nil && answer.Done:
			return answer.Task, nil
		case err == nil:
			if p.reset(); time.Since(began) > shortWait {
				continue
			}
		case !p.allows(err):
			return nil, ended(ctx, err)
		}
		if !p.pause(ctx) {
			return nil, ended(ctx, err)
		}
	}
}
