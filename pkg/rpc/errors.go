package rpc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// Domain is that of every ErrorInfo.
const Domain = "warren"

// Error is an answer to a caller: a code, one reason, and what to do.
type Error struct {
	Code   codes.Code
	Reason taskv1.ErrorReason
	// Message says what went wrong and what to do about it.
	Message string
	// Metadata goes into the ErrorInfo.
	Metadata map[string]string
	// Details follow the ErrorInfo.
	Details []protoadapt.MessageV1
	// Cause is logged, never shown.
	Cause error
	// Private says that Message quotes what users send, such as a payload: it is shown
	// to the caller, not logged.
	Private bool
}

// Errorf makes an Error.
func Errorf(code codes.Code, reason taskv1.ErrorReason, format string, args ...any) *Error {
	return &Error{Code: code, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Hidden makes the message Private.
func (e *Error) Hidden() *Error {
	e.Private = true
	return e
}

// Loggable is an error as a log may have it: of one whose message is Private the reason.
func Loggable(err error) string {
	var own *Error
	if errors.As(err, &own) && own.Private {
		return ReasonName(own.Reason)
	}
	return err.Error()
}

// With adds metadata.
func (e *Error) With(key, value string) *Error {
	if e.Metadata == nil {
		e.Metadata = map[string]string{}
	}
	e.Metadata[key] = value
	return e
}

// Because adds what is logged.
func (e *Error) Because(cause error) *Error {
	e.Cause = cause
	return e
}

// Field names the field of the request that is wrong.
func (e *Error) Field(name, description string) *Error {
	e.Details = append(e.Details, &errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: name, Description: description}},
	})
	return e
}

// RetryAfter says when the same call is worth another try.
func (e *Error) RetryAfter(d time.Duration) *Error {
	e.Details = append(e.Details, &errdetails.RetryInfo{RetryDelay: durationpb.New(d)})
	return e
}

// Error implements error, with the cause.
func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Message
	}
	return e.Message + ": " + e.Cause.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// GRPCStatus is what the caller gets.
func (e *Error) GRPCStatus() *status.Status {
	st := status.New(e.Code, e.Message)
	details := append([]protoadapt.MessageV1{&errdetails.ErrorInfo{
		Domain: Domain, Reason: ReasonName(e.Reason), Metadata: e.Metadata,
	}}, e.Details...)
	with, err := st.WithDetails(details...)
	if err != nil {
		return st
	}
	return with
}

// Failure is the error as that of a task which Warren itself gives up.
func (e *Error) Failure() *task.Failure {
	st := e.GRPCStatus().Proto()
	f := &task.Failure{Kind: task.KindError, Code: int(st.GetCode()), Message: st.GetMessage()}
	for _, d := range st.GetDetails() {
		f.Details = append(f.Details, task.Detail{TypeURL: d.GetTypeUrl(), Value: d.GetValue()})
	}
	return f
}

// ReasonName is a reason as an ErrorInfo spells it.
func ReasonName(r taskv1.ErrorReason) string {
	return strings.TrimPrefix(r.String(), "ERROR_REASON_")
}

// incidentKey is the metadata that leads from an answer to the log.
const incidentKey = "incident"

// Internal makes the Error for a mistake of ours. The caller gets an incident's
// id and no more, the log has the cause with it.
func Internal(cause error) *Error {
	incident := strings.ToLower(rand.Text()[:10])
	return Errorf(codes.Internal, taskv1.ErrorReason_ERROR_REASON_INTERNAL,
		"an internal error; the server's log has it, as incident %s", incident).
		With(incidentKey, incident).Because(cause)
}

// fromAny gives any error a reason, or nil if it is an answer that has one.
func fromAny(err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	if violations := violationsOf(err); violations != nil {
		return violations
	}
	st, ok := status.FromError(err)
	if !ok {
		st = status.FromContextError(err)
	}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.Domain == Domain {
			return nil
		}
	}
	if isMistake(st.Code()) {
		return Internal(err)
	}
	return Errorf(st.Code(), reasonOf(st.Code()), "%s", st.Message())
}

// isMistake says whether a code's text may show what is not for callers.
func isMistake(code codes.Code) bool { return code == codes.Internal || code == codes.Unknown }

// reasonOf is that of errors that are not ours.
func reasonOf(code codes.Code) taskv1.ErrorReason {
	switch code {
	case codes.Canceled, codes.DeadlineExceeded:
		return taskv1.ErrorReason_ERROR_REASON_CALL_ENDED
	case codes.InvalidArgument:
		return taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST
	case codes.Unimplemented:
		return taskv1.ErrorReason_ERROR_REASON_METHOD_NOT_FOUND
	case codes.ResourceExhausted:
		return taskv1.ErrorReason_ERROR_REASON_PAYLOAD_TOO_LARGE
	case codes.Unavailable:
		return taskv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN
	}
	return taskv1.ErrorReason_ERROR_REASON_INTERNAL
}

// violationsOf translates what the validation interceptor answers.
func violationsOf(err error) *Error {
	st, ok := status.FromError(err)
	if !ok || st.Code() != codes.InvalidArgument {
		return nil
	}
	for _, d := range st.Details() {
		v, ok := d.(*validate.Violations)
		if !ok {
			continue
		}
		return invalidRequest(v)
	}
	return nil
}

func invalidRequest(v *validate.Violations) *Error {
	bad := &errdetails.BadRequest{}
	var texts []string
	for _, violation := range v.GetViolations() {
		field := protovalidate.FieldPathString(violation.GetField())
		bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
			Field: field, Description: violation.GetMessage(), Reason: violation.GetRuleId(),
		})
		texts = append(texts, field+": "+violation.GetMessage())
	}
	e := Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "the request is not valid: %s", strings.Join(texts, "; "))
	e.Details = append(e.Details, bad)
	return e
}

// Validate checks a message by the rules in its proto, as a server does with its
// requests. Errors: INVALID_ARGUMENT INVALID_REQUEST.
func Validate(m proto.Message) error {
	var broken *protovalidate.ValidationError
	switch err := protovalidate.GlobalValidator.Validate(m); {
	case err == nil:
		return nil
	case errors.As(err, &broken):
		return invalidRequest(broken.ToProto())
	default:
		return Internal(err)
	}
}

// StatusOf is what a caller gets for an error that is one among other results in an
// answer. It has one ErrorInfo.
func StatusOf(err error) *status.Status {
	if e := fromAny(err); e != nil {
		return e.GRPCStatus()
	}
	return status.Convert(err)
}

// Note adds to the call's log line what its caller is not told of an error.
func Note(ctx context.Context, err error) {
	if e := fromAny(err); e != nil {
		noteCause(ctx, e)
	}
}

func errorsUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	resp, err := handler(ctx, req)
	return resp, answer(ctx, info.FullMethod, err)
}

func errorsStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return answer(ss.Context(), info.FullMethod, handler(srv, ss))
}

// answer makes of any error one with exactly one ErrorInfo, and adds to the
// call's log line what the caller is not told. Health and reflection are gRPC's
// own protocols, whose clients know their codes and no reasons: of their
// errors only our mistakes are treated so.
func answer(ctx context.Context, method string, err error) error {
	var passed *AnswerError
	if errors.As(err, &passed) {
		notePassed(ctx)
		return err
	}
	if err == nil || (isPlumbing(serviceOf(method)) && !isMistake(status.Code(err))) {
		return err
	}
	e := fromAny(err)
	if e == nil {
		return err
	}
	noteCause(ctx, e)
	hideMessage(ctx, e)
	return e.GRPCStatus().Err()
}
