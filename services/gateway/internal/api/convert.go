package api

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
)

// This file is where the domain meets the public API.

// taskToProto is the BASIC view of a task.
func taskToProto(t *task.Task, names broker.Names) *taskv1.Task {
	return &taskv1.Task{
		TaskId: t.ID, Type: t.Type, State: taskv1.TaskState(t.State), Run: int32(t.Run), Attempt: int32(t.Attempt),
		Priority: taskv1.Priority(t.Priority), Labels: t.Labels,
		CreateTime: timestamp(t.CreateTime), StartTime: timestamp(t.StartTime), EndTime: timestamp(t.EndTime), UpdateTime: timestamp(t.UpdateTime),
		Version: t.Version, ResumeToken: resumeToken(t.ID, t.Version),
		PayloadSize: t.PayloadSize, PayloadSha256: t.PayloadSHA256, PayloadOmitted: t.PayloadOmitted, ResultSize: t.ResultSize,
		Failure: broker.FailureToProto(t.Failure), Cause: taskv1.Cause(t.Cause), Progress: progressToProto(t), TraceId: t.TraceID,
		NextAttemptTime: timestamp(t.NextAttemptTime), ExpireTime: timestamp(t.ExpireTime),
		ScheduleTime: timestamp(t.ScheduleTime), ScheduleId: t.ScheduleID, CancelReason: t.CancelReason,
		Queue: names.Work(t.Type), Etag: etagOf(t.Version),
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
	task.PhaseScheduled:    taskv1.EventKind_EVENT_KIND_SCHEDULED,
	task.PhaseUpdated:      taskv1.EventKind_EVENT_KIND_UPDATED,
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

// eventToProto is the BASIC view of an event.
func eventToProto(e *task.NumberedEvent) *taskv1.TaskEvent {
	m := &taskv1.TaskEvent{
		Number: e.Number, Time: timestamp(e.Time), Kind: eventKinds[e.Key.Phase], State: taskv1.TaskState(e.State),
		Run: int32(e.Key.Run), Attempt: int32(e.Key.Attempt), WorkerId: e.WorkerID,
		Failure: broker.FailureToProto(e.Failure), Cause: taskv1.Cause(e.Cause), Correction: e.Correction,
		NextAttemptTime: timestamp(e.NextAttemptTime), Decision: e.Decision,
		ScheduleTime: timestamp(e.ScheduleTime), Reason: e.Reason,
	}
	if e.Key.Phase == task.PhaseMessage {
		m.MessageNumber = e.Key.Sequence
	}
	if x := e.Execution; x != nil {
		m.TraceId, m.SpanId = x.Span.Trace(), x.Span.ID()
	}
	return m
}

// addFull adds what the FULL view of an event has besides. It needs the event's
// body, and what the messages of its task are.
func addFull(m *taskv1.TaskEvent, e *task.NumberedEvent, output protoreflect.MessageDescriptor) {
	switch e.Key.Phase {
	case task.PhaseMessage:
		m.Message = anyOf(output, e.Message)
	case task.PhaseSucceeded:
		m.Result = anyOf(output, e.Message)
	}
	m.ResponseHeaders, m.ResponseTrailers = metadataToProto(e.Headers), metadataToProto(e.Trailers)
}

func attemptToProto(r *task.Record) *taskv1.TaskAttempt {
	return &taskv1.TaskAttempt{
		Run: int32(r.Key.Run), Attempt: int32(r.Key.Attempt), Delivery: r.Key.Delivery,
		WorkerId: r.WorkerID, WorkerVersion: r.Version, WorkerHost: r.Host,
		StartTime: timestamp(r.StartTime), EndTime: timestamp(r.EndTime),
		Outcome: taskv1.AttemptOutcome(r.Outcome), Failure: broker.FailureToProto(r.Failure), Extra: r.Extra,
		Decision: r.Decision, NextAttemptTime: timestamp(r.NextAttemptTime), Alone: r.Alone,
		ResponseHeaders: metadataToProto(r.Headers), ResponseTrailers: metadataToProto(r.Trailers),
		TraceId: r.Span.Trace(), SpanId: r.Span.ID(),
	}
}

// binarySuffix ends the keys of metadata whose values are raw bytes.
const binarySuffix = "-bin"

// metadataToProto gives metadata in the order of its keys.
func metadataToProto(md task.Metadata) []*taskv1.MetadataEntry {
	if len(md) == 0 {
		return nil
	}
	out := make([]*taskv1.MetadataEntry, 0, len(md))
	for _, key := range slices.Sorted(maps.Keys(md)) {
		shown := valid
		if strings.HasSuffix(key, binarySuffix) {
			shown = base64OnTheWire
		}
		entry := &taskv1.MetadataEntry{Key: valid(key), Values: make([]string, len(md[key]))}
		for i, v := range md[key] {
			entry.Values[i] = shown(v)
		}
		out = append(out, entry)
	}
	return out
}

// base64OnTheWire is how gRPC asks for binary values to be sent: in standard
// base64 without padding. See "Binary-Header" in
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
func base64OnTheWire(raw string) string { return base64.RawStdEncoding.EncodeToString([]byte(raw)) }

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func anyOf(md protoreflect.MessageDescriptor, body []byte) *anypb.Any {
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(md.FullName()), Value: body}
}
