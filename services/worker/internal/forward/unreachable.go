package forward

import (
	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
)

// notBegun is the error of a call that never left, for err: nothing was done.
func notBegun(err error) error {
	return task.NotBegun(rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_TARGET_UNREACHABLE,
		"the call never reached the target").Because(err))
}
