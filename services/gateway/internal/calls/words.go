package calls

import (
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/protoadapt"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/callmeta"
	"github.com/warrenmq/warren/pkg/rpc"
)

// keys has the metadata that a field of a submission comes from.
var keys = map[string]string{
	"delay": callmeta.KeyDelay, "expire_time": callmeta.KeyExpire, "idempotency_key": callmeta.KeyIdempotencyKey,
	"labels": callmeta.KeyLabels, "priority": callmeta.KeyPriority, "retry.max_attempts": callmeta.KeyMaxAttempts,
}

// inCallersWords names in a refused submission what its caller has sent: keys of
// metadata, and fields of the method's input. The caller of a method has seen no
// SubmitTaskRequest.
func inCallersWords(err error) error {
	var own *rpc.Error
	if !errors.As(err, &own) {
		return err
	}
	said := *own
	said.Details = nil
	var problems []string
	for _, d := range own.Details {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			bad = translate(bad)
			for _, v := range bad.FieldViolations {
				problems = append(problems, v.Field+": "+v.Description)
			}
			d = protoadapt.MessageV1(bad)
		}
		said.Details = append(said.Details, d)
	}
	if own.Reason == taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST && len(problems) > 0 {
		said.Message = "nothing was submitted: " + strings.Join(problems, "; ")
	}
	return &said
}

func translate(bad *errdetails.BadRequest) *errdetails.BadRequest {
	out := &errdetails.BadRequest{}
	for _, v := range bad.FieldViolations {
		out.FieldViolations = append(out.FieldViolations, &errdetails.BadRequest_FieldViolation{
			Field: callersField(v.Field), Description: v.Description, Reason: v.Reason,
		})
	}
	return out
}

// callersField is a submission's field as its caller knows it. The message as a whole
// stays `payload`.
func callersField(field string) string {
	if path, ok := strings.CutPrefix(field, "payload."); ok && path != "value" {
		return path
	}
	for of, key := range keys {
		if rest, ok := strings.CutPrefix(field, of); ok && (rest == "" || rest[0] == '[' || rest[0] == '.') {
			return key + rest
		}
	}
	return field
}
