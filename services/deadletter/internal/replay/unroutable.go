package replay

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/deadletter/internal/groups"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// unroutable ends a run whose message no queue has taken, unless an earlier
// publish of it lives. It is noted on the intent, which is not published again: so
// all of this can be repeated, under a copy id that is the intent's own.
func (r *Replayer) unroutable(ctx context.Context, d *store.DeadLetter, m *broker.TaskMessage, i *store.Intent) error {
	id, err := uuid.Parse(i.ID)
	if err != nil {
		return fmt.Errorf("the id of an intent: %w", err)
	}
	m.Copy = task.Copy(id)
	claim, err := r.cfg.Claims.ClaimTaskRun(ctx, &adminv1.ClaimTaskRunRequest{TaskId: m.ID, Run: int32(m.Run), Copy: m.Copy[:]})
	if err != nil {
		return fmt.Errorf("%w: claim the run that has no queue: %w", ErrGateway, err)
	}
	if !claim.Held {
		return r.published(ctx, i)
	}
	failure := unroutableFailure(m.Type)
	if !claim.Ended {
		e := eventOf(m, task.PhaseDeadLettered, telemetry.TraceIDOf(m.Trace))
		e.Failure, e.Cause, e.Decision = failure, task.CauseUnroutable, failure.Message
		if err := r.write(ctx, e); err != nil {
			return err
		}
	}
	if err := r.bury(ctx, d, m, failure); err != nil {
		return err
	}
	r.forget(i.ID)
	return nil
}

// bury stores the run as one that died.
func (r *Replayer) bury(ctx context.Context, d *store.DeadLetter, m *broker.TaskMessage, failure *task.Failure) error {
	a := store.Arrival{
		ID: d.ID, Type: d.Type, Labels: d.Labels, Priority: m.Priority, CreateTime: m.CreateTime, RunTime: m.RunTime,
		Message: *d.Message, Template: d.Template,
		Occurrence: store.Occurrence{
			Run: m.Run, Cause: task.CauseUnroutable, Failure: failure, Decision: failure.Message, DeadTime: time.Now(),
			Reason: rpc.ReasonName(taskv1.ErrorReason_ERROR_REASON_UNROUTABLE), TraceID: telemetry.TraceIDOf(m.Trace),
		},
	}
	groups.Identify(&a)
	a.Notify = r.cfg.Notify(&a)
	if _, err := r.cfg.Store.Put(ctx, []store.Arrival{a}); err != nil {
		return fmt.Errorf("store that no queue took it: %w", err)
	}
	about := telemetry.TaskOfLog{ID: d.ID, Type: d.Type, Run: m.Run}.InSpan(telemetry.SpanOf(m.Trace))
	about.Log(r.log).WarnContext(ctx, "a replay has died: its task type has no queue")
	return nil
}

func unroutableFailure(taskType string) *task.Failure {
	return rpc.Errorf(codes.NotFound, taskv1.ErrorReason_ERROR_REASON_UNROUTABLE,
		"the task type %s has no queue; start a worker that serves it", taskType).Failure()
}
