package calls

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
)

// A refused call names what its caller has sent, not what was made of that.
func TestRefusedCallNamesTheCallersOwn(t *testing.T) {
	t.Parallel()
	const invalid, broken = taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, taskv1.ErrorReason_ERROR_REASON_PAYLOAD_INVALID
	for field, c := range map[string]struct {
		reason  taskv1.ErrorReason
		want    string
		message string
	}{
		"expire_time":            {invalid, "warren-expire", "nothing was submitted: warren-expire: is wrong"},
		"retry.max_attempts":     {invalid, "warren-max-attempts", "nothing was submitted: warren-max-attempts: is wrong"},
		"retry.max_attempts_all": {invalid, "retry.max_attempts_all", "nothing was submitted: retry.max_attempts_all: is wrong"},
		`labels["a"]`:            {invalid, `warren-labels["a"]`, `nothing was submitted: warren-labels["a"]: is wrong`},
		"payload.items[2].name":  {broken, "items[2].name", "as it was"},
		"payload.value":          {broken, "payload.value", "as it was"},
		"payload":                {broken, "payload", "as it was"},
	} {
		refusal := rpc.Errorf(codes.InvalidArgument, c.reason, "as it was").With("a", "b").Field(field, "is wrong")
		conn := serve(t, &tasks{submitErr: refusal})
		_, err := faults(conn).Fail(t.Context(), &demov1.FailRequest{})
		require.Equal(t, codes.InvalidArgument, status.Code(err))
		require.Equal(t, c.message, status.Convert(err).Message())
		details := status.Convert(err).Details()
		require.Len(t, details, 2)
		require.Equal(t, map[string]string{"a": "b"}, details[0].(*errdetails.ErrorInfo).Metadata)
		violation := details[1].(*errdetails.BadRequest).FieldViolations[0]
		require.Equal(t, c.want, violation.Field)
		require.Equal(t, "is wrong", violation.Description)
	}
}
