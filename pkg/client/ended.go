package client

import (
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

// EndedError is a task that ended, but not SUCCEEDED.
type EndedError struct {
	// Task is the task in FULL view.
	Task *taskv1.Task
}

// Error implements error.
func (e *EndedError) Error() string {
	state := strings.TrimPrefix(e.Task.GetState().String(), "TASK_STATE_")
	if cause := e.Task.GetCause(); cause != taskv1.Cause_CAUSE_UNSPECIFIED {
		state += " (" + strings.TrimPrefix(cause.String(), "CAUSE_") + ")"
	}
	st := e.GRPCStatus()
	return fmt.Sprintf("task %s ended %s: %s: %s", e.Task.GetTaskId(), state, st.Code(), st.Message())
}

// GRPCStatus is what a durable call of the task answers: the status that the handler
// failed with, as it is, or CANCELLED with reason TASK_CANCELLED.
func (e *EndedError) GRPCStatus() *status.Status {
	if e.Task.GetState() == taskv1.TaskState_TASK_STATE_CANCELLED {
		return e.cancelled()
	}
	f := e.Task.GetFailure()
	if f.GetCode() == 0 {
		return status.New(codes.Unknown, "the task ended without a failure on record")
	}
	return status.FromProto(&spb.Status{Code: f.GetCode(), Message: f.GetMessage(), Details: f.GetDetails()})
}

func (e *EndedError) cancelled() *status.Status {
	message := "the task " + e.Task.GetTaskId() + " was cancelled"
	if reason := e.Task.GetCancelReason(); reason != "" {
		message += ": " + reason
	}
	st := status.New(codes.Canceled, message)
	with, err := st.WithDetails(&errdetails.ErrorInfo{
		Domain: domain, Reason: reasonTaskCancelled, Metadata: map[string]string{taskIDKey: e.Task.GetTaskId()},
	})
	if err != nil {
		return st
	}
	return with
}
