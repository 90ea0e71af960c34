package api

import (
	"context"
	"fmt"
	"time"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/gateway/internal/later"
)

// Due publishes tasks whose time has come, as [later.Publisher] says.
type Due struct {
	*TaskService
	// Parker sets aside what nobody can make anything of.
	Parker interface {
		PublishParked(ctx context.Context, body []byte, problem string) error
	}
}

var _ later.Publisher = Due{}

// AwaitReady waits until a publish can be tried.
func (d Due) AwaitReady(ctx context.Context) error { return d.cfg.Publisher.AwaitReady(ctx) }

// PublishParked sets a message aside.
func (d Due) PublishParked(ctx context.Context, body []byte, problem string) error {
	return d.Parker.PublishParked(ctx, body, problem)
}

// Tell has a status event confirmed.
func (d Due) Tell(ctx context.Context, e *task.Event) error { return d.tell(ctx, e) }

// PublishDue puts tasks into their queue, as a submission does. Each gets a copy id
// of its own and asks for a permit to start: a publish that is repeated, by whomever,
// starts nothing twice. Their trace goes on from their submission, or from their
// schedule's firing.
//
// A task can't be refused any more: where the queue is at its limit it waits, or
// becomes a dead letter, as its type says; but one whose message may be in the queue
// already goes there.
func (d Due) PublishDue(ctx context.Context, tasks []later.Task) []error {
	now := time.Now().Truncate(time.Microsecond)
	subs := make([]*submission, len(tasks))
	var room, full []*submission
	for i, t := range tasks {
		sub := d.due(&t, now)
		subs[i] = sub
		var ok bool
		sub.leave, ok = d.cfg.Depth.Enter(sub.message.Type, sub.limit.GetMaxLength())
		switch deadLetter := sub.limit.GetOverflow() == taskv1.Overflow_OVERFLOW_DEAD_LETTER; {
		case ok:
			room = append(room, sub)
		case !deadLetter:
			sub.err = later.ErrFull
		case t.Again:
			sub.leave = func(bool) {}
			room = append(room, sub)
		default:
			full = append(full, sub)
		}
		if sub.err == nil {
			d.trace(ctx, sub)
		}
	}
	d.publish(ctx, room)
	d.overflow(ctx, full)
	errs := make([]error, len(subs))
	for i, sub := range subs {
		if sub.span != nil {
			sub.endSpan()
		}
		if errs[i] = sub.err; nothingSent(sub.err) {
			errs[i] = fmt.Errorf("%w: %w", later.ErrNotPublished, sub.err)
		}
	}
	return errs
}

func (d Due) due(t *later.Task, now time.Time) *submission {
	m := *t.Message
	m.Copy, m.Resend, m.ExpireInBroker, m.RunTime = task.NewCopy(), true, false, now
	options, _, _ := d.cfg.Types.Effective(m.Type)
	return &submission{message: &m, limit: options.GetQueueLimit()}
}

// trace starts the span of publishing a task.
func (d Due) trace(ctx context.Context, sub *submission) {
	m := sub.message
	sub.span, m.Trace = telemetry.StartPublishCreated(ctx, d.tracer, d.spanned(m), m.Trace)
	m.LimitTrace()
	sub.queued = queued(m)
}
