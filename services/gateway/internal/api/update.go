package api

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// maxRaces is how often an update without an etag is applied anew to what a task has
// become meanwhile.
const maxRaces = 5

// etagOf is the etag of a task with a version.
func etagOf(version int64) string { return strconv.FormatInt(version, 10) }

// UpdateTask implements warren.task.v1.TaskService.
func (s *TaskService) UpdateTask(ctx context.Context, r *taskv1.UpdateTaskRequest) (*taskv1.UpdateTaskResponse, error) {
	paths, err := updatePaths(r.UpdateMask)
	if err != nil {
		return nil, err
	}
	u := update{etag: r.Etag, reason: r.Reason, labelsOnly: !slices.ContainsFunc(paths, func(p string) bool { return p != pathLabels })}
	u.change = func(m *broker.TaskMessage, at *time.Time) error { return s.applyUpdate(r.GetUpdate(), paths, m, at) }
	t, err := s.update(ctx, r.TaskId, u)
	if err != nil {
		return nil, err
	}
	return &taskv1.UpdateTaskResponse{Task: s.basic(&t)}, nil
}

// RunTaskNow implements warren.task.v1.TaskService. Of a task whose time has come
// already there is nothing to change.
func (s *TaskService) RunTaskNow(ctx context.Context, r *taskv1.RunTaskNowRequest) (*taskv1.RunTaskNowResponse, error) {
	u := update{reason: r.Reason, unlessDue: true}
	u.change = func(m *broker.TaskMessage, at *time.Time) error {
		was := *at
		*at = s.now()
		s.shiftExpiry(m, was, *at)
		return nil
	}
	t, err := s.update(ctx, r.TaskId, u)
	if err != nil {
		return nil, err
	}
	return &taskv1.RunTaskNowResponse{Task: s.basic(&t)}, nil
}

// now is the time by which tasks for later are due, as the store keeps it.
func (s *TaskService) now() time.Time { return s.cfg.Clock().UTC().Truncate(time.Microsecond) }

// update is a change of a task.
type update struct {
	etag, reason string
	// labelsOnly says that it may come when the task waits for its time no more;
	// unlessDue that there is nothing to change once the time has come.
	labelsOnly, unlessDue bool
	// change changes the task's message, and when it is due.
	change func(m *broker.TaskMessage, at *time.Time) error
}

// update changes a task and gives it as it is then. Somebody else's change in between
// is taken into account, or with an etag ends it.
func (s *TaskService) update(ctx context.Context, id string, u update) (task.Task, error) {
	for race := 1; ; race++ {
		t, err := s.read(ctx, id)
		if err != nil {
			return t, err
		}
		if err := u.allowed(&t); err != nil {
			return t, err
		}
		if u.unlessDue && !t.ScheduleTime.After(s.now()) {
			return t, nil
		}
		err = s.updateOnce(ctx, &t, u)
		switch {
		case err == nil:
			t, err = s.cfg.Store.Task(ctx, id)
			return t, readError(err)
		case !errors.Is(err, store.ErrChanged) && !errors.Is(err, store.ErrNotFound):
			return t, updateError(err)
		case errors.Is(err, store.ErrNotFound) && s.cfg.Projection.CatchUp(ctx) != nil:
			// It is in its queue, and the store does not know it yet.
			return t, wrongState(&t, onItsWay)
		case race == maxRaces:
			return t, rpc.Errorf(codes.Aborted, taskv1.ErrorReason_ERROR_REASON_ETAG_MISMATCH,
				"nothing was changed: the task %s is changing all the time; call again", t.ID).Because(err)
		}
	}
}

// allowed says why a task can't be changed as it is.
func (u *update) allowed(t *task.Task) error {
	switch {
	case u.etag != "" && u.etag != etagOf(t.Version):
		return rpc.Errorf(codes.Aborted, taskv1.ErrorReason_ERROR_REASON_ETAG_MISMATCH,
			"nothing was changed: the task %s has changed since its etag was %q: read it again, and update it with its etag then", t.ID, valid(u.etag))
	case t.State.Terminal():
		return wrongState(t, "the task %s has ended: it is %s")
	case t.State != task.StateScheduled && !u.labelsOnly:
		return wrongState(t, "the task %s waits for its time no more, it is %s: only its labels can be changed; or cancel it")
	}
	return nil
}

func wrongState(t *task.Task, format string) error {
	return rpc.Errorf(codes.FailedPrecondition, taskv1.ErrorReason_ERROR_REASON_TASK_STATE, "nothing was changed: "+format, t.ID, t.State).
		With("state", t.State.String())
}

// updateOnce applies a change to a task as it was read. Errors: an answer,
// [store.ErrChanged] and [store.ErrNotFound] if it is another one by now.
func (s *TaskService) updateOnce(ctx context.Context, t *task.Task, u update) error {
	at := t.ScheduleTime
	if t.State != task.StateScheduled {
		m := standIn(t)
		if err := u.change(m, &at); err != nil {
			return err
		}
		return s.putUpdate(ctx, updated(t, m, at, u.reason), t.Version, nil)
	}
	kept, err := s.cfg.Store.ScheduledMessage(ctx, t.ID)
	if err != nil {
		return err
	}
	m, err := broker.DecodeTask(kept)
	if err != nil {
		return err
	}
	if err := u.change(m, &at); err != nil {
		return err
	}
	encoded, err := broker.EncodeTask(m)
	if errors.Is(err, broker.ErrTooLarge) {
		return badField(&policy.FieldError{Field: "update.labels", Problem: "are too large: they do not fit into the task's message with what else it has"})
	}
	if err != nil {
		return err
	}
	err = s.putUpdate(ctx, updated(t, m, at, u.reason), t.Version, encoded)
	if !errors.Is(err, store.ErrChanged) {
		return err
	}
	if now, readErr := s.cfg.Store.Task(ctx, t.ID); readErr == nil && now.Version == t.Version {
		if u.labelsOnly {
			// Its message can't be changed any more, what is shown of its labels can.
			return s.putUpdate(ctx, updated(t, m, at, u.reason), t.Version, nil)
		}
		return wrongState(t, onItsWay)
	}
	return err
}

// onItsWay is said of a task that is leased to who publishes it.
const onItsWay = "the task %s is being put into its queue, though it is still %s"

// standIn has what a task shows of its message.
func standIn(t *task.Task) *broker.TaskMessage {
	return &broker.TaskMessage{ID: t.ID, Type: t.Type, Priority: t.Priority, Labels: t.Labels, ExpireTime: t.ExpireTime}
}

// updated is the event that tells of a change of a task.
func updated(t *task.Task, m *broker.TaskMessage, at time.Time, reason string) *task.Event {
	return &task.Event{
		TaskID: t.ID, Type: t.Type, Time: time.Now().UTC().Truncate(time.Microsecond), ScheduleTime: at, Reason: reason,
		Key: task.Key{Run: t.Run, Attempt: max(1, t.Attempt), Phase: task.PhaseUpdated, Sequence: t.UpdateSequence + 1},
		Head: &task.Head{
			CreateTime: t.CreateTime, Priority: m.Priority, Labels: m.Labels, TraceID: t.TraceID, ExpireTime: m.ExpireTime, ScheduleID: t.ScheduleID,
		},
	}
}

// putUpdate stores a change, and wakes those whom it concerns.
func (s *TaskService) putUpdate(ctx context.Context, e *task.Event, version int64, message []byte) error {
	c, err := s.cfg.Store.Update(ctx, version, *e, message)
	if err != nil {
		return err
	}
	s.cfg.Hub.Wake(c.TaskID)
	if message != nil {
		s.wakeLater(e.ScheduleTime)
	}
	return nil
}

// updateError makes an answer of what an update came to.
func updateError(err error) error {
	var answer *rpc.Error
	if errors.As(err, &answer) {
		return answer
	}
	return readError(err)
}
