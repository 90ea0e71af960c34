package catalogue

import (
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
)

// Answer is what a caller gets who sent the payload: paths into it begin with
// `payload.`; whole is the field of the request that has it, for what is wrong with all
// of it. The text quotes the payload, so it is not logged.
func (e *PayloadError) Answer(whole string) *rpc.Error {
	if len(e.Violations) > 0 {
		return e.brokenRules()
	}
	reason, field := taskv1.ErrorReason_ERROR_REASON_PAYLOAD_UNDECODABLE, whole
	switch {
	case errors.Is(e, ErrPayloadType):
		reason, field = taskv1.ErrorReason_ERROR_REASON_PAYLOAD_TYPE_MISMATCH, "payload.type_url"
	case e.Field != "":
		field = "payload." + e.Field
	}
	return rpc.Errorf(codes.InvalidArgument, reason, "%s", validText(e.Error())).Field(validText(field), validText(e.Error())).Hidden()
}

// brokenRules names each rule of its own proto that a payload breaks.
func (e *PayloadError) brokenRules() *rpc.Error {
	violations := make([]*errdetails.BadRequest_FieldViolation, 0, len(e.Violations))
	for _, v := range e.Violations {
		violations = append(violations, &errdetails.BadRequest_FieldViolation{
			Field: validText(strings.TrimSuffix("payload."+v.Field, ".")), Description: validText(v.Message + " [" + v.Rule + "]"),
		})
	}
	answer := rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_PAYLOAD_INVALID, "%s", validText(e.Error())).Hidden()
	answer.Details = append(answer.Details, &errdetails.BadRequest{FieldViolations: violations})
	return answer
}

func validText(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
