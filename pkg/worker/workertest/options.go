package workertest

import (
	"context"
	"maps"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/worker"
	"github.com/warrenmq/warren/pkg/worker/internal/rehearsal"
)

// Option sets something of the task, or of the worker that carries it out.
type Option func(*setting)

type setting struct {
	task rehearsal.Task
	cfg  worker.Config
	// options replace those that the method declares, unless it is nil.
	options *taskv1.TaskOptions
}

func onTask(f func(*rehearsal.Task)) Option { return func(s *setting) { f(&s.task) } }

// TaskID is the task's id, a UUID. Default is a new one.
func TaskID(id string) Option { return onTask(func(t *rehearsal.Task) { t.Message.ID = id }) }

// Attempt is which attempt this is. Default 1.
func Attempt(n int) Option { return onTask(func(t *rehearsal.Task) { t.Attempt = n }) }

// TaskRun is which run this is: 2 is after the first replay. Default 1.
func TaskRun(n int) Option { return onTask(func(t *rehearsal.Task) { t.Message.Run = n }) }

// Redelivered says that this attempt may have been started before.
func Redelivered() Option { return onTask(func(t *rehearsal.Task) { t.Redelivered = true }) }

// Snoozed is how many executions of the run have spent no attempt. Default 0.
func Snoozed(n int) Option { return onTask(func(t *rehearsal.Task) { t.Ignored = int32(n) }) }

// Labels are the task's.
func Labels(labels map[string]string) Option {
	return onTask(func(t *rehearsal.Task) { t.Message.Labels = maps.Clone(labels) })
}

// Metadata is what the caller has sent. As with a real task, the handler gets what of
// it [task.Travels] allows.
func Metadata(md metadata.MD) Option {
	return onTask(func(t *rehearsal.Task) {
		t.Message.Metadata = map[string][][]byte{}
		for key, values := range task.Travelling(md) {
			for _, v := range values {
				t.Message.Metadata[key] = append(t.Message.Metadata[key], []byte(v))
			}
		}
	})
}

// Timeout is the submission's own: the time that the attempt may take, at most the
// type's.
func Timeout(d time.Duration) Option {
	return onTask(func(t *rehearsal.Task) { t.Message.Timeout = durationpb.New(d) })
}

// RetryPolicy is the submission's own.
func RetryPolicy(p *taskv1.RetryPolicy) Option {
	return onTask(func(t *rehearsal.Task) { t.Message.Retry = proto.CloneOf(p) })
}

// RunTime is when the run was begun, from when the retry policy's budget counts.
// Default now.
func RunTime(at time.Time) Option {
	return onTask(func(t *rehearsal.Task) { t.Message.RunTime, t.Message.CreateTime = at, at })
}

// ExpireTime is when no attempt may start any more. Default never.
func ExpireTime(at time.Time) Option {
	return onTask(func(t *rehearsal.Task) { t.Message.ExpireTime = at })
}

// MaxResultBytes is the gateway's limit of the result. Default 4 MiB.
func MaxResultBytes(n int64) Option { return onTask(func(t *rehearsal.Task) { t.MaxResult = n }) }

// CancelledBy has the task cancelled when ctx ends, for the reason.
func CancelledBy(ctx context.Context, reason string) Option {
	return onTask(func(t *rehearsal.Task) { t.Cancelled, t.Reason = ctx, reason })
}

// DrainedBy has the worker's grace end when ctx does: handlers are to give their
// tasks back.
func DrainedBy(ctx context.Context) Option {
	return onTask(func(t *rehearsal.Task) { t.Drained = ctx })
}

// TypeOptions are in force for the task type instead of those that its method
// declares, as operators can have it.
func TypeOptions(o *taskv1.TaskOptions) Option {
	return func(s *setting) { s.options = proto.CloneOf(o) }
}

// UnaryInterceptors wrap the handler of a unary method, the first one outermost, as
// worker.Config's do.
func UnaryInterceptors(all ...grpc.UnaryServerInterceptor) Option {
	return func(s *setting) { s.cfg.UnaryInterceptors = append(s.cfg.UnaryInterceptors, all...) }
}

// StreamInterceptors wrap the handler of a server-streaming method, the first one
// outermost, as worker.Config's do.
func StreamInterceptors(all ...grpc.StreamServerInterceptor) Option {
	return func(s *setting) { s.cfg.StreamInterceptors = append(s.cfg.StreamInterceptors, all...) }
}
