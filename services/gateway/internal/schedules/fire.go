package schedules

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// Outcomes of firings.
const (
	fired   = adminv1.FiringOutcome_FIRING_OUTCOME_FIRED
	skipped = adminv1.FiringOutcome_FIRING_OUTCOME_SKIPPED
	missing = adminv1.FiringOutcome_FIRING_OUTCOME_MISSED
	failed  = adminv1.FiringOutcome_FIRING_OUTCOME_FAILED
)

// fireDue does what is to be done now of a schedule whose time has come, and says
// whether it did. What fails now, or was changed by others meanwhile, is looked at
// again.
func (e *Engine) fireDue(ctx context.Context, s store.Schedule) bool {
	err := e.fireAll(ctx, s)
	if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrChanged) {
		e.troubles.Do(func() {
			e.cfg.Logger.WarnContext(ctx, "a schedule can't fire now, trying again", "schedule", s.ID, "time", s.Next, "error", err)
		})
	}
	return err == nil
}

func (e *Engine) fireAll(ctx context.Context, s store.Schedule) error {
	spec, table, err := read(&s)
	if err != nil {
		// It made sense once, and will again once it is changed.
		e.cfg.Logger.ErrorContext(ctx, "a schedule makes no sense any more, it does not fire until it is changed", "schedule", s.ID, "error", err)
		_, err = e.record(ctx, &s, time.Time{}, &adminv1.Firing{Time: timestamppb.New(s.Next), Outcome: failed, Problem: err.Error()}, nil)
		return err
	}
	for _, step := range table.plan(s.Next, e.Now(), spec.CatchUp) {
		if err := e.take(ctx, &s, spec, table, step); err != nil {
			return err
		}
		s.Next = step.next
	}
	return nil
}

// take does what one time of a schedule asks for, and records it. What is fired is a
// trace of its own.
func (e *Engine) take(ctx context.Context, s *store.Schedule, spec *adminv1.Schedule, table *Timetable, step step) (err error) {
	f := &adminv1.Firing{Time: timestamppb.New(step.at), Outcome: missing, Problem: step.missed}
	var made *store.Scheduled
	if step.missed == "" {
		var span trace.Span
		ctx, span = telemetry.StartFire(ctx, e.tracer, s.ID)
		defer func() { endFire(span, f, err) }()
		if made, err = e.fire(ctx, s, spec, table, f); err != nil {
			return err
		}
	}
	_, err = e.record(ctx, s, step.next, f, made)
	if made != nil && errors.Is(err, store.ErrBadEvent) {
		// It would be so each time.
		e.fail(ctx, s.ID, f, err)
		_, err = e.record(ctx, s, step.next, f, nil)
	}
	return err
}

// endFire ends the span of a firing with what has come of it.
func endFire(span trace.Span, f *adminv1.Firing, err error) {
	defer span.End()
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(telemetry.OutcomeKey.String(strings.ToLower(strings.TrimPrefix(f.Outcome.String(), "FIRING_OUTCOME_"))))
	if err != nil {
		telemetry.Fail(span, code.Code(status.Code(err)).String(), rpc.Loggable(err))
	}
}

// read reads what a schedule is.
func read(s *store.Schedule) (*adminv1.Schedule, *Timetable, error) {
	spec, err := Decode(s)
	if err != nil {
		return nil, nil, err
	}
	table, err := Compile(spec)
	return spec, table, err
}

// fire makes the task of a firing, unless there is to be none, and enters into the
// firing what becomes of it.
func (e *Engine) fire(ctx context.Context, s *store.Schedule, spec *adminv1.Schedule, table *Timetable, f *adminv1.Firing) (*store.Scheduled, error) {
	if spec.Overlap == adminv1.OverlapPolicy_OVERLAP_POLICY_SKIP {
		running, err := e.running(ctx, s.ID)
		if err != nil {
			return nil, err
		}
		if running != "" {
			f.Outcome, f.TaskId = skipped, running
			return nil, nil
		}
	}
	at := f.Time.AsTime()
	f.TaskId = taskID(s.ID, at)
	made, err := e.make(ctx, s.ID, spec, f, table.dueTime(s.ID, at))
	switch {
	case err == nil:
		f.Outcome = fired
		return made, nil
	case status.Code(err) == codes.Unavailable || ctx.Err() != nil:
		return nil, err
	}
	e.fail(ctx, s.ID, f, err)
	return nil, nil
}

// running is the newest task of a schedule that has not ended, empty for none.
func (e *Engine) running(ctx context.Context, scheduleID string) (string, error) {
	id, err := e.cfg.Store.Unended(ctx, scheduleID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("look for a task that has not ended: %w", err)
	}
	return id, nil
}

// make makes the task of a firing, which is due at a time. Errors: as of [Maker].
func (e *Engine) make(ctx context.Context, id string, spec *adminv1.Schedule, f *adminv1.Firing, due time.Time) (*store.Scheduled, error) {
	r := proto.CloneOf(spec.Task)
	if spec.ExpireAfter != nil {
		r.ExpireTime = timestamppb.New(f.Time.AsTime().Add(spec.ExpireAfter.AsDuration()))
	}
	return e.cfg.Maker.MakeTask(ctx, r, id, f.TaskId, due)
}

// fail enters why the task of a firing can't be submitted. Its span, which ctx has, is
// told what a log may have.
func (e *Engine) fail(ctx context.Context, id string, f *adminv1.Firing, err error) {
	f.Outcome, f.Problem, f.TaskId = failed, strings.ToValidUTF8(status.Convert(err).Message(), "\uFFFD"), ""
	why := rpc.Loggable(err)
	telemetry.Fail(trace.SpanFromContext(ctx), "not_submitted", why)
	e.cfg.Logger.WarnContext(ctx, "the task of a schedule can't be submitted", "schedule", id, "time", f.Time.AsTime(), "error", why)
}

// record records a firing of a schedule, and its task, in one transaction, and tells
// whom that concerns. It says whether the task is new; a trigger of one that is not
// is not recorded.
func (e *Engine) record(ctx context.Context, s *store.Schedule, next time.Time, f *adminv1.Firing, made *store.Scheduled) (isNew bool, err error) {
	encoded, err := proto.Marshal(f)
	if err != nil {
		return false, fmt.Errorf("encode a firing: %w", err)
	}
	changes, err := e.cfg.Store.Fire(ctx, store.Fire{
		ScheduleID: s.ID, Version: s.Version, Was: s.Next, Next: next, Task: made, OnlyNew: f.Triggered,
		Firing: store.Firing{Time: f.Time.AsTime(), Encoded: encoded},
	})
	if err != nil {
		return false, fmt.Errorf("record a firing: %w", err)
	}
	for _, c := range changes {
		e.cfg.Changed(c.TaskID)
	}
	if made != nil {
		e.cfg.Later(made.Event.ScheduleTime)
	}
	isNew = len(changes) > 0
	if isNew || !f.Triggered {
		e.metrics.fired(ctx, f.Outcome)
	}
	return isNew, nil
}
