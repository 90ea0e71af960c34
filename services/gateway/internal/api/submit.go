package api

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/telemetry"
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
	s.submit(bounded, []*submission{sub})
	if sub.err != nil {
		return nil, sub.err
	}
	return &taskv1.SubmitTaskResponse{Task: sub.task}, nil
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

// submitting bounds a submission. A caller who hangs up does not stop one halfway:
// its deadline bounds it, not its cancellation.
func submitting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), untilAnswer(ctx, maxSubmit))
}

// submit has each task and then its QUEUED event confirmed, all of them at once, and
// enters into each what became of it. In this order a crash in between leaves
// neither an accepted id unknown nor a row that stays QUEUED for ever.
func (s *TaskService) submit(ctx context.Context, subs []*submission) {
	for _, sub := range subs {
		s.trace(ctx, sub)
	}
	if err := s.awaitBroker(ctx); err != nil {
		for _, sub := range subs {
			sub.err = err
		}
	} else {
		room, full := s.enter(subs)
		s.publish(ctx, room)
		s.overflow(ctx, full)
	}
	for _, sub := range subs {
		if sub.err != nil {
			telemetry.Fail(sub.span, code.Code(status.Code(sub.err)).String(), sub.err.Error())
		}
		sub.span.End()
	}
}

// trace starts the span that travels with a task.
func (s *TaskService) trace(ctx context.Context, sub *submission) {
	m := sub.message
	_, sub.span, m.Trace = telemetry.StartPublish(ctx, s.tracer, telemetry.Message{
		Exchange: s.cfg.Names.Tasks(), TaskID: m.ID, TaskType: m.Type, BodySize: len(m.Payload),
	})
	sub.queued = queued(m)
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

// publish has messages confirmed by their queues, and tells of each that is. Those
// whose queue is missing are tried again with the queue declared anew: somebody has
// deleted it, or the broker was set up anew.
func (s *TaskService) publish(ctx context.Context, subs []*submission) {
	var again []*submission
	errs := s.publishOnce(ctx, subs)
	for i, sub := range subs {
		if errors.Is(errs[i], broker.ErrUnroutable) {
			again = append(again, sub)
		}
	}
	if len(again) > 0 {
		missing := s.redeclareAll(ctx, again)
		again = slices.DeleteFunc(again, func(sub *submission) bool {
			err := missing[sub.message.Type]
			if err != nil {
				s.published(ctx, sub, err)
			}
			return err != nil
		})
		for i, err := range s.publishOnce(ctx, again) {
			if errors.Is(err, broker.ErrUnroutable) {
				s.published(ctx, again[i], err)
			}
		}
	}
	s.awaitQueued(ctx, subs)
}

// publishOnce enters into each submission what publishing it has come to, unless it
// had no queue.
func (s *TaskService) publishOnce(ctx context.Context, subs []*submission) []error {
	if len(subs) == 0 {
		return nil
	}
	messages, errs := make([]*broker.TaskMessage, len(subs)), make([]error, len(subs))
	for i, sub := range subs {
		messages[i] = sub.message
	}
	s.cfg.Publisher.PublishTasks(ctx, messages, func(i int, err error) {
		if errs[i] = err; !errors.Is(err, broker.ErrUnroutable) {
			s.published(ctx, subs[i], err)
		}
	})
	return errs
}

// published enters what publishing a message has come to. What is in its queue is
// told of at once: others may take long.
func (s *TaskService) published(ctx context.Context, sub *submission, err error) {
	sub.leave(!nothingSent(err))
	m := sub.message
	switch {
	case nothingSent(err):
		sub.err = notSubmitted(err)
	case err != nil && s.cfg.Depth.AtLimit(m.Type, sub.limit.GetMaxLength()):
		sub.err = submissionUnknown(codes.ResourceExhausted, m.ID, err).RetryAfter(fullDelay)
	case err != nil:
		sub.err = submissionUnknown(codes.Unavailable, m.ID, err)
	default:
		if sub.receipt, err = s.cfg.Status.Write(ctx, sub.queued); err != nil {
			sub.err = submissionUnknown(codes.Unavailable, m.ID, err)
		}
	}
}

// awaitQueued waits until the QUEUED events of what was published are confirmed.
func (s *TaskService) awaitQueued(ctx context.Context, subs []*submission) {
	for _, sub := range subs {
		if sub.err != nil {
			continue
		}
		if err := sub.receipt.Wait(ctx); err != nil {
			sub.err = submissionUnknown(codes.Unavailable, sub.message.ID, err)
			continue
		}
		sub.task = accepted(sub.queued, s.cfg.Names)
	}
}

// redeclareAll declares the queues of submissions anew, and gives the errors by
// task type.
func (s *TaskService) redeclareAll(ctx context.Context, subs []*submission) map[string]error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := map[string]error{}
	begun := map[string]bool{}
	for _, sub := range subs {
		taskType := sub.message.Type
		if begun[taskType] {
			continue
		}
		begun[taskType] = true
		wg.Go(func() {
			err := s.redeclare(ctx, taskType)
			mu.Lock()
			defer mu.Unlock()
			errs[taskType] = err
		})
	}
	wg.Wait()
	return errs
}
