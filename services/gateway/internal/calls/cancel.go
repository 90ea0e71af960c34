package calls

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/retry"
	"github.com/warrenmq/warren/pkg/telemetry"
)

const (
	// cancelWithin bounds putting a cancellation on record, cancelPause is between tries
	// while the store does not answer.
	cancelWithin = 10 * time.Second
	cancelPause  = 200 * time.Millisecond
	// A cancellation this close to the deadline, a part of the time that the caller gave
	// within bounds, is the deadline: the client's reset often arrives before the
	// server's own clock has come so far.
	deadlinePart             = 10
	minDeadline, maxDeadline = 50 * time.Millisecond, 500 * time.Millisecond
)

// cancelled says whether a call whose context has ended was cancelled, or cut off,
// and not ended by its deadline.
func cancelled(ctx context.Context, begin, now time.Time) bool {
	deadline, ok := ctx.Deadline()
	if !ok {
		return true
	}
	near := min(max(deadline.Sub(begin)/deadlinePart, minDeadline), maxDeadline)
	return deadline.Sub(now) > near
}

// cancelTask cancels the call's task, and waits for nothing but that this is on record.
func (c *call) cancelTask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, cancelWithin)
	defer cancel()
	var err error
	for again := true; again; {
		_, err = c.handler.cfg.Tasks.CancelTask(ctx, &taskv1.CancelTaskRequest{
			TaskId: c.taskID, Reason: "its caller, who had asked for that, cancelled the call or was cut off", Timeout: durationpb.New(time.Millisecond),
		})
		again = status.Code(err) == codes.Unavailable && retry.Pause(ctx, cancelPause)
	}
	if err != nil {
		about := telemetry.TaskOfLog{ID: c.taskID, Type: c.taskType.Name}
		about.Log(c.handler.cfg.Logger).WarnContext(ctx, "the task of a call that was cancelled goes on", "error", err)
	}
}
