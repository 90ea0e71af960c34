package forward

import (
	"context"
	"strconv"

	"google.golang.org/grpc/metadata"

	"github.com/warrenmq/warren/pkg/task"
)

// What tells the target which attempt of which task a call is.
const (
	keyTaskID  = "warren-task-id"
	keyRun     = "warren-run"
	keyAttempt = "warren-attempt"
)

func addTask(ctx context.Context, md metadata.MD) {
	info, ok := task.FromContext(ctx)
	if !ok {
		return
	}
	md.Set(keyTaskID, info.ID)
	md.Set(keyRun, strconv.Itoa(info.Run))
	md.Set(keyAttempt, strconv.Itoa(info.Attempt))
}

// giveBack passes on, key by key, what the target sent of headers or trailers: one
// that can't be passed on keeps none of the others back.
func (f *Forwarder) giveBack(ctx context.Context, what string, md metadata.MD, set func(metadata.MD) error) {
	for key, values := range task.Travelling(md) {
		if err := set(metadata.MD{key: values}); err != nil {
			f.Logger.DebugContext(ctx, "metadata of the target does not come back with the task", "of", what, "key", key, "error", err)
		}
	}
}
