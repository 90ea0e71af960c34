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
)

// line is the tasks of one type that are to be published: a queue that is full, or
// that answers nothing, holds up no other.
type line struct {
	tasks []*held
	bytes int
	// moved is when the last task was published; in the beginning when it was begun.
	moved time.Time
}

func (in *line) full() bool {
	return len(in.tasks) >= maxInLine || in.bytes >= maxLineBytes
}

func (in *line) add(hs ...*held) {
	for _, h := range hs {
		in.tasks = append(in.tasks, h)
		in.bytes += len(h.Message)
	}
}

// take takes tasks out: those to publish now, and those for which it is too late.
func (in *line) take(now time.Time) (batch, late []*held) {
	n := 0
	for ; n < len(in.tasks) && len(batch) < maxTake; n++ {
		h := in.tasks[n]
		in.bytes -= len(h.Message)
		if h.until.After(now) {
			batch = append(batch, h)
		} else {
			late = append(late, h)
		}
	}
	in.tasks = in.tasks[n:]
	return batch, late
}

// serve publishes what stands in a line, until nothing does.
func (l *Loop) serve(ctx context.Context, name string) {
	for {
		batch := l.nextOf(name)
		if len(batch) == 0 {
			return
		}
		failed := l.publish(ctx, batch)
		if len(failed) == len(batch) && !retry.Pause(ctx, fullDelay) {
			return
		}
		l.mu.Lock()
		in := l.lines[name]
		in.add(failed...)
		if len(failed) < len(batch) {
			in.moved = time.Now()
		}
		l.mu.Unlock()
	}
}

// nextOf takes a batch out of a line, which is no more when there is none. Tasks for
// which it is too late are let go: they are taken again when their lease has ended.
func (l *Loop) nextOf(name string) (batch []*held) {
	l.mu.Lock()
	in := l.lines[name]
	var gone []string
	for len(in.tasks) > 0 && len(batch) == 0 {
		var late []*held
		batch, late = in.take(time.Now())
		for _, h := range late {
			gone = append(gone, h.TaskID)
		}
	}
	if len(batch) == 0 {
		delete(l.lines, name)
	}
	l.mu.Unlock()
	l.release(gone...)
	return batch
}

// publish publishes tasks of one type, and gives those that were not.
func (l *Loop) publish(ctx context.Context, batch []*held) (failed []*held) {
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
		if !errors.Is(err, ErrFull) {
			// It may be in its queue.
			h.Again = true
			l.troubles.Do(func() {
				l.cfg.Logger.WarnContext(ctx, "a task whose time has come was not published, trying again", "task", h.TaskID, "type", h.line(), "error", err)
			})
		}
	}
	return failed
}

func (l *Loop) publishAll(ctx context.Context, batch []*held) []error {
	if batch[0].message == nil {
		errs := make([]error, len(batch))
		for i, h := range batch {
			errs[i] = l.giveUp(ctx, h)
		}
		return errs
	}
	tasks := make([]Task, len(batch))
	for i, h := range batch {
		tasks[i] = Task{Message: h.message, Again: h.Again}
	}
	return l.cfg.Publisher.PublishDue(ctx, tasks)
}

// giveUp ends a task whose message can't be decoded as a dead letter. The message
// is set aside first: of a crash in between two of them are left, not none.
func (l *Loop) giveUp(ctx context.Context, h *held) error {
	t, err := l.cfg.Store.Task(ctx, h.TaskID)
	if err != nil {
		return fmt.Errorf("read the task: %w", err)
	}
	problem := fmt.Sprintf("the message of task %s, which was kept until its time, can't be decoded: %v", h.TaskID, h.problem)
	l.cfg.Logger.ErrorContext(ctx, "a task whose time has come can't be published, it becomes a dead letter", "task", h.TaskID, "type", t.Type, "error", h.problem)
	if err := l.cfg.Publisher.PublishParked(ctx, h.Message, problem); err != nil {
		return fmt.Errorf("set its message aside: %w", err)
	}
	return l.cfg.Publisher.Tell(ctx, &task.Event{
		TaskID: t.ID, Type: t.Type, Time: time.Now(), Cause: task.CauseUndecodable, Decision: "never queued: " + problem,
		Key:     task.Key{Run: max(1, t.Run), Attempt: 1, Phase: task.PhaseDeadLettered, Copy: task.NewCopy()},
		Failure: &task.Failure{Kind: task.KindError, Code: int(codes.Internal), Message: problem},
	})
}
