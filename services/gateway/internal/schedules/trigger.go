package schedules

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/task"
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
	spec := new(adminv1.Schedule)
	if err := proto.Unmarshal(s.Spec, spec); err != nil {
		return nil, fmt.Errorf("decode the schedule %s: %w", id, err)
	}
	now := e.Now()
	f := &adminv1.Firing{Time: timestamppb.New(now), Triggered: true, Outcome: fired, TaskId: task.NewID()}
	if requestID != "" {
		known, err := e.triggered(ctx, id, requestID)
		if known != nil || err != nil {
			return known, err
		}
		f.TaskId = triggeredID(id, requestID, now)
	}
	if spec.ExpireAfter != nil {
		spec.Task.ExpireTime = timestamppb.New(now.Add(spec.ExpireAfter.AsDuration()))
	}
	made, err := e.cfg.Maker.MakeTask(ctx, spec.Task, id, f.TaskId, now)
	if err != nil {
		return nil, err
	}
	return f, e.record(ctx, &s, s.Next, f, made)
}

// triggered is the firing of an earlier call with a request id, nil for none.
func (e *Engine) triggered(ctx context.Context, id, requestID string) (*adminv1.Firing, error) {
	now := e.Now()
	for _, at := range []string{triggeredID(id, requestID, now), triggeredID(id, requestID, now.Add(-window))} {
		t, err := e.cfg.Store.Task(ctx, at)
		switch {
		case err == nil:
			return &adminv1.Firing{Time: timestamppb.New(t.ScheduleTime), Triggered: true, Outcome: fired, TaskId: t.ID}, nil
		case !errors.Is(err, store.ErrNotFound):
			return nil, fmt.Errorf("look for the task of an earlier call: %w", err)
		}
	}
	return nil, nil
}
