package workertest

import (
	"fmt"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/worker/internal/rehearsal"
)

// Result is what came of a task.
type Result struct {
	// State is the task's then: SUCCEEDED; RETRYING, there is another attempt;
	// DEAD_LETTERED; CANCELLED; or QUEUED, it was given back and no attempt is spent.
	State task.State
	// Begun says that the handler was called. It is not for a task that is cancelled
	// or has expired before, or whose policy does not allow the attempt.
	Begun bool
	// Messages are what the handler answered, of the generated types: one of a unary
	// method, all that were sent of a stream. The result of a task that SUCCEEDED is
	// the last.
	Messages []proto.Message
	// Status is OK for SUCCEEDED, and else what the attempt has failed with, details
	// included. It is nil if it has not failed: for a snooze, and for a task that was
	// given back or cancelled.
	Status *status.Status
	// Failure has what Status does not: whether it was a panic, with its stack, or the
	// timeout. nil if Status is, or OK.
	Failure *task.Failure
	// Headers and Trailers are what of the handler's comes back with the task.
	Headers, Trailers metadata.MD
	// Progress is all that the handler reported, in order. Of a real task watchers may
	// see only the latest.
	Progress []task.ProgressReport
	// Decision says what was decided and why, for people.
	Decision string
	// NextAttempt is the number of the next attempt, for RETRYING: that of this one if
	// it was not spent. NextTime is when it is due; for QUEUED when the task comes
	// back, zero is at once.
	NextAttempt int
	NextTime    time.Time
	// Delay is the time from the end of this attempt until NextTime.
	Delay time.Duration
	// Cause is what the task died of, for DEAD_LETTERED.
	Cause task.Cause
	// Reason is why it was cancelled, for CANCELLED.
	Reason string
}

// Message is the last message that the handler answered; nil for none.
func (r *Result) Message() proto.Message {
	if len(r.Messages) == 0 {
		return nil
	}
	return r.Messages[len(r.Messages)-1]
}

// Err is nil for a task that SUCCEEDED, and else says what became of it. It has the
// Status, if there is one.
func (r *Result) Err() error {
	why := r.Decision
	switch r.State {
	case task.StateSucceeded:
		return nil
	case task.StateCancelled:
		why = r.Reason
	}
	if err := r.Status.Err(); err != nil {
		return fmt.Errorf("%v (%s): %w", r.State, why, err)
	}
	return fmt.Errorf("%v (%s)", r.State, why)
}

func newResult(t catalogue.TaskType, o *rehearsal.Outcome) (*Result, error) {
	e := &o.Event
	r := &Result{
		State: e.Key.Phase.State(), Begun: o.Begun, Progress: o.Progress, Failure: e.Failure,
		Headers: metadata.MD(e.Headers), Trailers: metadata.MD(e.Trailers),
		Decision: e.Decision, NextAttempt: e.NextAttempt, NextTime: e.NextAttemptTime, Cause: e.Cause, Reason: e.Reason,
	}
	if r.NextTime.IsZero() {
		r.NextTime = o.Again
	}
	if !r.NextTime.IsZero() {
		r.Delay = r.NextTime.Sub(e.Time)
	}
	switch {
	case e.Failure != nil:
		r.Status = statusOf(e.Failure)
	case r.State == task.StateSucceeded:
		r.Status = status.FromProto(&spb.Status{})
	}
	encoded := o.Messages
	if !t.ServerStreaming && r.State == task.StateSucceeded {
		encoded = [][]byte{e.Message}
	}
	for _, b := range encoded {
		m := newMessage(t.Output)
		if err := proto.Unmarshal(b, m); err != nil {
			return nil, fmt.Errorf("what the handler answered is no %s: %w", t.Output.FullName(), err)
		}
		r.Messages = append(r.Messages, m)
	}
	return r, nil
}

// newMessage is one of the generated type, if that is linked into the test.
func newMessage(md protoreflect.MessageDescriptor) proto.Message {
	if mt, err := protoregistry.GlobalTypes.FindMessageByName(md.FullName()); err == nil {
		return mt.New().Interface()
	}
	return dynamicpb.NewMessage(md)
}

func statusOf(f *task.Failure) *status.Status {
	p := &spb.Status{Code: int32(f.Code), Message: f.Message}
	for _, d := range f.Details {
		p.Details = append(p.Details, &anypb.Any{TypeUrl: d.TypeURL, Value: d.Value})
	}
	return status.FromProto(p)
}
