package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
)

// delivery is what an execution needs of a [broker.WorkDelivery].
type delivery interface {
	Task(taskType string) (broker.TaskMessage, error)
	Attempt() int
	Acquired() int64
	Settled() int64
	PutOff() (from, to int64)
	Failed() int64
	Alone() bool
	History() *brokerv1.AttemptHistory

	Accept(ctx context.Context) error
	Release(ctx context.Context) error
	Postpone(ctx context.Context, until time.Time) error
	Retry(ctx context.Context, again broker.Again) error
	DeadLetter(ctx context.Context, death broker.Death) error
}

// statusWriter is what a worker needs of a [broker.StatusWriter].
type statusWriter interface {
	Run(ctx context.Context)
	Write(ctx context.Context, e *task.Event) (*broker.Receipt, error)
	Mark(ctx context.Context, marker string) (*broker.Receipt, error)
}

// execution is one delivery of a task, from its arrival to its settlement.
type execution struct {
	*consumption
	delivery delivery
	msg      broker.TaskMessage
	key      runKey
	rules    *rules
	// history is that of the run's earlier attempts.
	history *brokerv1.AttemptHistory
	// base outlives the link: what ended must still be told.
	base    context.Context
	started time.Time
	traced  traced
	alone   bool
	// share lets others run beside this execution again, once, if it is alone.
	share func()
	// sayLost says, once, that the connection of this delivery was lost and this
	// process was not.
	sayLost  func()
	stream   responseStream
	progress progress
	// heard gets every report of progress, none is left out; nil for nobody.
	heard task.Reporter
}

func (c *consumption) execution(d delivery) *execution {
	x := &execution{consumption: c, delivery: d, base: context.WithoutCancel(c.attached)}
	x.sayLost = sync.OnceFunc(x.reportLost)
	x.share = sync.OnceFunc(func() {
		if x.alone {
			c.w.gate.yield()
		}
	})
	return x
}

func (x *execution) reportLost() {
	if _, err := x.w.status.Write(x.base, x.event(task.PhaseLost)); err != nil {
		x.log().Warn("a lost delivery can't be reported", "error", err)
	}
}

// execute carries out one delivery. It holds a slot until the handler has
// returned, and credit until the delivery is settled.
func (c *consumption) execute(d *broker.WorkDelivery) {
	defer c.w.running.Done()
	x := c.execution(d)
	settle, err := x.carryOut()
	if err == nil {
		err = c.settle(settle)
	}
	switch {
	case err == nil:
	case c.attached.Err() == nil:
		// A delivery that is never settled would hold its credit for ever.
		x.log().Error("a task can't be settled, its queue is attached anew", "error", err)
		c.lose(err)
	case x.rules != nil:
		x.sayLost()
	}
}

// end frees what the execution holds while its handler runs, or could.
func (x *execution) end() {
	x.pool.slots.release()
	x.w.gate.leave()
}

// settlement tells the broker what became of a delivery.
type settlement func(context.Context) error

func (c *consumption) settle(settle settlement) error {
	ctx, cancel := context.WithTimeout(c.attached, settleTimeout)
	defer cancel()
	if err := settle(ctx); err != nil {
		return fmt.Errorf("settle a delivery: %w", err)
	}
	return c.credit.settled()
}

// verdict is what is to be done with a delivery: its settlement, once the event
// is confirmed if there is one.
type verdict struct {
	event  *task.Event
	settle settlement
}

// carryOut runs the handler if it may be started, has what is decided confirmed
// in the status queue, and gives the settlement.
func (x *execution) carryOut() (settlement, error) {
	var err error
	if x.msg, err = x.delivery.Task(x.taskType); err != nil {
		x.end()
		return x.undecodable(err).settle, nil
	}
	x.rules, x.history = x.pool.rules.Load().of(&x.msg), x.delivery.History()
	x.key = runKey{uuid.MustParse(x.msg.ID), int32(x.msg.Run)}
	x.w.executions.add(x)
	defer x.forget()
	defer x.endSpan()
	if v, err := x.admit(); err != nil || v != nil {
		x.end()
		x.share()
		if err != nil {
			return nil, err
		}
		x.ended(v.event)
		return x.confirmed(*v)
	}
	r := x.handle(x.traced.ctx)
	if !r.stuck {
		// Once its outcome is on record: were the process lost before, it would look
		// as if this had taken it down.
		defer x.share()
	}
	done := x.conclude(r)
	x.pool.count(done.event)
	x.pool.metrics.handled(time.Since(x.started), done.event)
	x.ended(done.event)
	return x.confirmed(done)
}

// forget takes the execution out of those whose outcome is not on record. Gateways
// may wait for that.
func (x *execution) forget() {
	if x.w.executions.remove(x) {
		x.w.beatSoon()
	}
}

// confirmed settles last: only what is confirmed in the status queue is settled.
func (x *execution) confirmed(v verdict) (settlement, error) {
	if v.event == nil {
		return v.settle, nil
	}
	if err := x.report(v.event); err != nil {
		return nil, fmt.Errorf("report the outcome %v: %w", v.event.Key.Phase.State(), err)
	}
	x.logFailure(v.event)
	return v.settle, nil
}

// report has an event confirmed.
func (x *execution) report(e *task.Event) error {
	receipt, err := x.w.status.Write(x.base, e)
	if err != nil {
		return err
	}
	return receipt.Wait(x.base)
}

func (x *execution) startedEvent() *task.Event {
	e := x.event(task.PhaseStarted)
	e.Head = x.msg.Head()
	e.Execution = &task.Execution{
		Host: x.w.identity.Host, Version: x.w.identity.Version, Redelivered: x.maybeAgain(), Alone: x.alone, Span: x.traced.ids,
	}
	return e
}

// maybeAgain says that this attempt may have been started before: by a worker
// that was lost, or by means of another message of the first run, which need not
// ask.
func (x *execution) maybeAgain() bool {
	return x.delivery.Failed() > 0 || x.msg.Resend && x.msg.Run == 1
}

func (x *execution) event(phase task.Phase) *task.Event {
	return &task.Event{
		TaskID: x.msg.ID, Type: x.taskType, Time: time.Now(), WorkerID: x.w.ID(),
		Key: task.Key{Run: x.msg.Run, Attempt: x.delivery.Attempt(), Delivery: x.delivery.Acquired(), Phase: phase, Copy: x.msg.Copy},
	}
}
