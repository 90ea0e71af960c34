package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// Limits of what a failure keeps: it travels in events and with the dead
// letter, and must never keep others from being told.
const (
	maxStack   = 8 << 10
	maxMessage = 16 << 10
	maxDetails = 32 << 10
)

// panicError is a handler's panic as an error.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// recovered turns a panic in f into an error with the stack.
func recovered(f func() ([]byte, error)) (reply []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			reply, err = nil, &panicError{v, debug.Stack()}
		}
	}()
	return f()
}

// tooLargeError is a result, or a response stream, over its limit.
type tooLargeError struct {
	reason  taskv1.ErrorReason
	message string
	limit   int64
}

func (e *tooLargeError) Error() string { return e.message }

// GRPCStatus lets a handler that returns what SendMsg answered fail with it.
func (e *tooLargeError) GRPCStatus() *status.Status {
	return withReason(codes.ResourceExhausted, e.message, e.reason, map[string]string{"limit_bytes": fmt.Sprint(e.limit)})
}

// failureOf translates what a handler returned, as a grpc.Server would, and
// tells apart what it did not return.
func (x *execution) failureOf(r returned) *task.Failure {
	var p *panicError
	var large *tooLargeError
	switch {
	case r.stuck:
		f := failure(withReason(codes.DeadlineExceeded, r.err.Error(), taskv1.ErrorReason_ERROR_REASON_HANDLER_STUCK, nil))
		f.Kind = task.KindTimeout
		return f
	case errors.Is(r.err, errGoexit):
		f := failure(withReason(codes.Internal, r.err.Error(), taskv1.ErrorReason_ERROR_REASON_HANDLER_PANICKED, nil))
		f.Kind = task.KindPanic
		return f
	case errors.As(r.err, &p):
		f := failure(withReason(codes.Internal, p.Error(), taskv1.ErrorReason_ERROR_REASON_HANDLER_PANICKED, nil))
		f.Kind, f.Stack = task.KindPanic, valid(string(p.stack[:min(len(p.stack), maxStack)]))
		return f
	case errors.Is(r.err, errUndecodable):
		return failure(withReason(codes.InvalidArgument, r.err.Error(), taskv1.ErrorReason_ERROR_REASON_PAYLOAD_UNDECODABLE, nil))
	case errors.As(r.err, &large):
		return failure(large.GRPCStatus())
	}
	st, ok := status.FromError(r.err)
	if !ok {
		st = status.FromContextError(r.err)
	}
	if timedOut(r, st.Code()) {
		f := failure(withReason(codes.DeadlineExceeded, fmt.Sprintf("the attempt's time of %v ran out: %s", x.rules.Timeout(), st.Message()),
			taskv1.ErrorReason_ERROR_REASON_ATTEMPT_TIMED_OUT, nil))
		f.Kind = task.KindTimeout
		return f
	}
	return failure(st)
}

// timedOut says whether a handler failed because its time ran out.
func timedOut(r returned, code codes.Code) bool {
	if !errors.Is(r.cause, context.DeadlineExceeded) {
		return false
	}
	return code == codes.DeadlineExceeded || code == codes.Canceled ||
		errors.Is(r.err, context.DeadlineExceeded) || errors.Is(r.err, context.Canceled)
}

func failure(st *status.Status) *task.Failure {
	p := st.Proto()
	f := &task.Failure{Kind: task.KindError, Code: int(p.GetCode()), Message: cut(valid(p.GetMessage()), maxMessage)}
	if f.Code == int(codes.OK) {
		// An error whose status says OK is an error all the same.
		f.Code = int(codes.Unknown)
	}
	size := 0
	for _, d := range p.GetDetails() {
		if size += len(d.TypeUrl) + len(d.Value); size > maxDetails {
			f.Message += " (details over 32 KiB were left out)"
			break
		}
		f.Details = append(f.Details, task.Detail{TypeURL: valid(d.TypeUrl), Value: d.Value})
	}
	return f
}

// cut bounds a text, and says so.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return valid(s[:limit]) + "… (cut)"
}

// withReason is a failure of Warren's own.
func withReason(code codes.Code, message string, reason taskv1.ErrorReason, md map[string]string) *status.Status {
	info, err := anypb.New(&errdetails.ErrorInfo{
		Domain:   "warren",
		Reason:   strings.TrimPrefix(reason.String(), "ERROR_REASON_"),
		Metadata: md,
	})
	st := status.New(code, valid(message))
	if err != nil {
		return st
	}
	p := proto.CloneOf(st.Proto())
	p.Details = append(p.Details, info)
	return status.FromProto(p)
}

// valid makes any text fit for a protobuf string.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// errDraining is the cause with which a handler's context ends when its worker
// stops: the task is given back.
var errDraining = errors.New("DRAINING: the worker stops, the task is given back to its queue")

// interrupted says whether a failed execution ended for a reason that is not
// the task's: then it spends no attempt.
func interrupted(cause error) (task.Phase, bool) {
	switch {
	case errors.Is(cause, errDraining):
		return task.PhaseReleased, true
	case isLost(cause):
		return task.PhaseLost, true
	}
	return 0, false
}
