//go:build unix

package demo

import (
	"context"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/code"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// failure submits a call that fails for good, and checks that the failure
// arrives as the handler made it.
func (s *session) failure(ctx context.Context) error {
	request := &demov1.FailRequest{
		Code: int32(code.Code_NOT_FOUND), Message: "there is no picture burrow.jpg", Reason: "PICTURE_MISSING",
	}
	task, err := s.submit(ctx, demov1.FaultService_Fail_FullMethodName, request)
	if err != nil {
		return err
	}
	s.print.Line("submitted", "task %s", task.GetTaskId())
	if task, err = s.watch(ctx, task); err != nil {
		return err
	}
	if err := checkDead(task, taskv1.Cause_CAUSE_PERMANENT_FAILURE); err != nil {
		return err
	}
	if task.GetAttempt() != 1 {
		return fmt.Errorf("task %s died in attempt %d, but %s is not to be tried again",
			task.GetTaskId(), task.GetAttempt(), code.Code(request.GetCode()))
	}
	got := task.GetFailure()
	if got.GetCode() != request.GetCode() || got.GetMessage() != request.GetMessage() || reasonOf(got) != request.GetReason() {
		return fmt.Errorf("task %s has the failure %s, not %s %q, reason %s", task.GetTaskId(),
			describeFailure(got), code.Code(request.GetCode()), request.GetMessage(), request.GetReason())
	}
	s.print.Line("checked", "%s is not tried again; the cause is right, the status the handler's own, details included",
		code.Code(request.GetCode()))
	return nil
}

// checkDead checks that the task was given up for that cause.
func checkDead(task *taskv1.Task, cause taskv1.Cause) error {
	if task.GetState() != taskv1.TaskState_TASK_STATE_DEAD_LETTERED {
		return fmt.Errorf("task %s is %s, not DEAD_LETTERED", task.GetTaskId(), stateName(task.GetState()))
	}
	if task.GetCause() != cause {
		return fmt.Errorf("task %s is DEAD_LETTERED with cause %s, not %s", task.GetTaskId(), causeName(task.GetCause()), causeName(cause))
	}
	return nil
}
