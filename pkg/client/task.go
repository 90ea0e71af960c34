package client

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// Task is a submitted task whose method answers with a Resp. It is safe for
// concurrent use.
type Task[Resp any] struct {
	client *Client
	id     string
	// accepted is nil for a task that was submitted elsewhere.
	accepted *taskv1.SubmitTaskResponse
}

// TaskOf is the handle of a task that was submitted elsewhere, by its id. It asks
// nobody whether there is one. Resp is the response message of the task's method.
func TaskOf[Resp any](c *Client, taskID string) *Task[Resp] {
	return &Task[Resp]{client: c, id: taskID}
}

// ID is the task's id, a UUID.
func (t *Task[Resp]) ID() string { return t.id }

// AlreadySubmitted says that the submission found its task there already, by the
// idempotency key.
func (t *Task[Resp]) AlreadySubmitted() bool { return t.accepted.GetAlreadySubmitted() }

// Get shows the task as of now, in BASIC view. Errors: those of TaskService.GetTask.
func (t *Task[Resp]) Get(ctx context.Context) (*taskv1.Task, error) { return t.client.Task(ctx, t.id) }

// Cancel cancels the task; see [Client.Cancel].
func (t *Task[Resp]) Cancel(ctx context.Context, reason string) (*taskv1.CancelTaskResponse, error) {
	return t.client.Cancel(ctx, t.id, reason)
}

// Wait waits for the task's end, however long that takes and across lost connections,
// and returns its result. Errors: an [*EndedError] if it ended otherwise, which
// status.Convert turns into the status that the handler failed with, details
// included; ctx's end, which leaves the task alone; and those of TaskService.WaitTask.
func (t *Task[Resp]) Wait(ctx context.Context) (*Resp, error) {
	ended, err := t.client.Wait(ctx, t.id)
	if err != nil {
		return nil, err
	}
	if ended.State != taskv1.TaskState_TASK_STATE_SUCCEEDED {
		return nil, &EndedError{Task: ended}
	}
	result := new(Resp)
	m, ok := any(result).(proto.Message)
	if !ok {
		return nil, fmt.Errorf("client: %T is no protobuf message", result)
	}
	if ended.Result == nil {
		return nil, errors.New("client: the gateway gave no result")
	}
	if err := ended.Result.UnmarshalTo(m); err != nil {
		return nil, fmt.Errorf("client: the result of task %s: %w", t.id, err)
	}
	return result, nil
}

// Watch is [Client.Watch] of the task: from its first event if it was submitted here.
func (t *Task[Resp]) Watch(ctx context.Context, opts ...WatchOption) iter.Seq2[*Update, error] {
	if accepted := t.accepted.GetTask(); accepted != nil && !t.AlreadySubmitted() {
		opts = append([]WatchOption{FromToken(accepted.ResumeToken)}, opts...)
	}
	return t.client.Watch(ctx, t.id, opts...)
}
