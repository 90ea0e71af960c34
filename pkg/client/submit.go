package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/callmeta"
)

// Submit submits a call of a unary method as a task, and returns once that is
// accepted. The method is that of a stub made on a [Client], from which all types
// follow:
//
//	images := imagepb.NewImageServiceClient(c)
//	t, err := client.Submit(ctx, images.Resize, &imagepb.ResizeRequest{…}, client.WithPriority(client.PriorityHigh))
//
// The context's outgoing metadata travels with the task to its handler. [Async],
// [CancelOnDisconnect] and [LateHeaders] mean nothing here. A submission that was not
// accepted is tried again for a moment; one of which that is not known only if
// that can't make a second task: with an idempotency key, or under the id that the
// gateway gave it. Errors: those of TaskService.SubmitTask.
func Submit[Req, Resp any](
	ctx context.Context, method func(context.Context, *Req, ...grpc.CallOption) (*Resp, error), req *Req, opts ...grpc.CallOption,
) (*Task[Resp], error) {
	var s submission
	_, err := method(elsewhere(ctx), req, append(slices.Clone(opts), s.option(ctx))...)
	return submitted[Resp](&s, err)
}

// SubmitStream is [Submit] for a server-streaming method, whose last message is the
// task's result.
func SubmitStream[Req, Resp any](
	ctx context.Context, method func(context.Context, *Req, ...grpc.CallOption) (grpc.ServerStreamingClient[Resp], error), req *Req, opts ...grpc.CallOption,
) (*Task[Resp], error) {
	var s submission
	_, err := method(elsewhere(ctx), req, append(slices.Clone(opts), s.option(ctx))...)
	return submitted[Resp](&s, err)
}

// submitFunc submits a call as a task.
type submitFunc func(c *Client, method string, args any, opts []grpc.CallOption) error

// submission is a call of a stub that is to become one of SubmitTask. It travels among
// the call's options, which [Client] looks through.
type submission struct {
	client *Client
	task   *taskv1.SubmitTaskResponse
}

// elsewhere makes the context with which the stub is called: it has ended, so that a stub
// made on something else than a Client does not call the method.
func elsewhere(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

// option carries the submission, and the context that counts.
func (s *submission) option(ctx context.Context) grpc.CallOption {
	return option(func(call *durableCall) {
		call.submit = func(c *Client, method string, args any, opts []grpc.CallOption) error {
			s.client = c
			return s.submit(ctx, method, args, call, opts)
		}
	})
}

func (s *submission) submit(ctx context.Context, method string, args any, call *durableCall, opts []grpc.CallOption) error {
	r, err := call.request(ctx, method, args)
	if err != nil {
		return err
	}
	if s.task, err = s.client.submitTask(ctx, r, opts); err != nil {
		return err
	}
	call.observer.leave()
	for _, f := range slices.Concat(call.tell, call.early) {
		f(s.task.GetTask().GetTaskId())
	}
	return nil
}

// errForeignStub is a mistake of who calls Submit.
var errForeignStub = errors.New("client: the method to submit is not that of a stub made on a client.Client, or the stub is one of Warren's own")

func submitted[Resp any](s *submission, err error) (*Task[Resp], error) {
	switch {
	case s.client == nil:
		return nil, errForeignStub
	case err != nil:
		return nil, err
	case s.task == nil:
		return nil, errors.New("client: the stub sent no request")
	}
	return &Task[Resp]{client: s.client, id: s.task.GetTask().GetTaskId(), accepted: s.task}, nil
}

// request is the submission that a call asks for, by its options and the context's
// metadata.
func (c *durableCall) request(ctx context.Context, method string, args any) (*taskv1.SubmitTaskRequest, error) {
	md, _ := metadata.FromOutgoingContext(c.outgoing(ctx))
	asks, err := callmeta.Parse(md)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	m, ok := args.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("client: the request is a %T, which is no protobuf message", args)
	}
	payload, err := anypb.New(m)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "encode the request: %v", err)
	}
	return asks.Request(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."), payload, time.Now()), nil
}

// submitTask submits a task, and again where that stays one task.
func (c *Client) submitTask(ctx context.Context, r *taskv1.SubmitTaskRequest, opts []grpc.CallOption) (*taskv1.SubmitTaskResponse, error) {
	for t := new(tries); ; {
		began := time.Now()
		answer, err := c.tasks.SubmitTask(ctx, r, opts...)
		if err == nil {
			return answer, nil
		}
		// It is one task by its key, else by the id under which it may be known.
		if id := TaskIDOf(err); id != "" && r.IdempotencyKey == "" && infoOf(err).GetReason() == reasonSubmissionUnknown {
			r.TaskId = id
		}
		identified, most := r.IdempotencyKey != "" || r.TaskId != "", someTries
		if identified {
			most = manyTries
		}
		if !repeatable(err, nil, identified) || !t.another(ctx, began, most) {
			return nil, err
		}
	}
}

// submittingStream is the stream of a stub whose call is to become a task.
type submittingStream struct {
	grpc.ClientStream

	client *Client
	submit submitFunc
	method string
	opts   []grpc.CallOption
}

// SendMsg implements grpc.ClientStream: the request is all there is.
func (s *submittingStream) SendMsg(m any) error {
	return s.submit(s.client, s.method, m, s.opts)
}

// CloseSend implements grpc.ClientStream.
func (s *submittingStream) CloseSend() error { return nil }

// RecvMsg implements grpc.ClientStream.
func (s *submittingStream) RecvMsg(any) error { return io.EOF }

// Header implements grpc.ClientStream.
func (s *submittingStream) Header() (metadata.MD, error) { return nil, nil }

// Trailer implements grpc.ClientStream.
func (s *submittingStream) Trailer() metadata.MD { return nil }

// Context implements grpc.ClientStream.
func (s *submittingStream) Context() context.Context { return context.Background() }
