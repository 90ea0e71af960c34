package api

import (
	"time"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	deadletterv1 "github.com/warrenmq/warren/gen/warren/deadletter/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// This file is where the domain meets the public API.

// deadLetterToProto is the BASIC view.
func deadLetterToProto(d *store.DeadLetter) *deadletterv1.DeadLetter {
	m := &deadletterv1.DeadLetter{
		DeadLetterId: d.ID, State: deadletterv1.DeadLetterState(d.State), TaskId: d.TaskID(), Type: d.Type,
		Cause: taskv1.Cause(d.Cause), Failure: broker.FailureToProto(d.Failure), Reason: d.Reason, Decision: d.Decision,
		Run: int32(d.Run), Attempt: int32(d.Attempt), WorkerId: d.WorkerID, Labels: d.Labels, TraceId: d.TraceID,
		CreateTime: timestamp(d.CreateTime), FirstDeadTime: timestamp(d.FirstDeadTime), DeadTime: timestamp(d.DeadTime), UpdateTime: timestamp(d.UpdateTime),
		OccurrenceCount: int32(d.OccurrenceCount), PayloadSize: d.PayloadSize, Etag: d.Etag, Queue: d.Queue, OperatorReason: d.OperatorReason,
		GroupId: d.GroupID, WorkerVersion: d.WorkerVersion, ReplayCount: int32(d.ReplayCount), ReplayId: d.ReplayID, Held: d.OnHold,
		PayloadRevision: int32(d.Revision),
	}
	if m.Failure != nil {
		m.Failure.Details = nil
	}
	return m
}

// addFull adds what the FULL view has besides, but for the payload.
func addFull(m *deadletterv1.DeadLetter, d *store.DeadLetter) {
	m.Failure = broker.FailureToProto(d.Failure)
	for i := range d.Occurrences {
		m.Occurrences = append(m.Occurrences, occurrenceToProto(&d.Occurrences[i]))
	}
	x := d.Message
	m.Message = &deadletterv1.DeadMessage{
		Body: x.Body, Properties: x.Properties, Headers: x.Headers, Queue: x.Queue, Exchange: x.Exchange, RoutingKeys: x.RoutingKeys,
	}
}

func occurrenceToProto(o *store.Occurrence) *deadletterv1.Occurrence {
	m := &deadletterv1.Occurrence{
		Run: int32(o.Run), Cause: taskv1.Cause(o.Cause), Failure: broker.FailureToProto(o.Failure), Decision: o.Decision,
		DeadTime: timestamp(o.DeadTime), AttemptsOmitted: int32(o.AttemptsOmitted), TraceId: o.TraceID, BrokerReason: o.BrokerReason,
	}
	for i := range o.Attempts {
		m.Attempts = append(m.Attempts, attemptToProto(&o.Attempts[i]))
	}
	return m
}

func attemptToProto(r *task.Record) *taskv1.TaskAttempt {
	return &taskv1.TaskAttempt{
		Run: int32(r.Key.Run), Attempt: int32(r.Key.Attempt), Delivery: r.Key.Delivery,
		WorkerId: r.WorkerID, WorkerVersion: r.Version, WorkerHost: r.Host,
		StartTime: timestamp(r.StartTime), EndTime: timestamp(r.EndTime), NextAttemptTime: timestamp(r.NextAttemptTime),
		Outcome: taskv1.AttemptOutcome(r.Outcome), Failure: broker.FailureToProto(r.Failure), Decision: r.Decision,
		Extra: r.Extra, Alone: r.Alone, TraceId: r.Span.Trace(), SpanId: r.Span.ID(),
	}
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func anyOf(message string, body []byte) *anypb.Any {
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + message, Value: body}
}
