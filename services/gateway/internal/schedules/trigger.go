package schedules

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// maxRaces is how often a trigger is tried anew because its schedule has fired or was
// changed meanwhile.
const maxRaces = 10

// Trigger fires a schedule now, whatever its policies say; calls with one request id
// are one for a day at least. Errors: [store.ErrNotFound], [store.ErrUnavailable],
// [store.ErrChanged] if it changes all the time; the context's; a status if the task
// can't be made.
func (e *Engine) Trigger(ctx context.Context, id, requestID string) (*adminv1.Firing, error) {
	// Of two calls with one request id the second is to see what the first did.
	if err := e.triggering.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("wait for another trigger: %w", err)
	}
	defer e.triggering.Release(1)
	for race := 1; ; race++ {
		f, err := e.trigger(ctx, id, requestID)
		if !errors.Is(err, store.ErrChanged) || race == maxRaces {
			return f, err
		}
	}
}

func (e *Engine) trigger(ctx context.Context, id, requestID string) (*adminv1.Firing, error) {
	s, err := e.cfg.Store.GetSchedule(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read the schedule: %w", err)
	}
	spec, err := Decode(&s)
	if err != nil {
		return nil, err
	}
	now := e.Now()
	f := &adminv1.Firing{Time: timestamppb.New(now), Triggered: true, Outcome: fired, TaskId: task.NewID()}
	if requestID != "" {
		known, err := e.triggered(ctx, &s, requestID)
		if known != nil || err != nil {
			return known, err
		}
		f.TaskId = triggeredID(id, requestID, now)
	}
	isNew, err := e.fireNow(ctx, &s, spec, f)
	switch {
	case err != nil:
		return nil, err
	case isNew:
		return f, nil
	}
	return e.firedBefore(ctx, &s, requestID, f.TaskId)
}

// fireNow makes the task of a trigger and records it, and says whether it is new. It
// is a trace of its own, linked to the call that asks for it.
func (e *Engine) fireNow(ctx context.Context, s *store.Schedule, spec *adminv1.Schedule, f *adminv1.Firing) (isNew bool, err error) {
	ctx, span := telemetry.StartFire(ctx, e.tracer, s.ID)
	defer func() { endFire(span, f, err) }()
	made, err := e.make(ctx, s.ID, spec, f, f.Time.AsTime())
	if err != nil {
		return false, err
	}
	return e.record(ctx, s, s.Next, f, made)
}

// firedBefore answers a trigger whose task is known to the store, though nobody knew of
// it a moment ago: it is there since, or was forgotten long ago.
func (e *Engine) firedBefore(ctx context.Context, s *store.Schedule, requestID, taskID string) (*adminv1.Firing, error) {
	if known, err := e.triggered(ctx, s, requestID); known != nil || err != nil {
		return known, err
	}
	return &adminv1.Firing{Triggered: true, Outcome: fired, TaskId: taskID, Problem: forgotten}, nil
}

const forgotten = "this call has fired nothing: an earlier one with its request id has, and the task has ended and was forgotten since"

// triggered is the firing of an earlier call with a request id, nil for none.
func (e *Engine) triggered(ctx context.Context, s *store.Schedule, requestID string) (*adminv1.Firing, error) {
	now := e.Now()
	for _, id := range []string{triggeredID(s.ID, requestID, now), triggeredID(s.ID, requestID, now.Add(-window))} {
		if f := firingOf(s, id); f != nil {
			return f, nil
		}
		t, err := e.cfg.Store.Task(ctx, id)
		switch {
		case err == nil:
			return &adminv1.Firing{Time: timestamppb.New(t.ScheduleTime), Triggered: true, Outcome: fired, TaskId: t.ID}, nil
		case !errors.Is(err, store.ErrNotFound):
			return nil, fmt.Errorf("look for the task of an earlier call: %w", err)
		}
	}
	return nil, nil
}

// firingOf is the firing that has made a task, if it is among the last ones of the
// schedule, else nil.
func firingOf(s *store.Schedule, taskID string) *adminv1.Firing {
	for f, err := range Firings(s) {
		if err == nil && f.Outcome == fired && f.TaskId == taskID {
			return f
		}
	}
	return nil
}
