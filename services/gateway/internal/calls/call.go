package calls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/callmeta"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/frame"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/services/gateway/internal/api"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// endWithin is how soon the context of a call that has ended does.
const endWithin = time.Second

// headers is where the handler's headers go.
type headers int

const (
	// headersHeld: into the header, which waits for them.
	headersHeld headers = iota
	// headersMissed: into the trailers, since the header was sent without them.
	headersMissed
	// headersGiven: nowhere any more, the header had them.
	headersGiven
)

// call is one call, from its arrival to its answer.
type call struct {
	handler  *Handler
	taskType catalogue.TaskType
	stream   grpc.ServerStream
	options  callmeta.Options
	begin    time.Time

	taskID  string
	headers headers
}

func newCall(h *Handler, t catalogue.TaskType, ss grpc.ServerStream) (*call, error) {
	md, _ := metadata.FromIncomingContext(ss.Context())
	options, err := callmeta.Parse(md)
	var bad *callmeta.Error
	if errors.As(err, &bad) {
		return nil, rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "nothing was submitted: %s", bad).
			Field(bad.Key, bad.Problem).Hidden()
	}
	if err != nil {
		return nil, rpc.Internal(err)
	}
	return &call{handler: h, taskType: t, stream: ss, options: options, begin: time.Now()}, nil
}

// serve submits the call and answers it.
func (c *call) serve() error {
	payload, err := c.receive()
	if err != nil {
		return err
	}
	id, end, err := c.submit(payload)
	if err != nil {
		return c.unaccepted(inCallersWords(err))
	}
	defer end.Close()
	c.taskID = id
	if err := c.sayAccepted(); err != nil {
		return c.left(err)
	}
	switch c.waitsFor() {
	case api.AnswerAccepted:
		return c.answerAsync()
	case api.AnswerStream:
		return c.left(c.answerStream())
	}
	return c.left(c.answerUnary(end))
}

// receive takes the one message that a call has, in grpc's own words if it has not
// one.
func (c *call) receive() ([]byte, error) {
	var message frame.Frame
	switch err := c.stream.RecvMsg(&message); {
	case errors.Is(err, io.EOF):
		return nil, notOne("received no request message from")
	case err != nil:
		return nil, err
	}
	switch err := c.stream.RecvMsg(&frame.Frame{}); {
	case err == nil:
		return nil, notOne("received multiple request messages for")
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	return message.Bytes, nil
}

func notOne(problem string) error {
	return &rpc.AnswerError{Status: status.New(codes.Internal, "cardinality violation: "+problem+" non-client-streaming RPC")}
}

// submit submits the call's task. What SubmitTask demands of its request holds here too.
func (c *call) submit(payload []byte) (taskID string, end *watch.End, err error) {
	r := c.options.Request(c.taskType.Name, &anypb.Any{
		TypeUrl: "type.googleapis.com/" + string(c.taskType.Input.FullName()), Value: payload,
	}, time.Now())
	if err := rpc.Validate(r); err != nil {
		return "", nil, err
	}
	return c.handler.cfg.Tasks.SubmitCall(c.stream.Context(), r, c.waitsFor())
}

// waitsFor is what of the task the caller waits for.
func (c *call) waitsFor() api.Answer {
	switch {
	case c.options.Mode == callmeta.ModeAsync:
		return api.AnswerAccepted
	case c.taskType.ServerStreaming:
		return api.AnswerStream
	}
	return api.AnswerOutcome
}

// unaccepted is the answer to a call whose task was not accepted, or may have been:
// then a client's retry policy must not submit again as another task, and does not
// once it has a header. With an idempotency key it is to.
func (c *call) unaccepted(err error) error {
	var own *rpc.Error
	if !errors.As(err, &own) || own.Reason != taskv1.ErrorReason_ERROR_REASON_SUBMISSION_UNKNOWN || c.options.IdempotencyKey != "" {
		return err
	}
	c.taskID = own.Metadata["task_id"]
	unknown := rpc.Errorf(own.Code, own.Reason,
		"RabbitMQ did not confirm the task %s in time, so it may or may not have been submitted: look for it with GetTask; another call may be another task, and only with an %s of its own can one be repeated",
		c.taskID, callmeta.KeyIdempotencyKey).With("task_id", c.taskID).Because(own)
	unknown.Details = own.Details
	if c.abandoned() {
		c.cancelTask(context.WithoutCancel(c.stream.Context()))
		return unknown
	}
	if err := c.stream.SendHeader(metadata.Pairs(callmeta.KeyTaskID, c.taskID)); err != nil {
		return unknown.Because(fmt.Errorf("%w; send the header: %w", own, err))
	}
	return unknown
}

// sayAccepted tells the task's id as soon as there is one, in the header: a client's
// retry policy does not submit again once it has that
// (https://github.com/grpc/proposal/blob/master/A6-client-retries.md), and the
// caller knows the id even when its deadline passes. Held back, it leaves room for the
// handler's own headers.
func (c *call) sayAccepted() error {
	id := metadata.Pairs(callmeta.KeyTaskID, c.taskID)
	if c.holdsHeaders() {
		return c.setHeader(id)
	}
	c.headers = headersMissed
	return c.stream.SendHeader(id)
}

// setHeader sets what goes out with the header. It fails when the call has ended, which
// grpc-go tells as a mistake of ours.
func (c *call) setHeader(md metadata.MD) error {
	err := c.stream.SetHeader(md)
	if err == nil {
		return nil
	}
	timer := time.NewTimer(endWithin)
	defer timer.Stop()
	select {
	case <-c.stream.Context().Done():
		return c.stream.Context().Err()
	case <-timer.C:
		return fmt.Errorf("set the header: %w", err)
	}
}

// holdsHeaders says whether headers wait for the handler's: where calling again is
// safe, or the caller wants it.
func (c *call) holdsHeaders() bool {
	return c.options.Mode != callmeta.ModeAsync && (c.options.LateHeaders || c.options.IdempotencyKey != "")
}

// answerAsync answers with an empty message; a stream has none.
func (c *call) answerAsync() error {
	if c.taskType.ServerStreaming {
		return nil
	}
	return c.stream.SendMsg(&frame.Frame{})
}

// left does what a caller wants that has left before the answer: nothing, unless its
// cancelling cancels the task.
func (c *call) left(err error) error {
	ctx := c.stream.Context()
	if err == nil || ctx.Err() == nil {
		return c.stopping(err)
	}
	if c.abandoned() {
		c.cancelTask(context.WithoutCancel(ctx))
	}
	return err
}

// abandoned says that the caller has cancelled the call, and wants the task to be
// cancelled with it.
func (c *call) abandoned() bool {
	ctx := c.stream.Context()
	return c.options.CancelOnDisconnect && ctx.Err() != nil && !c.handler.cfg.Tasks.Stopping() && cancelled(ctx, c.begin, time.Now())
}

// stopping adds to an answer that this gateway ends without the task what the caller
// needs to go on.
func (c *call) stopping(err error) error {
	var own *rpc.Error
	if errors.As(err, &own) && own.Reason == taskv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN {
		return rpc.Errorf(own.Code, own.Reason,
			"this gateway is stopping; the task %s goes on: at another gateway, %s", c.taskID, c.goOn("WaitTask")).With("task_id", c.taskID)
	}
	return err
}

// goOn says how the caller can learn more of the task: a call without a key would be
// another task.
func (c *call) goOn(rpc string) string {
	if c.options.IdempotencyKey == "" {
		return "go on with " + rpc
	}
	return "go on with " + rpc + ", or call again with the same " + callmeta.KeyIdempotencyKey
}
