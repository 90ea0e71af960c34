package api

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

func TestEveryStateHasItsName(t *testing.T) {
	t.Parallel()
	seen := map[taskv1.TaskState]bool{taskv1.TaskState_TASK_STATE_UNSPECIFIED: true}
	for s := task.StateScheduled; s <= task.StateDeadLettered; s++ {
		m := taskToProto(&task.Task{ID: task.NewID(), State: s}, names)
		require.Equal(t, "TASK_STATE_"+s.String(), m.State.String())
		e := eventToProto(&task.NumberedEvent{Applied: task.Applied{State: s}})
		require.Equal(t, m.State, e.State)
		seen[m.State] = true
	}
	require.Len(t, seen, len(taskv1.TaskState_name), "every state of the API is one of the domain's")
}

func TestEveryPhaseHasItsKind(t *testing.T) {
	t.Parallel()
	names := map[task.Phase]string{
		task.PhaseQueued: "QUEUED", task.PhaseStarted: "STARTED", task.PhaseMessage: "MESSAGE", task.PhaseReleased: "RELEASED",
		task.PhaseScheduled: "SCHEDULED", task.PhaseUpdated: "UPDATED", task.PhaseRetrying: "RETRYING", task.PhaseLost: "LOST", task.PhaseDeadLettered: "DEAD_LETTERED", task.PhaseCancelled: "CANCELLED", task.PhaseSucceeded: "SUCCEEDED",
	}
	kinds := map[taskv1.EventKind]bool{taskv1.EventKind_EVENT_KIND_UNSPECIFIED: true}
	for p := range task.Phase(100) {
		if !p.Valid() || p == task.PhaseProgress {
			continue // Progress is no event of the history.
		}
		m := eventToProto(&task.NumberedEvent{Event: task.Event{Key: task.Key{Phase: p}}})
		require.Equal(t, "EVENT_KIND_"+names[p], m.Kind.String(), "phase %d", p)
		kinds[m.Kind] = true
	}
	require.Len(t, kinds, len(taskv1.EventKind_name))
}

func TestEveryCauseHasItsName(t *testing.T) {
	t.Parallel()
	seen := map[taskv1.Cause]bool{}
	for c := range task.Cause(len(taskv1.Cause_name)) {
		m := taskToProto(&task.Task{ID: task.NewID(), Cause: c}, names)
		require.Equal(t, "CAUSE_"+c.String(), m.Cause.String())
		require.Equal(t, m.Cause, eventToProto(&task.NumberedEvent{Event: task.Event{Cause: c}}).Cause)
		seen[m.Cause] = true
	}
	require.Len(t, seen, len(taskv1.Cause_name))
	require.Equal(t, "UNSPECIFIED", task.Cause(len(taskv1.Cause_name)).String(), "the domain has no more")
}

func TestEveryOutcomeHasItsName(t *testing.T) {
	t.Parallel()
	seen := map[taskv1.AttemptOutcome]bool{taskv1.AttemptOutcome_ATTEMPT_OUTCOME_UNSPECIFIED: true}
	for o, name := range map[task.Outcome]string{
		task.OutcomeRunning: "RUNNING", task.OutcomeSucceeded: "SUCCEEDED", task.OutcomeFailed: "FAILED",
		task.OutcomeCancelled: "CANCELLED", task.OutcomeReleased: "RELEASED", task.OutcomeLost: "LOST",
		task.OutcomeSnoozed: "SNOOZED", task.OutcomeTimedOut: "TIMED_OUT", task.OutcomePanicked: "PANICKED", task.OutcomeCrashed: "CRASHED",
	} {
		m := attemptToProto(&task.Record{Outcome: o})
		require.Equal(t, "ATTEMPT_OUTCOME_"+name, m.Outcome.String())
		seen[m.Outcome] = true
	}
	require.Len(t, seen, len(taskv1.AttemptOutcome_name))
}

func TestEveryPriorityHasItsName(t *testing.T) {
	t.Parallel()
	for p, name := range map[int]string{
		task.PriorityLow: "LOW", task.PriorityNormal: "NORMAL", task.PriorityHigh: "HIGH", task.PriorityCritical: "CRITICAL",
	} {
		require.Equal(t, "PRIORITY_"+name, taskToProto(&task.Task{ID: task.NewID(), Priority: p}, names).Priority.String())
	}
	require.EqualValues(t, 7, taskToProto(&task.Task{ID: task.NewID(), Priority: 7}, names).Priority)
}

func TestTaskToProto(t *testing.T) {
	t.Parallel()
	id := task.NewID()
	at := func(second int64) time.Time { return time.Unix(second, 0).UTC() }
	failure := &task.Failure{Code: 13, Message: "m", Stack: "s", Details: []task.Detail{{TypeURL: "t", Value: []byte{1}}}}
	got := taskToProto(&task.Task{
		ID: id, Type: "a.v1.A.B", State: task.StateDeadLettered, Run: 2, Attempt: 3, Priority: 6, Labels: map[string]string{"k": "v"}, TraceID: "trace",
		CreateTime: at(1), StartTime: at(2), EndTime: at(3), UpdateTime: at(4), Version: 9, PayloadNumber: 1, PayloadSize: 10, PayloadSHA256: []byte{7},
		PayloadOmitted: true, ResultNumber: 8, ResultSize: 11, Failure: failure, Cause: task.CausePermanentFailure,
		Progress: &task.ProgressReport{Fraction: 0, Message: "p", Time: at(5)}, ProgressKey: task.Key{Run: 2, Attempt: 1},
		NextAttemptTime: at(6), ExpireTime: at(7), ScheduleTime: at(8), ScheduleID: "nightly", CancelReason: "a mistake",
	}, names)
	// Every field is filled, but those of the FULL view alone and the cancellation that
	// the service adds.
	fields := got.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		full := slices.Contains([]protoreflect.Name{"payload", "result", "response_headers", "response_trailers", "cancel_request"}, f.Name())
		require.Equal(t, !full, got.ProtoReflect().Has(f), f.Name())
	}
	require.Equal(t, id, got.TaskId)
	require.Equal(t, "warren.work.a.v1.A.B", got.Queue)
	require.Equal(t, etagOf(9), got.Etag)
	require.Equal(t, "nightly", got.ScheduleId)
	require.Equal(t, "a mistake", got.CancelReason)
	require.Equal(t, []int64{1, 2, 3, 4, 6, 7, 8}, []int64{
		got.CreateTime.Seconds, got.StartTime.Seconds, got.EndTime.Seconds, got.UpdateTime.Seconds,
		got.NextAttemptTime.Seconds, got.ExpireTime.Seconds, got.ScheduleTime.Seconds,
	})
	require.EqualValues(t, 2, got.Run)
	require.EqualValues(t, 3, got.Attempt)
	require.EqualValues(t, 10, got.PayloadSize)
	require.EqualValues(t, 11, got.ResultSize)
	require.EqualValues(t, 13, got.Failure.Code)
	require.Equal(t, "t", got.Failure.Details[0].TypeUrl)
	number, err := parseResumeToken(id, got.ResumeToken)
	require.NoError(t, err)
	require.EqualValues(t, 9, number, "the token goes on after the version")
	require.NotNil(t, got.Progress.Fraction, "0 is known, not unknown")
	require.EqualValues(t, 1, got.Progress.Attempt)

	bare := taskToProto(&task.Task{ID: id, Progress: &task.ProgressReport{Fraction: -1}}, names)
	require.Nil(t, bare.Progress.Fraction)
	require.Nil(t, bare.CreateTime)
	require.Nil(t, bare.NextAttemptTime)
	require.Nil(t, bare.ExpireTime)
	require.Nil(t, bare.Failure)
	require.Nil(t, taskToProto(&task.Task{ID: id}, names).Progress)
}

func TestEventToProto(t *testing.T) {
	t.Parallel()
	e := task.NumberedEvent{
		Event: task.Event{
			Time: time.Unix(5, 0), WorkerID: "w", Message: []byte("body"), Failure: &task.Failure{Code: 5}, Cause: task.CauseUndecodable,
			Key: task.Key{Run: 2, Attempt: 3, Delivery: 4, Phase: task.PhaseMessage, Sequence: 6},
		},
		Applied: task.Applied{Number: 7, State: task.StateRunning, Correction: true},
	}
	require.True(t, proto.Equal(&taskv1.TaskEvent{
		Number: 7, Time: timestamppb.New(e.Time), Kind: taskv1.EventKind_EVENT_KIND_MESSAGE, State: taskv1.TaskState_TASK_STATE_RUNNING, Run: 2, Attempt: 3,
		WorkerId: "w", MessageNumber: 6, Failure: &taskv1.Failure{Code: 5}, Cause: taskv1.Cause_CAUSE_UNDECODABLE, Correction: true,
	}, eventToProto(&e)))
	e.Key.Phase = task.PhaseStarted
	require.Zero(t, eventToProto(&e).MessageNumber, "of messages alone")

	e.Key.Phase, e.NextAttempt, e.NextAttemptTime, e.Decision = task.PhaseRetrying, 4, time.Unix(9, 0), "attempt 3 of 5"
	got := eventToProto(&e)
	require.Equal(t, taskv1.EventKind_EVENT_KIND_RETRYING, got.Kind)
	require.EqualValues(t, 9, got.NextAttemptTime.Seconds)
	require.Equal(t, "attempt 3 of 5", got.Decision)
	require.EqualValues(t, 5, got.Failure.Code)

	for phase, kind := range map[task.Phase]taskv1.EventKind{
		task.PhaseScheduled: taskv1.EventKind_EVENT_KIND_SCHEDULED, task.PhaseUpdated: taskv1.EventKind_EVENT_KIND_UPDATED,
		task.PhaseCancelled: taskv1.EventKind_EVENT_KIND_CANCELLED,
	} {
		e.Key.Phase, e.ScheduleTime, e.Reason = phase, time.Unix(11, 0), "a mistake"
		got = eventToProto(&e)
		require.Equal(t, kind, got.Kind)
		require.EqualValues(t, 11, got.ScheduleTime.Seconds)
		require.Equal(t, "a mistake", got.Reason)
	}
}

func TestAttemptToProto(t *testing.T) {
	t.Parallel()
	r := task.Record{
		Key: task.Key{Run: 2, Attempt: 3, Delivery: 4}, WorkerID: "w", Execution: task.Execution{Host: "h", Version: "v"},
		StartTime: time.Unix(1, 0), EndTime: time.Unix(2, 0), Outcome: task.OutcomeFailed, Failure: &task.Failure{Code: 5}, Extra: true,
		Decision: "next in 3.4 s", NextAttemptTime: time.Unix(3, 0),
	}
	r.Alone, r.Headers, r.Trailers = true, task.Metadata{"h": {"1"}}, task.Metadata{"t": {"2"}}
	got := attemptToProto(&r)
	require.True(t, proto.Equal(&taskv1.TaskAttempt{
		Run: 2, Attempt: 3, Delivery: 4, WorkerId: "w", WorkerHost: "h", WorkerVersion: "v", StartTime: timestamppb.New(r.StartTime),
		EndTime: timestamppb.New(r.EndTime), Outcome: taskv1.AttemptOutcome_ATTEMPT_OUTCOME_FAILED, Failure: &taskv1.Failure{Code: 5}, Extra: true,
		Decision: "next in 3.4 s", NextAttemptTime: timestamppb.New(r.NextAttemptTime), Alone: true,
		ResponseHeaders:  []*taskv1.MetadataEntry{{Key: "h", Values: []string{"1"}}},
		ResponseTrailers: []*taskv1.MetadataEntry{{Key: "t", Values: []string{"2"}}},
	}, got))
	require.Nil(t, attemptToProto(&task.Record{}).EndTime)
}

func TestMetadataToProto(t *testing.T) {
	t.Parallel()
	got := metadataToProto(task.Metadata{
		"z": {"1", "", "2"}, "a-bin": {"\x00\xff", "\xfb\xff\xfe", ""}, "m": {"no utf-8: \xff."}, "bin": {"text"}, "none": {},
	})
	want := []*taskv1.MetadataEntry{
		// RFC 4648, section 4, without padding.
		{Key: "a-bin", Values: []string{"AP8", "+//+", ""}},
		{Key: "bin", Values: []string{"text"}},
		{Key: "m", Values: []string{"no utf-8: \uFFFD."}},
		{Key: "none"},
		{Key: "z", Values: []string{"1", "", "2"}},
	}
	require.Len(t, got, len(want))
	for i := range want {
		require.True(t, proto.Equal(want[i], got[i]), want[i].Key)
	}
	for _, none := range []task.Metadata{nil, {}} {
		require.Nil(t, metadataToProto(none))
	}
}
