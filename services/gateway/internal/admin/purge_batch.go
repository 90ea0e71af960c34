package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// purgeBatch is how many messages are purged with one round of confirms.
	purgeBatch = 500
	// settleTime is for what a purge has begun when its caller has gone.
	settleTime = 10 * time.Second
)

// errBroker says that the broker has ended a purge.
var errBroker = errors.New("the broker did not do its part")

// StatusWriter writes status events.
type StatusWriter interface {
	Write(ctx context.Context, e *task.Event) (*broker.Receipt, error)
}

// Taker takes what is ready out of the queue of a task type, as broker.Taker does.
type Taker interface {
	Take(limit int) ([]broker.ReadyTask, error)
	Accept(tasks []broker.ReadyTask) error
	Release(tasks []broker.ReadyTask) error
	Close()
}

// purge takes tasks out of one queue. What it has taken and neither accepts nor
// releases returns as a failed delivery, which a worker asks for a permit for: so no
// task starts whose end was told, whatever happens in between.
type purge struct {
	service *Service
	taker   Taker
	reason  string
	// purged counts the tasks that were cancelled.
	purged int64
	// kept are the messages that are none of its business: they return in the end, as
	// they would be taken again otherwise.
	kept []broker.ReadyTask
}

// release gives back what was kept. Where that fails, the broker does it by itself.
func (p *purge) release() { _ = p.taker.Release(p.kept) }

// end ends tasks that were taken: their cancellations are put on record, then their
// ends confirmed, then they are accepted. Of several messages of a task, only the one
// that holds the run ends it. What is begun goes on in life, which outlives ctx.
func (p *purge) end(ctx, life context.Context, taken []broker.ReadyTask) error {
	if slices.ContainsFunc(taken, needsClaim) {
		if err := p.service.awaitProjection(ctx); err != nil {
			p.kept = append(p.kept, taken...)
			return err
		}
	}
	var ending, dropped, done []broker.ReadyTask
	for i := range taken {
		if taken[i].Problem != nil {
			p.kept = append(p.kept, taken[i])
			continue
		}
		v, err := p.judge(ctx, &taken[i])
		switch {
		case err != nil:
			p.kept = slices.Concat(p.kept, ending, dropped, done, taken[i:])
			return err
		case v == verdictKeep:
			p.kept = append(p.kept, taken[i])
		case v == verdictDrop:
			dropped = append(dropped, taken[i])
		case v == verdictSee:
			done = append(done, taken[i])
		default:
			ending = append(ending, taken[i])
		}
	}
	if err := p.record(life, ending); err != nil {
		p.kept = slices.Concat(p.kept, ending, dropped, done)
		return err
	}
	told, err := p.tell(life, slices.Concat(ending, done))
	p.purged += int64(min(told, len(ending)))
	if failed := p.taker.Accept(slices.Concat(dropped, slices.Concat(ending, done)[:told])); failed != nil {
		err = errors.Join(err, fmt.Errorf("%w: %w", errBroker, failed))
	}
	return err
}

// record puts the cancellations of tasks on record before their ends are told: a
// message that returns because the gateway ends in between is known to be cancelled,
// also to workers that start it without a permit. Where as many cancellations are kept
// as can be, that a failed delivery asks for a permit has to do.
func (p *purge) record(ctx context.Context, ending []broker.ReadyTask) error {
	if len(ending) == 0 {
		return nil
	}
	ids := make([]string, len(ending))
	for i := range ending {
		ids[i] = ending[i].Task.ID
	}
	_, err := p.service.cfg.Control.Cancel(ctx, ids, p.reason)
	if errors.Is(err, store.ErrTooMany) {
		p.service.cfg.Logger.WarnContext(ctx, "a purge goes on without records of its cancellations, as many are outstanding as can be", "tasks", len(ids))
		return nil
	}
	return err
}

// tell has the ends of tasks confirmed, and says of how many they are, from the
// first.
func (p *purge) tell(ctx context.Context, ending []broker.ReadyTask) (int, error) {
	receipts := make([]*broker.Receipt, len(ending))
	for i := range ending {
		var err error
		if receipts[i], err = p.service.cfg.Status.Write(ctx, p.event(&ending[i])); err != nil {
			return 0, fmt.Errorf("%w: %w", errBroker, err)
		}
	}
	for i, receipt := range receipts {
		if err := receipt.Wait(ctx); err != nil {
			return i, fmt.Errorf("%w: %w", errBroker, err)
		}
	}
	return len(ending), nil
}

// verdict is what becomes of a message.
type verdict int

const (
	// verdictCancel: its task is CANCELLED.
	verdictCancel verdict = iota
	// verdictDrop: another message holds the run, or it has ended; a worker would drop
	// it too.
	verdictDrop
	// verdictSee: its run is CANCELLED already. It is dropped too, and told, so that the
	// cancellation is known to have met its message.
	verdictSee
	// verdictKeep: it stays in the queue.
	verdictKeep
)

// needsClaim says whether another message of the task may have started, or this one,
// or its end be told already: a worker would ask before it starts it.
func needsClaim(r broker.ReadyTask) bool {
	return r.Problem == nil && (r.Task.Resend || r.Task.Run > 1 || r.Failed > 0)
}

// judge says what becomes of a message that is a task.
func (p *purge) judge(ctx context.Context, r *broker.ReadyTask) (verdict, error) {
	if !needsClaim(*r) {
		return verdictCancel, nil
	}
	held, ended, err := p.service.cfg.Store.ClaimRun(ctx, r.Task.ID, r.Task.Run, r.Task.Copy)
	switch {
	case err != nil:
		return verdictKeep, err
	case held && !ended:
		return verdictCancel, nil
	case !ended:
		return verdictDrop, nil
	}
	t, err := p.service.cfg.Store.Task(ctx, r.Task.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return verdictDrop, nil
	case err != nil:
		return verdictKeep, err
	case t.State == task.StateDeadLettered && t.Decided.Run == r.Task.Run && t.Decided.Copy == r.Task.Copy:
		// Its settlement was lost: the message has to become a dead letter yet.
		return verdictKeep, nil
	case t.State == task.StateCancelled && t.Decided.Run == r.Task.Run:
		return verdictSee, nil
	}
	return verdictDrop, nil
}

// event is that a task was cancelled.
func (p *purge) event(r *broker.ReadyTask) *task.Event {
	m := &r.Task
	return &task.Event{
		TaskID: m.ID, Type: m.Type, Time: time.Now().UTC().Truncate(time.Microsecond), Reason: p.reason,
		Key:  task.Key{Run: m.Run, Attempt: r.Attempt, Delivery: r.Acquired, Phase: task.PhaseCancelled, Copy: m.Copy},
		Head: m.Head(),
	}
}

// outlive is a context that ends a while after ctx has.
func outlive(ctx context.Context, while time.Duration) (context.Context, context.CancelFunc) {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(while, cancel)
		context.AfterFunc(life, func() { timer.Stop() })
	})
	return life, func() { stop(); cancel() }
}
