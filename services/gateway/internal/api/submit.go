package api

import (
	"context"
	"time"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
)

const (
	// maxSubmit bounds a submission whose caller sets no deadline.
	maxSubmit = 10 * time.Second
	// maxReconnect is how long a submission waits for a broker that is away.
	maxReconnect = 2 * time.Second
	// fullDelay is after how long a submission to a full queue is worth another
	// try: a few samples of its depth later.
	fullDelay = time.Second
)

// SubmitTask implements warren.task.v1.TaskService.
func (s *TaskService) SubmitTask(ctx context.Context, r *taskv1.SubmitTaskRequest) (*taskv1.SubmitTaskResponse, error) {
	return s.submitOne(ctx, r, func(*submission) {})
}

// submitOne submits one task, which edit may change before.
func (s *TaskService) submitOne(ctx context.Context, r *taskv1.SubmitTaskRequest, edit func(*submission)) (*taskv1.SubmitTaskResponse, error) {
	answer, err := s.trySubmit(ctx, r, edit)
	s.metrics.answered(ctx, r.Type, answer, err)
	return answer, err
}

func (s *TaskService) trySubmit(ctx context.Context, r *taskv1.SubmitTaskRequest, edit func(*submission)) (*taskv1.SubmitTaskResponse, error) {
	call, err := newCall(ctx)
	if err != nil {
		return nil, err
	}
	bounded, cancel := submitting(ctx)
	defer cancel()
	sub, known, err := s.prepare(bounded, call, r)
	if known != nil || err != nil {
		return known, err
	}
	edit(sub)
	s.submitAll(bounded, []*submission{sub})
	if sub.err != nil {
		return nil, sub.err
	}
	return &taskv1.SubmitTaskResponse{Task: sub.task, AlreadySubmitted: sub.known}, nil
}

// call is what all submissions of one call share.
type call struct {
	// metadata travels with each of them.
	metadata map[string][][]byte
	// lookupEnd is when it is not asked any more which of them are known.
	lookupEnd time.Time
}

func newCall(ctx context.Context) (call, error) {
	metadata, err := callerMetadata(ctx)
	return call{metadata, time.Now().Add(maxLookup)}, err
}

// again is for what comes next of the same call, if that is a stream.
func (c call) again() call { return call{c.metadata, time.Now().Add(maxLookup)} }

// submitting bounds a submission. A caller who hangs up does not stop one halfway:
// its deadline bounds it, not its cancellation.
func submitting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), untilAnswer(ctx, maxSubmit))
}

// submit submits each task and enters into each what became of it: those for now are
// put into their queues, the others are kept for later.
func (s *TaskService) submit(ctx context.Context, subs []*submission) {
	for _, sub := range subs {
		s.trace(ctx, sub)
	}
	now, later := separate(subs)
	if len(later) > 0 {
		s.schedule(ctx, later)
	}
	if len(now) > 0 {
		s.enqueue(ctx, now)
	}
	for _, sub := range subs {
		sub.endSpan()
	}
}

// enqueue has each task and then its QUEUED event confirmed, all of them at once. In
// this order a crash in between leaves neither an accepted id unknown nor a row that
// stays QUEUED for ever.
func (s *TaskService) enqueue(ctx context.Context, subs []*submission) {
	if err := s.awaitBroker(ctx); err != nil {
		for _, sub := range subs {
			sub.err = err
		}
		return
	}
	room, full := s.enter(subs)
	s.publish(ctx, room)
	s.overflow(ctx, full)
}

func (s *TaskService) awaitBroker(ctx context.Context) error {
	if s.cfg.Publisher.Ready() == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, maxReconnect)
	defer cancel()
	if err := s.cfg.Publisher.AwaitReady(ctx); err != nil {
		return notSubmitted(err)
	}
	return nil
}

// enter tells those for which there is room in their queue from the others.
func (s *TaskService) enter(subs []*submission) (room, full []*submission) {
	for _, sub := range subs {
		var ok bool
		sub.leave, ok = s.cfg.Depth.Enter(sub.message.Type, sub.limit.GetMaxLength())
		switch {
		case ok:
			room = append(room, sub)
		case sub.message.Resend:
			// The message before may be in the queue: its task is neither to be refused
			// nor to end as a dead letter. So this one overshoots the limit.
			sub.leave = func(bool) {}
			room = append(room, sub)
		default:
			full = append(full, sub)
		}
	}
	return room, full
}
