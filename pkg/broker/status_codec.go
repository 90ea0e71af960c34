package broker

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// EncodeEvent encodes a status event.
func EncodeEvent(e *task.Event) ([]byte, error) {
	m, err := eventToProto(e)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(m)
}

func eventToProto(e *task.Event) (*brokerv1.StatusEvent, error) {
	m := &brokerv1.StatusEvent{
		TaskId: e.TaskID, Type: e.Type,
		Copy: e.Key.Copy[:], Run: int32(e.Key.Run), Attempt: int32(e.Key.Attempt), Delivery: e.Key.Delivery,
		Phase: brokerv1.Phase(e.Key.Phase), Sequence: e.Key.Sequence,
		Time: timestamppb.New(e.Time), WorkerId: e.WorkerID, Message: e.Message,
		Failure: FailureToProto(e.Failure), Cause: taskv1.Cause(e.Cause), Decision: utf8(e.Decision),
		NextAttempt: int32(e.NextAttempt), NextAttemptTime: fromTime(e.NextAttemptTime),
		ResponseHeaders: metadataToProto(e.Headers), ResponseTrailers: metadataToProto(e.Trailers),
		ScheduleTime: fromTime(e.ScheduleTime), Reason: utf8(e.Reason),
	}
	if h := e.Head; h != nil {
		trace, err := hex.DecodeString(h.TraceID)
		if err != nil {
			return nil, fmt.Errorf("trace id %q: %w", h.TraceID, err)
		}
		m.Head = &brokerv1.TaskHead{
			CreateTime: timestamppb.New(h.CreateTime), Priority: int32(h.Priority), Labels: h.Labels, TraceId: trace,
			ExpireTime: fromTime(h.ExpireTime), ScheduleId: h.ScheduleID,
		}
	}
	if p := e.Payload; p != nil {
		m.Payload = &brokerv1.StatusPayload{Data: p.Bytes, Size: p.Size, Sha256: p.SHA256, Omitted: p.Omitted}
	}
	if x := e.Execution; x != nil {
		m.Execution = &brokerv1.Execution{Host: x.Host, Version: x.Version, Redelivered: x.Redelivered, Alone: x.Alone}
		m.Execution.TraceId, m.Execution.SpanId = x.Span.Bytes()
	}
	if p := e.Progress; p != nil {
		m.Progress = &taskv1.Progress{Message: p.Message, Time: timestamppb.New(p.Time)}
		if p.Fraction >= 0 {
			m.Progress.Fraction = &p.Fraction
		}
	}
	return m, nil
}

// DecodeEvent decodes a status event and checks that it can be applied.
func DecodeEvent(b []byte) (task.Event, error) {
	var m brokerv1.StatusEvent
	if err := proto.Unmarshal(b, &m); err != nil {
		return task.Event{}, fmt.Errorf("decode a status event: %w", err)
	}
	return eventFromProto(&m)
}

func eventFromProto(m *brokerv1.StatusEvent) (task.Event, error) {
	if len(m.Copy) != len(task.Copy{}) {
		return task.Event{}, errors.New("a status event without a copy id")
	}
	e := task.Event{
		TaskID: m.TaskId, Type: m.Type,
		Key: task.Key{
			Run: int(m.Run), Attempt: int(m.Attempt), Delivery: m.Delivery,
			Phase: task.Phase(m.Phase), Sequence: m.Sequence, Copy: task.Copy(m.Copy),
		},
		Time: asTime(m.Time), WorkerID: m.WorkerId, Message: m.Message,
		Failure: FailureFromProto(m.Failure), Cause: task.Cause(m.Cause), Decision: m.Decision,
		NextAttempt: int(m.NextAttempt), NextAttemptTime: asTime(m.NextAttemptTime),
		Headers: metadataFromProto(m.ResponseHeaders), Trailers: metadataFromProto(m.ResponseTrailers),
		ScheduleTime: asTime(m.ScheduleTime), Reason: m.Reason,
	}
	if h := m.Head; h != nil {
		e.Head = &task.Head{
			CreateTime: asTime(h.CreateTime), Priority: int(h.Priority), Labels: h.Labels, TraceID: hex.EncodeToString(h.TraceId),
			ExpireTime: asTime(h.ExpireTime), ScheduleID: h.ScheduleId,
		}
	}
	if p := m.Payload; p != nil {
		e.Payload = &task.Payload{Bytes: p.Data, Size: p.Size, SHA256: p.Sha256, Omitted: p.Omitted}
	}
	if x := m.Execution; x != nil {
		e.Execution = &task.Execution{
			Host: x.Host, Version: x.Version, Redelivered: x.Redelivered, Alone: x.Alone, Span: task.SpanOf(x.TraceId, x.SpanId),
		}
	}
	if p := m.Progress; p != nil {
		e.Progress = &task.ProgressReport{Fraction: -1, Message: p.Message, Time: asTime(p.Time)}
		if p.Fraction != nil {
			e.Progress.Fraction = *p.Fraction
		}
	}
	if err := e.Validate(); err != nil {
		return task.Event{}, fmt.Errorf("a status event that can't be applied: %w", err)
	}
	return e, nil
}

// metadataToProto is the wire form of metadata, in the order of its keys; nil for
// none.
func metadataToProto(md task.Metadata) []*brokerv1.MetadataEntry {
	if len(md) == 0 {
		return nil
	}
	entries := make([]*brokerv1.MetadataEntry, 0, len(md))
	for _, key := range slices.Sorted(maps.Keys(md)) {
		values := make([][]byte, len(md[key]))
		for i, v := range md[key] {
			values[i] = []byte(v)
		}
		entries = append(entries, &brokerv1.MetadataEntry{Key: utf8(key), Values: values})
	}
	return entries
}

// metadataFromProto is the inverse of metadataToProto. Entries without values say
// nothing; those of one key are joined.
func metadataFromProto(entries []*brokerv1.MetadataEntry) task.Metadata {
	var md task.Metadata
	for _, e := range entries {
		if len(e.Values) == 0 {
			continue
		}
		if md == nil {
			md = make(task.Metadata, len(entries))
		}
		for _, v := range e.Values {
			md[e.Key] = append(md[e.Key], string(v))
		}
	}
	return md
}

func asTime(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

func fromTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// FailureToProto is the wire form of a failure, nil for nil. Text that is no
// UTF-8, which protobuf refuses, is made so.
func FailureToProto(f *task.Failure) *taskv1.Failure {
	if f == nil {
		return nil
	}
	m := &taskv1.Failure{Code: int32(f.Code), Message: utf8(f.Message), Stack: utf8(f.Stack), Kind: taskv1.FailureKind(f.Kind)}
	for _, d := range f.Details {
		m.Details = append(m.Details, &anypb.Any{TypeUrl: utf8(d.TypeURL), Value: d.Value})
	}
	return m
}

func utf8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// FailureFromProto is the inverse of [FailureToProto].
func FailureFromProto(m *taskv1.Failure) *task.Failure {
	if m == nil {
		return nil
	}
	f := &task.Failure{Code: int(m.Code), Message: m.Message, Stack: m.Stack, Kind: task.FailureKind(m.Kind)}
	for _, d := range m.Details {
		f.Details = append(f.Details, task.Detail{TypeURL: d.TypeUrl, Value: d.Value})
	}
	return f
}

// StatusBatch is a message of the status queue.
type StatusBatch struct {
	// Events are encoded each for itself.
	Events  [][]byte
	Markers []string
}

// DecodeStatusBatch decodes a message of the status queue, not yet its events.
func DecodeStatusBatch(b []byte) (StatusBatch, error) {
	var m brokerv1.StatusBatch
	if err := proto.Unmarshal(b, &m); err != nil {
		return StatusBatch{}, fmt.Errorf("decode a status batch: %w", err)
	}
	return StatusBatch{Events: m.Events, Markers: m.Markers}, nil
}

func (b *StatusBatch) encode() ([]byte, error) {
	return proto.Marshal(&brokerv1.StatusBatch{Events: b.Events, Markers: b.Markers})
}

// CountEvents is how many events an encoded status batch has, without decoding
// them; what is no batch has none.
func CountEvents(body []byte) (events int) {
	for len(body) > 0 {
		number, kind, n := protowire.ConsumeTag(body)
		if n < 0 {
			return 0
		}
		size := protowire.ConsumeFieldValue(number, kind, body[n:])
		if size < 0 {
			return 0
		}
		if number == fieldEvents {
			events++
		}
		body = body[n+size:]
	}
	return events
}

// fieldEvents is the number of warren.broker.v1.StatusBatch.events.
const fieldEvents = 1
