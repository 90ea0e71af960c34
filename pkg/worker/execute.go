package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
)

// execution is one delivery of a task, from its start to its settlement.
type execution struct {
	*consumption
	delivery *broker.WorkDelivery
	msg      broker.TaskMessage
	policy   *policy
	// base outlives the link: what ended must still be told.
	base context.Context

	mu       sync.Mutex
	messages int64
	bytes    int64
	last     []byte
	overflow *tooLargeError
	progress progress
}

// execute carries out one delivery. It holds a slot until the handler has
// returned, and credit until the delivery is settled.
func (c *consumption) execute(d *broker.WorkDelivery) {
	defer c.w.running.Done()
	x := &execution{consumption: c, delivery: d, policy: c.pool.policy.Load(), base: context.WithoutCancel(c.link)}
	settle := x.carryOut()
	if settle == nil {
		return
	}
	ctx, cancel := context.WithTimeout(c.link, settleTimeout)
	defer cancel()
	err := settle(ctx)
	if err == nil {
		c.w.whileTaking(func() { err = c.receiver.Credit(1) })
	}
	if err != nil && c.link.Err() == nil {
		c.w.cfg.Logger.Warn("a task is not settled, it will be delivered again", "task_id", x.msg.ID, "error", err)
	}
}

// settlement tells the broker what became of a delivery.
type settlement func(context.Context) error

// carryOut runs the handler, has the outcome confirmed in the status queue, and
// gives the settlement; nil if there is nothing to settle any more.
func (x *execution) carryOut() settlement {
	var err error
	if x.msg, err = x.delivery.Task(x.taskType); err != nil {
		x.pool.release()
		return x.undecodable(err)
	}
	x.pool.running.Add(1)
	ctx, span := x.startSpan()
	defer span.End()
	if _, err := x.w.status.Write(ctx, x.started()); err != nil {
		x.pool.running.Add(-1)
		x.pool.release()
		return nil
	}
	hctx, cancel := x.handlerContext(ctx)
	defer cancel()
	reply, err := recovered(func() ([]byte, error) { return x.call(hctx) })
	x.progress.stop()
	x.pool.running.Add(-1)
	x.pool.release()
	event, settle := x.conclude(hctx, reply, err)
	if event.Failure != nil {
		telemetry.Fail(span, codes.Code(event.Failure.Code).String(), event.Failure.Message)
	}
	return x.confirmed(event, settle)
}

// confirmed settles last: only what is confirmed in the status queue is settled.
func (x *execution) confirmed(event *task.Event, settle settlement) settlement {
	receipt, err := x.w.status.Write(x.base, event)
	if err == nil {
		err = receipt.Wait(x.base)
	}
	if err != nil {
		x.w.cfg.Logger.Warn("an outcome is not confirmed, the task will be executed again", "task_id", x.msg.ID, "error", err)
		return nil
	}
	return settle
}

func (x *execution) startSpan() (context.Context, trace.Span) {
	names := x.w.broker.Names()
	return telemetry.StartProcess(x.base, x.w.tracer, telemetry.Message{
		Exchange: names.Tasks(), Queue: names.Work(x.taskType),
		TaskID: x.msg.ID, TaskType: x.taskType, Run: x.msg.Run, Attempt: x.delivery.Attempt(), BodySize: len(x.msg.Payload),
	}, x.msg.Trace)
}

// handlerContext is what the handler gets: it ends with the attempt's timeout,
// the link, or the worker's grace.
func (x *execution) handlerContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancelCause := context.WithCancelCause(ctx)
	stopLink := context.AfterFunc(x.link, func() { cancelCause(lostCause(x.link)) })
	stopDrain := context.AfterFunc(x.w.draining, func() { cancelCause(errDraining) })
	ctx, cancel := context.WithTimeout(ctx, x.policy.timeout)
	ctx = task.NewContext(ctx, task.Info{
		ID: x.msg.ID, Type: x.taskType, Run: x.msg.Run, Attempt: x.delivery.Attempt(),
		Redelivered: x.delivery.Failed() > 0, Labels: x.msg.Labels,
	}, x.report)
	return ctx, func() {
		stopLink()
		stopDrain()
		cancel()
		cancelCause(nil)
	}
}

// lostCause is why a link ended: when another of its consumers failed, the
// delivery is lost as well.
func lostCause(link context.Context) error {
	if cause := context.Cause(link); isLost(cause) {
		return cause
	}
	return broker.ErrDeliveryLost
}

func (x *execution) call(ctx context.Context) ([]byte, error) {
	m := x.w.methods[x.taskType]
	md := metadata.MD{}
	for k, vs := range x.msg.Metadata {
		for _, v := range vs {
			md.Append(k, string(v))
		}
	}
	c := &call{method: m, input: x.msg.Payload, send: func(b []byte) error { return x.send(ctx, b) }}
	reply, err := c.run(ctx, x.w, md)
	if m.stream != nil {
		reply = x.lastMessage()
	}
	if x.overflow != nil {
		return nil, x.overflow
	}
	if err == nil && int64(len(reply)) > x.policy.maxResult {
		return nil, x.resultTooLarge(len(reply))
	}
	return reply, err
}

func (x *execution) resultTooLarge(size int) *tooLargeError {
	return &tooLargeError{
		reason:  taskv1.ErrorReason_ERROR_REASON_RESULT_TOO_LARGE,
		message: fmt.Sprintf("the result has %d bytes, the limit is %d; the handler has done its work, trying again would not help", size, x.policy.maxResult),
		limit:   x.policy.maxResult,
	}
}

// send reports one message of a response stream.
func (x *execution) send(ctx context.Context, b []byte) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.overflow == nil {
		x.overflow = x.checkStream(b)
	}
	if x.overflow != nil {
		return x.overflow
	}
	e := x.event(task.PhaseMessage)
	x.messages, x.bytes, x.last = x.messages+1, x.bytes+int64(len(b)), b
	e.Key.Sequence, e.Message = x.messages, b
	if _, err := x.w.status.Write(ctx, e); err != nil {
		return fmt.Errorf("report a message of the response stream: %w", err)
	}
	return nil
}

func (x *execution) checkStream(b []byte) *tooLargeError {
	switch {
	case int64(len(b)) > x.policy.maxResult:
		return x.resultTooLarge(len(b))
	case x.messages >= maxStreamMessages || x.bytes+int64(len(b)) > maxStreamBytes:
		return &tooLargeError{
			reason:  taskv1.ErrorReason_ERROR_REASON_STREAM_TOO_LARGE,
			message: fmt.Sprintf("the response stream is over its limit of %d messages and %d bytes", maxStreamMessages, maxStreamBytes),
			limit:   maxStreamBytes,
		}
	}
	return nil
}

func (x *execution) lastMessage() []byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.last
}

// conclude says what the handler's return means for the task.
func (x *execution) conclude(hctx context.Context, reply []byte, err error) (*task.Event, settlement) {
	if err == nil {
		e := x.event(task.PhaseSucceeded)
		e.Message = reply
		return e, x.delivery.Accept
	}
	var own *tooLargeError
	if phase, ok := interrupted(hctx); ok && !errors.As(err, &own) {
		return x.event(phase), x.delivery.Release
	}
	e := x.event(task.PhaseDeadLettered)
	e.Failure, e.Cause = failureOf(err)
	return e, x.dead(e)
}

func (x *execution) dead(e *task.Event) settlement {
	return func(ctx context.Context) error { return x.delivery.DeadLetter(ctx, e.Cause, e.Failure) }
}

// undecodable gives up a message that is no task of this type. Without a valid
// id it is nobody's task, so there is no status to report.
func (x *execution) undecodable(problem error) settlement {
	x.w.cfg.Logger.Error("a message in a work queue is no task, it becomes a dead letter", "queue", x.w.broker.Names().Work(x.taskType), "task_id", x.msg.ID, "error", problem)
	st := withReason(codes.InvalidArgument, problem.Error(), taskv1.ErrorReason_ERROR_REASON_MESSAGE_UNDECODABLE, nil)
	e := x.event(task.PhaseDeadLettered)
	e.Failure, e.Cause = failure(st), task.CauseUndecodable
	if e.Validate() != nil {
		return x.dead(e)
	}
	return x.confirmed(e, x.dead(e))
}

func (x *execution) started() *task.Event {
	e := x.event(task.PhaseStarted)
	e.Head = &task.Head{
		CreateTime: x.msg.CreateTime, Priority: x.msg.Priority, Labels: x.msg.Labels,
		TraceID: telemetry.TraceIDOf(x.msg.Trace),
	}
	e.Execution = &task.Execution{Host: x.w.identity.Host, Version: x.w.identity.Version, Redelivered: x.delivery.Failed() > 0}
	return e
}

func (x *execution) event(phase task.Phase) *task.Event {
	return &task.Event{
		TaskID: x.msg.ID, Type: x.taskType, Time: time.Now(), WorkerID: x.w.ID(),
		Key: task.Key{Run: x.msg.Run, Attempt: x.delivery.Attempt(), Delivery: x.delivery.Acquired(), Phase: phase, Copy: x.msg.Copy},
	}
}
