package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/worker/internal/rehearsal"
)

// Announcement is what the worker announces of the services that are registered:
// what a gateway is to know of them. It fails if there is none, or if descriptors
// are missing.
func (w *Worker) Announcement() (catalogue.Announcement, error) { return w.announcement() }

// Rehearse carries out one task with no broker, once, instead of Run. Package
// workertest calls it.
func (w *Worker) Rehearse(t rehearsal.Task) (*rehearsal.Outcome, error) {
	if w.started.Swap(true) {
		return nil, errors.New("worker: Rehearse after Run or Rehearse")
	}
	defer w.cease()
	defer w.drain(nil)
	r := &rehearsed{task: t, outcome: &rehearsal.Outcome{}}
	w.status = r
	x, err := r.execution(w)
	if err != nil {
		return nil, err
	}
	v := r.carryOut(x)
	r.outcome.Event = *v.event
	if err := v.settle(x.base); err != nil {
		return nil, fmt.Errorf("settle: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.outcome, nil
}

// rehearsed plays the broker's part: the delivery of a task, and the status queue.
type rehearsed struct {
	task rehearsal.Task

	mu      sync.Mutex
	outcome *rehearsal.Outcome
}

func (r *rehearsed) execution(w *Worker) (*execution, error) {
	m := r.task.Message
	if w.methods[m.Type] == nil {
		return nil, fmt.Errorf("no handler is registered for %s", m.Type)
	}
	id, err := uuid.Parse(m.ID)
	if err != nil {
		return nil, fmt.Errorf("the task's id: %w", err)
	}
	p := newPool(1, 1)
	p.exchange, p.queue = w.broker.Names().Tasks(), w.broker.Names().Work(m.Type)
	if err := p.apply(&brokerv1.TypePolicy{Type: m.Type, Options: r.task.Options, MaxResultBytes: r.task.MaxResult}); err != nil {
		return nil, err
	}
	c := &consumption{w: w, taskType: m.Type, pool: p, attached: context.Background()}
	x := c.execution(r)
	x.msg, x.history, x.key, x.heard = m, r.History(), runKey{id, int32(m.Run)}, r.hear
	x.rules = p.rules.Load().of(&m)
	return x, nil
}

// carryOut is execution.carryOut without what needs a broker or a gateway.
func (r *rehearsed) carryOut(x *execution) verdict {
	x.w.executions.add(x)
	defer x.w.executions.remove(x)
	stop := r.onSignals(x)
	defer stop()
	if v := instead(x); v != nil {
		return *v
	}
	x.pool.slots.tryTake()
	x.w.gate.enter()
	x.started, r.outcome.Begun = time.Now(), true
	x.startSpan()
	defer x.endSpan()
	v := x.conclude(x.handle(x.traced.ctx))
	x.ended(v.event)
	return v
}

// instead is what is done with a task that is not to be started; nil if it is.
func instead(x *execution) *verdict {
	if v := x.dropped(); v != nil {
		return v
	}
	if x.delivery.Attempt() > x.rules.MaxAttempts() {
		return x.exhausted()
	}
	if x.tooLate() {
		return x.expired()
	}
	return nil
}

// onSignals has the task cancelled, and the worker drained, when the test says so.
func (r *rehearsed) onSignals(x *execution) (stop func()) {
	stopCancel, stopDrain := func() {}, func() {}
	if c := r.task.Cancelled; c != nil {
		stopCancel = whenDone(c, func() {
			entry := &brokerv1.Cancellation{TaskId: x.key.task[:], Run: x.key.run, Reason: r.task.Reason}
			x.w.cancelled.begin(1)
			state, _ := x.w.cancelled.state()
			x.w.cancelled.apply(&brokerv1.CancellationBatch{
				RequestId: state.request, Position: 1, Complete: true, Entries: []*brokerv1.Cancellation{entry},
			})
			x.w.executions.cancel(x.w.cancelled)
		})
	}
	if d := r.task.Drained; d != nil {
		stopDrain = whenDone(d, func() { x.w.drain(errDraining) })
	}
	return func() {
		stopCancel()
		stopDrain()
	}
}

// whenDone calls f when ctx ends, before it returns if ctx has ended already. It
// gives what keeps f from being called, or waits until it was.
func whenDone(ctx context.Context, f func()) (stop func()) {
	if ctx.Err() != nil {
		f()
		return func() {}
	}
	called := make(chan struct{})
	stopCalling := context.AfterFunc(ctx, func() {
		defer close(called)
		f()
	})
	return func() {
		if !stopCalling() {
			<-called
		}
	}
}

func (r *rehearsed) hear(p task.ProgressReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outcome.Progress = append(r.outcome.Progress, p)
}

// Run implements statusWriter.
func (r *rehearsed) Run(ctx context.Context) { <-ctx.Done() }

// Write implements statusWriter.
func (r *rehearsed) Write(_ context.Context, e *task.Event) (*broker.Receipt, error) {
	if e.Key.Phase == task.PhaseMessage {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.outcome.Messages = append(r.outcome.Messages, e.Message)
	}
	return &broker.Receipt{}, nil
}

// Mark implements statusWriter.
func (r *rehearsed) Mark(context.Context, string) (*broker.Receipt, error) {
	return &broker.Receipt{}, nil
}

// Task implements delivery, as do all below.
func (r *rehearsed) Task(string) (broker.TaskMessage, error) { return r.task.Message, nil }
func (r *rehearsed) Attempt() int                            { return r.task.Attempt }
func (r *rehearsed) Acquired() int64                         { return r.Failed() + 1 }
func (r *rehearsed) Settled() int64                          { return 0 }
func (r *rehearsed) PutOff() (from, to int64)                { return 0, 0 }
func (r *rehearsed) Alone() bool                             { return false }

func (r *rehearsed) Failed() int64 {
	if r.task.Redelivered {
		return 1
	}
	return 0
}

func (r *rehearsed) History() *brokerv1.AttemptHistory {
	return &brokerv1.AttemptHistory{Ignored: r.task.Ignored}
}

func (r *rehearsed) Accept(context.Context) error                   { return nil }
func (r *rehearsed) Release(context.Context) error                  { return nil }
func (r *rehearsed) Retry(context.Context, broker.Again) error      { return nil }
func (r *rehearsed) DeadLetter(context.Context, broker.Death) error { return nil }

func (r *rehearsed) Postpone(_ context.Context, until time.Time) error {
	r.outcome.Again = until
	return nil
}
