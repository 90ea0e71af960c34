package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// maxAhead is how far ahead the time of a task may be.
const maxAhead = 10 * 365 * 24 * time.Hour

// scheduleTime is when a task is to be put into its queue; zero is now.
func scheduleTime(r *taskv1.SubmitTaskRequest, now time.Time) (time.Time, error) {
	switch {
	case r.Delay.AsDuration() > 0:
		return now.Add(r.Delay.AsDuration()).Truncate(time.Microsecond), nil
	case r.ScheduleTime == nil:
		return time.Time{}, nil
	}
	return timeAhead("schedule_time", r.ScheduleTime, now)
}

// timeAhead is a time that was asked for; zero if it has passed.
func timeAhead(field string, asked *timestamppb.Timestamp, now time.Time) (time.Time, error) {
	at, err := timeOf(field, asked)
	switch {
	case err != nil:
		return time.Time{}, err
	case !at.After(now):
		return time.Time{}, nil
	case at.Sub(now) > maxAhead:
		return time.Time{}, badField(&policy.FieldError{Field: field, Problem: "must be at most 10 years ahead"})
	}
	return at, nil
}

// scheduled is the event that tells of a task for later.
func scheduled(m *broker.TaskMessage, at time.Time) *task.Event {
	e := queued(m)
	e.Key.Phase, e.ScheduleTime = task.PhaseScheduled, at
	return e
}

// separate tells submissions for now from those for later.
func separate(subs []*submission) (now, later []*submission) {
	for _, sub := range subs {
		if sub.at.IsZero() {
			now = append(now, sub)
		} else {
			later = append(later, sub)
		}
	}
	return now, later
}

// schedule keeps tasks for later, all in one transaction, and enters into each
// what became of it.
func (s *TaskService) schedule(ctx context.Context, subs []*submission) {
	kept, tasks := make([]*submission, 0, len(subs)), make([]store.Scheduled, 0, len(subs))
	for _, sub := range subs {
		e := scheduled(sub.message, sub.at)
		encoded, err := broker.EncodeTask(sub.message)
		if err != nil {
			sub.err = notEncoded(sub.message, err)
			continue
		}
		kept, tasks = append(kept, sub), append(tasks, store.Scheduled{Event: *e, Message: encoded})
	}
	if len(tasks) == 0 {
		return
	}
	changes, err := s.cfg.Store.Schedule(ctx, tasks)
	if (errors.Is(err, store.ErrBadEvent) || errors.Is(err, store.ErrRetired)) && len(kept) > 1 {
		for _, sub := range kept {
			s.schedule(ctx, []*submission{sub}) // the others are in order
		}
		return
	}
	versions := map[string]int64{}
	for _, c := range changes {
		versions[c.TaskID] = c.Version
		s.cfg.Hub.Wake(c.TaskID)
	}
	for i, sub := range kept {
		switch version, isNew := versions[sub.message.ID]; {
		case errors.Is(err, store.ErrRetired):
			sub.err = s.unknownType(sub.message.Type).Because(err)
		case err != nil:
			sub.err = notKept(err)
		case isNew:
			sub.task = s.acceptedLater(&tasks[i].Event, version)
			s.wakeLater(sub.at)
		default:
			sub.again(s.knownAs(ctx, sub.message))
		}
	}
}

// notEncoded says that a task can't be kept for later.
func notEncoded(m *broker.TaskMessage, err error) error {
	if errors.Is(err, broker.ErrTooLarge) {
		return tooLarge(m)
	}
	return notSubmitted(err)
}

// tooLarge says what of a task does not fit into its message's header.
func tooLarge(m *broker.TaskMessage) error {
	field, labels, metadata := "labels", 0, 0
	for k, v := range m.Labels {
		labels += len(k) + len(v)
	}
	for k, vs := range m.Metadata {
		for _, v := range vs {
			metadata += len(k) + len(v)
		}
	}
	if metadata > labels {
		field = "metadata"
	}
	return badField(&policy.FieldError{
		Field: field, Problem: fmt.Sprintf("is too large: labels have %d bytes, the call's metadata that would travel with the task has %d; together with the task's own policy they do not fit into its message", labels, metadata),
	})
}

// again enters that a task is known already.
func (sub *submission) again(known *taskv1.SubmitTaskResponse, err error) {
	sub.task, sub.known, sub.err = known.GetTask(), true, err
}

// acceptedLater is the task before its first event, but that its etag is that of
// the version which the event has made.
func (s *TaskService) acceptedLater(e *task.Event, version int64) *taskv1.Task {
	m := accepted(e, s.cfg.Names)
	m.State, m.ScheduleTime, m.ScheduleId = taskv1.TaskState_TASK_STATE_SCHEDULED, timestamp(e.ScheduleTime), e.Head.ScheduleID
	m.Etag = etagOf(version)
	return m
}

// wakeLater has the loop that publishes know of a task that is due at a time.
func (s *TaskService) wakeLater(at time.Time) {
	if s.cfg.Later != nil {
		s.cfg.Later(at)
	}
}

// knownAs answers a submission for later whose id the store has had before.
func (s *TaskService) knownAs(ctx context.Context, m *broker.TaskMessage) (*taskv1.SubmitTaskResponse, error) {
	t, err := s.cfg.Store.Task(ctx, m.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, conflict(m.ID, "task_id", "the task with this id has ended, and was forgotten")
	}
	if err != nil {
		return nil, notKept(err)
	}
	known, err := s.repeated(&t, m.Type, m.Payload)
	if known == nil && err == nil {
		known = &taskv1.SubmitTaskResponse{Task: taskToProto(&t, s.cfg.Names), AlreadySubmitted: true}
	}
	return known, err
}

// notKept says that the store has not taken a task for later.
func notKept(err error) error {
	return nothingWithoutStore(err, "tasks for later", "keep a task for later")
}

// nothingWithoutStore says that nothing was submitted, because the store has not done
// what who needs it for.
func nothingWithoutStore(err error, who, what string) error {
	switch {
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return rpc.Errorf(codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE,
			"nothing was submitted: the gateway's store, which %s need, does not answer; call again", who).Because(err)
	}
	return rpc.Internal(fmt.Errorf("%s: %w", what, err))
}
