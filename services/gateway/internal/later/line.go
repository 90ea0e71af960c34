package later

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/warrenmq/warren/pkg/retry"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// line is the tasks of one type that are to be published: a queue that is full, or
// that answers nothing, holds up no other.
type line struct {
	// tasks are those that are not just being published.
	tasks []*held
	// count and bytes are of all.
	count, bytes int
	// served says that a goroutine publishes them.
	served bool
	// stalled says that of the last batch nothing was published.
	stalled bool
	// rest is until when no more are taken: those that were let go come first again.
	rest time.Time
}

// enter puts a task into the line.
func (in *line) enter(h *held) {
	in.tasks = append(in.tasks, h)
	in.count++
	in.bytes += len(h.Message)
}

// leave is for tasks that are in the line no more.
func (in *line) leave(hs []*held) {
	in.count -= len(hs)
	for _, h := range hs {
		in.bytes -= len(h.Message)
	}
}

// take takes tasks out: those to publish now, and those for which it is too late.
func (in *line) take(now time.Time) (batch, late []*held) {
	n := 0
	for ; n < len(in.tasks) && len(batch) < maxTake; n++ {
		if h := in.tasks[n]; h.until.After(now) {
			batch = append(batch, h)
		} else {
			late = append(late, h)
		}
	}
	if in.tasks = in.tasks[n:]; len(in.tasks) == 0 {
		in.tasks = nil
	}
	return batch, late
}

// serve publishes what stands in a line, until nothing does or ctx ends;
// what is begun then goes on in work.
func (l *Loop) serve(ctx, work context.Context, name string, in *line) {
	for ctx.Err() == nil {
		batch := l.nextOf(in)
		if len(batch) == 0 {
			return
		}
		failed := l.publish(work, name, batch)
		l.mu.Lock()
		in.leave(batch)
		for _, h := range failed {
			in.enter(h)
		}
		in.stalled = len(failed) == len(batch)
		l.reopen()
		l.mu.Unlock()
		if len(failed) == len(batch) && !retry.Pause(ctx, fullDelay) {
			return
		}
	}
}

// nextOf takes a batch out of a line, or says that it is served no more. Tasks for
// which it is too late are let go: they are taken again when their lease has ended.
// Until then a queue that takes nothing gets no others.
func (l *Loop) nextOf(in *line) (batch []*held) {
	l.mu.Lock()
	var gone []string
	for len(in.tasks) > 0 && len(batch) == 0 {
		var late []*held
		batch, late = in.take(time.Now())
		in.leave(late)
		for _, h := range late {
			gone = append(gone, h.TaskID)
			if in.stalled {
				in.rest = h.until.Add(lease - publishWithin)
			}
		}
	}
	in.served = len(batch) > 0
	l.mu.Unlock()
	l.release(gone...)
	return batch
}

// publish publishes tasks of one type, and gives those that were not.
func (l *Loop) publish(ctx context.Context, taskType string, batch []*held) (failed []*held) {
	first := slices.MinFunc(batch, func(a, b *held) int { return a.until.Compare(b.until) })
	ctx, cancel := context.WithDeadline(ctx, first.until)
	defer cancel()
	for i, err := range l.publishAll(ctx, batch) {
		h := batch[i]
		if err == nil {
			l.done <- h.TaskID
			continue
		}
		failed = append(failed, h)
		if errors.Is(err, ErrFull) {
			continue
		}
		// It may be in its queue.
		h.Again = h.Again || !errors.Is(err, ErrNotPublished)
		l.troubles.Do(func() {
			h.log(l.cfg.Logger, taskType).WarnContext(ctx, "a task whose time has come was not published, trying again", "error", err)
		})
	}
	return failed
}

// publishAll publishes tasks, as many errors as these. Of one whose run has ended
// since it was first taken nothing is left to do.
func (l *Loop) publishAll(ctx context.Context, batch []*held) []error {
	errs := make([]error, len(batch))
	var tasks []Task
	var at []int
	for i, h := range batch {
		var over bool
		if h.message == nil || h.Again && !h.checked {
			over, errs[i] = l.over(ctx, h)
			h.checked = errs[i] == nil
		}
		if h.message != nil && !over && errs[i] == nil {
			tasks, at = append(tasks, Task{Message: h.message, Again: h.Again}), append(at, i)
		}
	}
	if len(tasks) == 0 {
		return errs
	}
	for i, err := range l.cfg.Publisher.PublishDue(ctx, tasks) {
		errs[at[i]] = err
	}
	return errs
}

// over says that a task is not to be published: its run has ended meanwhile, as by a
// cancellation, or is ended here because its message can't be decoded.
func (l *Loop) over(ctx context.Context, h *held) (bool, error) {
	t, err := l.cfg.Store.Task(ctx, h.TaskID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return true, nil // it ended, and was purged
	case err != nil:
		return false, fmt.Errorf("%w: read the task: %w", ErrNotPublished, err)
	case h.message == nil && !t.State.Terminal():
		return true, l.giveUp(ctx, h, &t)
	}
	// Another run of it has begun after the end of this.
	return t.State.Terminal() || h.message != nil && t.Run > h.message.Run, nil
}

// giveUp ends a task whose message can't be decoded as a dead letter. The message
// is set aside first: of a crash in between two of them are left, not none.
func (l *Loop) giveUp(ctx context.Context, h *held, t *task.Task) error {
	problem := fmt.Sprintf("the message of task %s, which was kept until its time, can't be decoded: %v", h.TaskID, h.problem)
	if err := l.cfg.Publisher.PublishParked(ctx, h.Message, problem); err != nil {
		return fmt.Errorf("set its message aside: %w", err)
	}
	err := l.cfg.Publisher.Tell(ctx, &task.Event{
		TaskID: t.ID, Type: t.Type, Time: time.Now(), Cause: task.CauseUndecodable, Decision: "never queued: " + problem,
		Key:     task.Key{Run: max(1, t.Run), Attempt: 1, Phase: task.PhaseDeadLettered, Copy: task.NewCopy()},
		Failure: &task.Failure{Kind: task.KindError, Code: int(codes.Internal), Message: problem},
	})
	if err != nil {
		return fmt.Errorf("tell that it is a dead letter: %w", err)
	}
	h.log(l.cfg.Logger, t.Type).ErrorContext(ctx, "a task whose time has come can't be published, it is a dead letter", "error", h.problem)
	return nil
}
