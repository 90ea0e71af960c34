package worker

import (
	"context"
	"errors"
	"fmt"
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
	base     context.Context
	stream   responseStream
	progress progress
}

// execute carries out one delivery. It holds a slot until the handler has
// returned, and credit until the delivery is settled.
func (c *consumption) execute(d *broker.WorkDelivery) {
	defer c.w.running.Done()
	x := &execution{consumption: c, delivery: d, policy: c.pool.policy.Load(), base: context.WithoutCancel(c.attached)}
	settled := errors.New("the handler ended its goroutine")
	defer func() {
		// A delivery that is never settled would hold its credit for ever.
		if settled != nil && c.attached.Err() == nil {
			c.w.cfg.Logger.Error("a task can't be settled, its queue is attached anew", "task_id", x.msg.ID, "error", settled)
			c.lose(settled)
		}
	}()
	settle, err := x.carryOut()
	if err == nil {
		err = c.settle(settle)
	}
	settled = err
}

// settlement tells the broker what became of a delivery.
type settlement func(context.Context) error

func (c *consumption) settle(settle settlement) error {
	ctx, cancel := context.WithTimeout(c.attached, settleTimeout)
	defer cancel()
	if err := settle(ctx); err != nil {
		return fmt.Errorf("settle a delivery: %w", err)
	}
	var err error
	c.w.whileTaking(func() { err = c.receiver.Credit(1) })
	return err
}

// carryOut runs the handler, has the outcome confirmed in the status queue, and
// gives the settlement.
func (x *execution) carryOut() (settlement, error) {
	var err error
	if x.msg, err = x.delivery.Task(x.taskType); err != nil {
		x.pool.release()
		return x.undecodable(err)
	}
	ctx, span := x.startSpan()
	defer span.End()
	end, err := x.handle(ctx)
	if err != nil {
		return nil, err
	}
	event, settle := x.conclude(end)
	if event.Failure != nil {
		telemetry.Fail(span, codes.Code(event.Failure.Code).String(), event.Failure.Message)
	}
	return x.confirmed(event, settle)
}

// returned is what a handler gave back.
type returned struct {
	reply []byte
	err   error
	// cause is why its context ended, nil if it had not.
	cause error
}

// handle runs the handler in its slot, which it frees. An error means that the
// handler was not started.
func (x *execution) handle(ctx context.Context) (returned, error) {
	x.pool.running.Add(1)
	defer func() {
		x.pool.running.Add(-1)
		x.pool.release()
	}()
	if _, err := x.w.status.Write(ctx, x.started()); err != nil {
		return returned{}, fmt.Errorf("report the start: %w", err)
	}
	hctx, cancel := x.handlerContext(ctx)
	defer cancel()
	late := time.AfterFunc(x.policy.timeout+ignoresItsEnd, func() {
		x.w.cfg.Logger.Warn("a handler goes on though its time is up; it keeps its slot", "task_id", x.msg.ID, "type", x.taskType, "timeout", x.policy.timeout)
	})
	defer late.Stop()
	var r returned
	r.reply, r.err = recovered(func() ([]byte, error) { return x.call(hctx) })
	r.cause = context.Cause(hctx)
	x.stream.close()
	x.progress.stop()
	return r, nil
}

// ignoresItsEnd is how long after its timeout a handler is given to notice.
const ignoresItsEnd = 30 * time.Second

// confirmed settles last: only what is confirmed in the status queue is settled.
func (x *execution) confirmed(event *task.Event, settle settlement) (settlement, error) {
	receipt, err := x.w.status.Write(x.base, event)
	if err == nil {
		err = receipt.Wait(x.base)
	}
	if err != nil {
		return nil, fmt.Errorf("report the outcome %v: %w", event.Key.Phase.State(), err)
	}
	return settle, nil
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
	stopLink := context.AfterFunc(x.attached, func() { cancelCause(lostCause(x.attached)) })
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

// lostCause is why deliveries can't be settled any more: when another user of
// the link failed, they are lost as well.
func lostCause(attached context.Context) error {
	if cause := context.Cause(attached); isLost(cause) {
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
		var failed error
		if reply, failed = x.stream.end(); failed != nil {
			return nil, failed
		}
	}
	if err == nil && int64(len(reply)) > x.policy.maxResult {
		return nil, resultTooLarge(len(reply), x.policy.maxResult)
	}
	return reply, err
}

// conclude says what the handler's return means for the task.
func (x *execution) conclude(r returned) (*task.Event, settlement) {
	if r.err == nil {
		e := x.event(task.PhaseSucceeded)
		e.Message = r.reply
		return e, x.delivery.Accept
	}
	var own *tooLargeError
	if phase, ok := interrupted(r.cause); ok && !errors.As(r.err, &own) {
		return x.event(phase), x.delivery.Release
	}
	e := x.event(task.PhaseDeadLettered)
	e.Failure, e.Cause = failureOf(r.err)
	return e, x.dead(e)
}

func (x *execution) dead(e *task.Event) settlement {
	return func(ctx context.Context) error { return x.delivery.DeadLetter(ctx, e.Cause, e.Failure) }
}

// undecodable gives up a message that is no task of this type. Without a valid
// id it is nobody's task, so there is no status to report.
func (x *execution) undecodable(problem error) (settlement, error) {
	x.w.cfg.Logger.Error("a message in a work queue is no task, it becomes a dead letter", "queue", x.w.broker.Names().Work(x.taskType), "task_id", x.msg.ID, "error", problem)
	st := withReason(codes.InvalidArgument, problem.Error(), taskv1.ErrorReason_ERROR_REASON_MESSAGE_UNDECODABLE, nil)
	e := x.event(task.PhaseDeadLettered)
	e.Failure, e.Cause = failure(st), task.CauseUndecodable
	if e.Validate() == nil {
		return x.confirmed(e, x.dead(e))
	}
	return x.dead(e), nil
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
