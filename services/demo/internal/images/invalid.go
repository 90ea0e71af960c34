package images

import (
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// invalid is an INVALID_ARGUMENT whose BadRequest names the field.
func invalid(field, format string, args ...any) error {
	description := fmt.Sprintf(format, args...)
	st := status.New(codes.InvalidArgument, field+": "+description)
	detailed, err := st.WithDetails(&errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: description}},
	})
	if err != nil {
		return st.Err()
	}
	return detailed.Err()
}

// within is value, or fallback when value is 0, if that is between 1 and most.
func within(field string, value, fallback, most int32) (int, error) {
	switch {
	case value == 0:
		return int(fallback), nil
	case value < 0 || value > most:
		return 0, invalid(field, "%d is not between 1 and %d", value, most)
	default:
		return int(value), nil
	}
}
