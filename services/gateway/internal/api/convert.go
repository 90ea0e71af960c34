package api

import (
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
)

// This file is where the domain meets the public API.

func taskToProto(t *task.Task) *taskv1.Task {
	return &taskv1.Task{
		TaskId: t.ID, Type: t.Type, State: taskv1.TaskState(t.State), Run: int32(t.Run), Attempt: int32(t.Attempt),
		Priority: taskv1.Priority(t.Priority), Labels: t.Labels,
		CreateTime: timestamp(t.CreateTime), StartTime: timestamp(t.StartTime), EndTime: timestamp(t.EndTime), UpdateTime: timestamp(t.UpdateTime),
		Version: t.Version, ResumeToken: resumeToken(t.ID, t.Version),
		PayloadSize: t.PayloadSize, PayloadSha256: t.PayloadSHA256, PayloadOmitted: t.PayloadOmitted, ResultSize: t.ResultSize,
		Failure: broker.FailureToProto(t.Failure), Cause: taskv1.Cause(t.Cause), Progress: progressToProto(t), TraceId: t.TraceID,
		NextAttemptTime: timestamp(t.NextAttemptTime), ExpireTime: timestamp(t.ExpireTime),
	}
}

func progressToProto(t *task.Task) *taskv1.Progress {
	if t.Progress == nil {
		return nil
	}
	p := &taskv1.Progress{
		Message: t.Progress.Message, Time: timestamp(t.Progress.Time),
		Run: int32(t.ProgressKey.Run), Attempt: int32(t.ProgressKey.Attempt),
	}
	if t.Progress.Fraction >= 0 {
		p.Fraction = &t.Progress.Fraction
	}
	return p
}

var eventKinds = map[task.Phase]taskv1.EventKind{
	task.PhaseQueued:       taskv1.EventKind_EVENT_KIND_QUEUED,
	task.PhaseStarted:      taskv1.EventKind_EVENT_KIND_STARTED,
	task.PhaseMessage:      taskv1.EventKind_EVENT_KIND_MESSAGE,
	task.PhaseRetrying:     taskv1.EventKind_EVENT_KIND_RETRYING,
	task.PhaseReleased:     taskv1.EventKind_EVENT_KIND_RELEASED,
	task.PhaseLost:         taskv1.EventKind_EVENT_KIND_LOST,
	task.PhaseDeadLettered: taskv1.EventKind_EVENT_KIND_DEAD_LETTERED,
	task.PhaseCancelled:    taskv1.EventKind_EVENT_KIND_CANCELLED,
	task.PhaseSucceeded:    taskv1.EventKind_EVENT_KIND_SUCCEEDED,
}

func eventToProto(e *task.NumberedEvent) *taskv1.TaskEvent {
	m := &taskv1.TaskEvent{
		Number: e.Number, Time: timestamp(e.Time), Kind: eventKinds[e.Key.Phase], State: taskv1.TaskState(e.State),
		Run: int32(e.Key.Run), Attempt: int32(e.Key.Attempt), WorkerId: e.WorkerID,
		Failure: broker.FailureToProto(e.Failure), Cause: taskv1.Cause(e.Cause), Correction: e.Correction,
		NextAttemptTime: timestamp(e.NextAttemptTime), Decision: e.Decision,
	}
	if e.Key.Phase == task.PhaseMessage {
		m.MessageNumber = e.Key.Sequence
	}
	return m
}

func attemptToProto(r *task.Record) *taskv1.TaskAttempt {
	return &taskv1.TaskAttempt{
		Run: int32(r.Key.Run), Attempt: int32(r.Key.Attempt), Delivery: r.Key.Delivery,
		WorkerId: r.WorkerID, WorkerVersion: r.Version, WorkerHost: r.Host,
		StartTime: timestamp(r.StartTime), EndTime: timestamp(r.EndTime),
		Outcome: taskv1.AttemptOutcome(r.Outcome), Failure: broker.FailureToProto(r.Failure), Extra: r.Extra,
		Decision: r.Decision, NextAttemptTime: timestamp(r.NextAttemptTime), Alone: r.Alone,
	}
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func anyOf(md protoreflect.MessageDescriptor, body []byte) *anypb.Any {
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(md.FullName()), Value: body}
}
