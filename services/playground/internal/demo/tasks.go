//go:build unix

package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/playground/internal/platform"
)

const (
	submitTimeout = 10 * time.Second
	callAgain     = 200 * time.Millisecond
)

// submit submits a call of the method as a task, by the retry policy of its type.
func (s *session) submit(ctx context.Context, method string, payload proto.Message) (*taskv1.Task, error) {
	return s.submitWith(ctx, method, payload, nil)
}

// submitWith is submit with a retry policy of its own, unless that is nil. It
// submits again while the gateway says that nothing was submitted, and tells of
// it.
func (s *session) submitWith(ctx context.Context, method string, payload proto.Message, retry *taskv1.RetryPolicy) (*taskv1.Task, error) {
	encoded, err := anypb.New(payload)
	if err != nil {
		return nil, fmt.Errorf("encode the payload: %w", err)
	}
	request := &taskv1.SubmitTaskRequest{Type: platform.TaskType(method), Payload: encoded, Retry: retry}
	ctx, cancel := context.WithTimeout(ctx, submitTimeout)
	defer cancel()
	for {
		answer, err := s.tasks.SubmitTask(ctx, request)
		if err == nil {
			return answer.GetTask(), nil
		}
		err = fmt.Errorf("submit a task of type %s: %w", request.GetType(), err)
		if !notSubmitted(err) || !s.again(ctx, err) {
			return nil, err
		}
	}
}

// notSubmitted says whether the gateway vouches that there is no task, so that
// submitting again makes no second one.
func notSubmitted(err error) bool {
	return apiReason(err) == taskv1.ErrorReason_ERROR_REASON_NOT_SUBMITTED
}

// apiReason is the reason of an error of Warren's API.
func apiReason(err error) taskv1.ErrorReason {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return taskv1.ErrorReason(taskv1.ErrorReason_value["ERROR_REASON_"+info.GetReason()])
		}
	}
	return taskv1.ErrorReason_ERROR_REASON_UNSPECIFIED
}

// again waits before a call is repeated, and tells why it is. It is false when
// the context has ended.
func (s *session) again(ctx context.Context, why error) bool {
	s.print.Line("again", "%v", why)
	select {
	case <-time.After(callAgain):
		return true
	case <-ctx.Done():
		return false
	}
}

// watch shows the task's events from the first one to its end, and is the task
// in FULL view then. An event missing or out of order is an error.
func (s *session) watch(ctx context.Context, task *taskv1.Task) (*taskv1.Task, error) {
	stream, err := s.tasks.WatchTask(ctx, &taskv1.WatchTaskRequest{
		TaskId: task.GetTaskId(), View: taskv1.TaskView_TASK_VIEW_FULL, ResumeToken: task.GetResumeToken(),
	})
	if err != nil {
		return nil, fmt.Errorf("watch task %s: %w", task.GetTaskId(), err)
	}
	var last *taskv1.TaskEvent
	for {
		update, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("watch task %s: %w", task.GetTaskId(), err)
		}
		if event := update.GetEvent(); event != nil {
			if want := last.GetNumber() + 1; event.GetNumber() != want {
				return nil, fmt.Errorf("watch task %s: event %d came where %d was due", task.GetTaskId(), event.GetNumber(), want)
			}
			last = event
		}
		s.showUpdate(update)
	}
	if !ended(last.GetState()) {
		return nil, fmt.Errorf("watch task %s: the stream ended with the task %s", task.GetTaskId(), stateName(last.GetState()))
	}
	return s.get(ctx, task.GetTaskId())
}

// wait is the task in FULL view at its end.
func (s *session) wait(ctx context.Context, taskID string) (*taskv1.Task, error) {
	for {
		answer, err := s.tasks.WaitTask(ctx, &taskv1.WaitTaskRequest{TaskId: taskID, View: taskv1.TaskView_TASK_VIEW_FULL})
		if err != nil {
			return nil, fmt.Errorf("wait for task %s: %w", taskID, err)
		}
		if answer.GetDone() {
			return answer.GetTask(), nil
		}
	}
}

func (s *session) get(ctx context.Context, taskID string) (*taskv1.Task, error) {
	answer, err := s.tasks.GetTask(ctx, &taskv1.GetTaskRequest{TaskId: taskID, View: taskv1.TaskView_TASK_VIEW_FULL})
	if err != nil {
		return nil, fmt.Errorf("get task %s: %w", taskID, err)
	}
	return answer.GetTask(), nil
}

// result decodes a SUCCEEDED task's result into the message.
func result(task *taskv1.Task, into proto.Message) error {
	if task.GetState() != taskv1.TaskState_TASK_STATE_SUCCEEDED {
		return fmt.Errorf("task %s is %s: %s", task.GetTaskId(), stateName(task.GetState()), describeFailure(task.GetFailure()))
	}
	if task.GetResult() == nil {
		return fmt.Errorf("task %s has no result in FULL view", task.GetTaskId())
	}
	if err := task.GetResult().UnmarshalTo(into); err != nil {
		return fmt.Errorf("decode the result of task %s: %w", task.GetTaskId(), err)
	}
	return nil
}

func ended(state taskv1.TaskState) bool {
	switch state {
	case taskv1.TaskState_TASK_STATE_SUCCEEDED,
		taskv1.TaskState_TASK_STATE_CANCELLED,
		taskv1.TaskState_TASK_STATE_DEAD_LETTERED:
		return true
	default:
		return false
	}
}
