package calls

import (
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/frame"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// answerUnary waits for the task's end and answers what its handler did.
func (c *call) answerUnary(end *watch.End) error {
	outcome, err := c.handler.cfg.Tasks.AwaitOutcome(c.stream.Context(), c.taskID, end)
	if err != nil {
		return err
	}
	if err := c.setMetadata(outcome.Event); err != nil {
		return err
	}
	if outcome.State != task.StateSucceeded {
		return failed(outcome.Event)
	}
	return c.stream.SendMsg(&frame.Frame{Bytes: outcome.Event.Message})
}

// setMetadata sets the handler's headers and trailers. Headers that come too late for
// the header become trailers.
func (c *call) setMetadata(e *task.Event) error {
	trailers := metadata.Join(metadata.MD(e.Trailers))
	switch c.headers {
	case headersMissed:
		trailers = metadata.Join(metadata.MD(e.Headers), trailers)
	case headersHeld:
		if err := c.setHeader(metadata.MD(e.Headers)); err != nil {
			return err
		}
	case headersGiven:
	}
	c.stream.SetTrailer(trailers)
	return nil
}

// failed is the answer to a call whose task did not succeed: the handler's own, or
// that of who has ended the task.
func failed(e *task.Event) error {
	if e.Key.Phase == task.PhaseCancelled {
		return cancelledBy(e)
	}
	return &rpc.AnswerError{Status: statusOf(e.Failure)}
}

func cancelledBy(e *task.Event) error {
	reason := ""
	if e.Reason != "" {
		reason = ": " + e.Reason
	}
	return rpc.Errorf(codes.Canceled, taskv1.ErrorReason_ERROR_REASON_TASK_CANCELLED, "the task %s was cancelled%s", e.TaskID, reason).
		With("task_id", e.TaskID)
}

// statusOf is a failure as its handler returned it; its details' types need not be
// known here.
func statusOf(f *task.Failure) *status.Status {
	if f == nil {
		return status.New(codes.Unknown, "the attempt failed")
	}
	st := &spb.Status{Code: int32(f.Code), Message: f.Message}
	for _, d := range f.Details {
		st.Details = append(st.Details, &anypb.Any{TypeUrl: d.TypeURL, Value: d.Value})
	}
	return status.FromProto(st)
}
