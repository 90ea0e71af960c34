package admin

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/queues"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const inUseReason = taskv1.ErrorReason_ERROR_REASON_TASK_TYPE_IN_USE

// retirer stands for the registry: what it is asked, and what it answers.
type retirer struct {
	requests []store.Retirement
	missing  bool
	err      error
	// meanwhile runs before it asks whether all is free.
	meanwhile func()
}

func (r *retirer) Retire(ctx context.Context, retirement store.Retirement, free func(context.Context) error) (bool, error) {
	r.requests = append(r.requests, retirement)
	if r.meanwhile != nil {
		r.meanwhile()
	}
	if err := free(ctx); err != nil {
		return true, err
	}
	return !r.missing, r.err
}

type retiring struct {
	*timekeeper
	*steered
	retirer
}

func newRetiring(t testing.TB) *retiring {
	t.Helper()
	r := &retiring{timekeeper: newTimekeeper(t), steered: &steered{states: []queues.State{{}}}}
	r.cfg.Control, r.cfg.Queues, r.cfg.Retirer = r.steered, r.steered, &r.retirer
	return r
}

func (r *retiring) retire(t testing.TB, edits ...func(*adminv1.RetireTaskTypeRequest)) error {
	t.Helper()
	request := &adminv1.RetireTaskTypeRequest{Name: "demo.v1.FaultService/Delay", Reason: "nobody needs it"}
	for _, edit := range edits {
		edit(request)
	}
	_, err := r.RetireTaskType(t.Context(), request)
	return err
}

// left is what an answer says is left.
func left(t testing.TB, err error) map[string]string {
	t.Helper()
	requireReason(t, err, codes.FailedPrecondition, inUseReason)
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.Metadata
		}
	}
	return nil
}

func (r *retiring) apply(t testing.TB, phase task.Phase) {
	t.Helper()
	_, err := r.store.Apply(t.Context(), []task.Event{{
		TaskID: task.NewID(), Type: typeDelay, Time: time.Now(), NextAttempt: 1, NextAttemptTime: time.Now(), Cause: task.CausePermanentFailure,
		Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: phase, Copy: task.NewCopy()},
	}})
	require.NoError(t, err)
}

func TestATypeThatIsInUseIsNotRetired(t *testing.T) {
	t.Parallel()
	r := newRetiring(t)
	r.workers = append(r.workers,
		workerOf(1, adminv1.WorkerState_WORKER_STATE_LIVE, typeDelay), workerOf(2, adminv1.WorkerState_WORKER_STATE_SILENT, typeDelay),
		workerOf(3, adminv1.WorkerState_WORKER_STATE_GONE, typeDelay), workerOf(4, adminv1.WorkerState_WORKER_STATE_LIVE, "demo.v1.FaultService.Fail"))
	r.states = []queues.State{{WorkState: broker.WorkState{Ready: 3, Consumers: 1}}}
	for phase, n := range map[task.Phase]int{
		task.PhaseQueued: 1, task.PhaseStarted: 2, task.PhaseRetrying: 3, task.PhaseDeadLettered: 4, task.PhaseSucceeded: 5, task.PhaseCancelled: 1,
	} {
		for range n {
			r.apply(t, phase)
		}
	}
	for id, name := range map[string]string{"hourly": "demo.v1.FaultService/Delay", "other": "demo.v1.FaultService.Fail"} {
		_, err := r.CreateSchedule(t.Context(), &adminv1.CreateScheduleRequest{Schedule: &adminv1.Schedule{
			ScheduleId: id, When: &adminv1.Schedule_Interval{Interval: durationpb.New(time.Hour)}, Task: &taskv1.SubmitTaskRequest{Type: name},
		}})
		require.NoError(t, err)
	}
	err := r.retire(t)
	require.Equal(t, map[string]string{
		"workers": "2", "messages": "3", "consumers": "1", "queued": "1", "running": "2", "retrying": "3", "dead_lettered": "4", "schedules": "1",
	}, left(t, err))
	for _, text := range []string{workerID(1), workerID(2), "hourly", "stop them", "PurgeQueue", "ignore_dead_letters"} {
		require.Contains(t, err.Error(), text)
	}
	require.NotContains(t, err.Error(), workerID(3))
	require.Empty(t, r.requests, "nothing was done")
	require.NotContains(t, left(t, r.retire(t, func(q *adminv1.RetireTaskTypeRequest) { q.IgnoreDeadLetters = true })), "dead_lettered")
}

func TestATypeOfWhichNothingIsLeftIsRetired(t *testing.T) {
	t.Parallel()
	r := newRetiring(t)
	_, err := r.UpdateTaskType(t.Context(), update(timeout(time.Minute), "timeout"))
	require.NoError(t, err)
	r.apply(t, task.PhaseSucceeded)
	r.apply(t, task.PhaseDeadLettered)
	ignore := func(q *adminv1.RetireTaskTypeRequest) { q.IgnoreDeadLetters = true }
	require.NoError(t, r.retire(t, ignore, func(q *adminv1.RetireTaskTypeRequest) { q.ValidateOnly = true }))
	require.Empty(t, r.requests)
	requireReason(t, r.retire(t, ignore, func(q *adminv1.RetireTaskTypeRequest) { q.Etag = "0" }), codes.Aborted, mismatch)
	require.NoError(t, r.retire(t, ignore, func(q *adminv1.RetireTaskTypeRequest) { q.Etag = "1" }))
	require.Len(t, r.requests, 1)
	require.Equal(t, typeDelay, r.requests[0].TaskType)
	require.EqualValues(t, 1, r.requests[0].Version)
	require.Equal(t, "nobody needs it", r.requests[0].Reason)
	require.WithinDuration(t, time.Now(), r.requests[0].Time, time.Minute)
}

func TestWhatComesInWhileATypeIsRetired(t *testing.T) {
	t.Parallel()
	r := newRetiring(t)
	r.meanwhile = func() { r.apply(t, task.PhaseQueued) }
	require.Equal(t, map[string]string{"queued": "1"}, left(t, r.retire(t)))
}

func TestARetirementThatFails(t *testing.T) {
	t.Parallel()
	r := newRetiring(t)
	for _, c := range []struct {
		err    error
		code   codes.Code
		reason taskv1.ErrorReason
	}{
		{fmt.Errorf("delete the queue: %w", broker.ErrInUse), codes.FailedPrecondition, inUseReason},
		{fmt.Errorf("put: %w", store.ErrInUse), codes.FailedPrecondition, inUseReason},
		{fmt.Errorf("put: %w", store.ErrChanged), codes.Aborted, mismatch},
		{fmt.Errorf("put: %w", store.ErrUnavailable), codes.Unavailable, unavailable},
		{errors.New("the connection is lost"), codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_QUEUE_UNAVAILABLE},
	} {
		r.retirer.err = c.err
		requireReason(t, r.retire(t), c.code, c.reason)
	}
	r.retirer.err, r.missing = nil, true
	requireReason(t, r.retire(t), codes.Aborted, mismatch)
	requireReason(t, r.retire(t, func(q *adminv1.RetireTaskTypeRequest) { q.Name = "a.v1.B.C" }), codes.NotFound, notFound)

	r.queueErr = errors.New("no connection")
	requireReason(t, r.retire(t), codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_QUEUE_UNAVAILABLE)
	r.queueErr = nil
	r.down = store.ErrUnavailable
	requireReason(t, r.retire(t), codes.Unavailable, unavailable)
	r.down = nil
	r.catchUp = projection.ErrBehind
	requireReason(t, r.retire(t), codes.Unavailable, behind)
	r.unloaded = true
	requireReason(t, r.retire(t), codes.Unavailable, unavailable)
}
