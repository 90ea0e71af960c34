package forward

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/warrenmq/warren/pkg/frame"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/worker/internal/discovery"
	"github.com/warrenmq/warren/services/worker/internal/target"
)

// maxAnswer is far above any limit that a gateway has for results, so that the
// worker refuses what is too large, with the reason that says so.
const maxAnswer = 64 << 20

// Forwarder calls the target for tasks.
type Forwarder struct {
	Target *target.Target
	Logger *slog.Logger
}

// Register registers the services of the schema, with handlers that forward.
func (f *Forwarder) Register(r grpc.ServiceRegistrar, schema *discovery.Schema) {
	for _, service := range schema.Services {
		r.RegisterService(f.describe(service), nil)
	}
}

func (f *Forwarder) describe(service discovery.Service) *grpc.ServiceDesc {
	d := &grpc.ServiceDesc{ServiceName: service.Name}
	for _, m := range service.Methods {
		method := "/" + service.Name + "/" + m.Name
		if !m.ClientStreams && !m.ServerStreams {
			d.Methods = append(d.Methods, grpc.MethodDesc{MethodName: m.Name, Handler: f.unary(method)})
			continue
		}
		d.Streams = append(d.Streams, grpc.StreamDesc{
			StreamName: m.Name, Handler: f.stream(method), ServerStreams: m.ServerStreams, ClientStreams: m.ClientStreams,
		})
	}
	return d
}

// options are those of every call. A call that can't be sent at once fails: then
// its task is given back, and others may take it.
func options(more ...grpc.CallOption) []grpc.CallOption {
	return append(more, grpc.ForceCodecV2(frame.Codec()), grpc.MaxCallRecvMsgSize(maxAnswer), grpc.WaitForReady(false))
}

// outgoing is the context of a call: the task's deadline and metadata, what says
// which attempt it is, and a note of whether it left.
func (f *Forwarder) outgoing(ctx context.Context) (context.Context, *target.Departure) {
	incoming, _ := metadata.FromIncomingContext(ctx)
	md := metadata.MD{}
	for key, values := range task.Travelling(incoming) {
		if !f.Target.Sets(key) {
			md[key] = values
		}
	}
	addTask(ctx, md)
	return target.Track(metadata.NewOutgoingContext(ctx, md))
}

// outcome is what a call that failed means for the task. A status is that of the
// attempt, the target's own or, like a connection that broke, one that leaves open
// what the target did. A call that never left was no attempt, even if the attempt's
// own end was what stopped it.
func (f *Forwarder) outcome(ctx context.Context, d *target.Departure, err error) error {
	ended := endedWith(ctx, err)
	if ended {
		err = ctx.Err()
	}
	if d.Left() || status.Code(err) != codes.Unavailable && !ended {
		return err
	}
	f.Target.Recheck()
	return notBegun(err)
}

// deadlineSkew is by how much a target's clock may have a call's deadline earlier.
const deadlineSkew = 100 * time.Millisecond

// endedWith says whether a call failed because the context ended. A target notices
// a deadline by itself, at times a little earlier: it is awaited then.
func endedWith(ctx context.Context, err error) bool {
	if code := status.Code(err); code != codes.Canceled && code != codes.DeadlineExceeded {
		return false
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < deadlineSkew {
		<-ctx.Done()
	}
	return ctx.Err() != nil
}
