package broker

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	amqp091 "github.com/rabbitmq/amqp091-go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
)

// What a task's message carries besides its standard properties.
const (
	headerTask     = "warren-task"
	contentType    = "application/x-protobuf"
	maxHeaderBytes = 48 << 10
	maxTraceBytes  = 16 << 10
	maxShortString = 255
)

// traceHeaders are the headers that W3C trace context travels in. Baggage does
// not: callers put into it what is nobody's business downstream.
var traceHeaders = []string{"traceparent", "tracestate"}

// TaskMessage is a task on its way to a worker.
type TaskMessage struct {
	ID      string
	Type    string
	Payload []byte
	Run     int
	Copy    task.Copy
	// Resend: another message of this run may exist.
	Resend     bool
	CreateTime time.Time
	// Priority is from 1 to 9.
	Priority int
	Labels   map[string]string
	// Metadata is the caller's gRPC metadata.
	Metadata map[string][][]byte
	// Trace is the W3C context of the submission, by header.
	Trace map[string]string
	// RunTime is when this run was begun; CreateTime if it is zero.
	RunTime time.Time
	// ExpireTime is when no attempt may start any more, zero is never. The broker
	// gives up a message of the first run by itself then; ExpireInBroker has it do
	// so for this publish.
	ExpireTime     time.Time
	ExpireInBroker bool
	// Timeout and Retry are what the submission has of its own, nil for nothing.
	Timeout *durationpb.Duration
	Retry   *taskv1.RetryPolicy
	// ScheduleID is the schedule that submitted it, or empty.
	ScheduleID string
	// Committing says that an attempt of which a message of the response stream was
	// sent is the last: a caller may have it.
	Committing bool
}

// began is when the run was begun.
func (m *TaskMessage) began() time.Time {
	if m.RunTime.IsZero() {
		return m.CreateTime
	}
	return m.RunTime
}

// Head is what status events tell of the task itself.
func (m *TaskMessage) Head() *task.Head {
	return &task.Head{
		CreateTime: m.CreateTime, Priority: m.Priority, Labels: m.Labels, TraceID: telemetry.TraceIDOf(m.Trace),
		ExpireTime: m.ExpireTime, ScheduleID: m.ScheduleID,
	}
}

func (m *TaskMessage) publishing() (amqp091.Publishing, error) {
	b, err := proto.Marshal(m.header())
	if err != nil {
		return amqp091.Publishing{}, fmt.Errorf("%w: encode the task's header: %w", ErrNotSent, err)
	}
	if len(b) > maxHeaderBytes {
		// RabbitMQ closes the whole connection on headers beyond a frame.
		return amqp091.Publishing{}, fmt.Errorf("%w: labels and metadata take %d bytes, at most %d are allowed", ErrNotSent, len(b), maxHeaderBytes)
	}
	headers := amqp091.Table{headerTask: b}
	traced := 0 // bytes; RabbitMQ closes the connection on headers beyond a frame
	for _, k := range traceHeaders {
		if v := m.Trace[k]; v != "" {
			headers[k] = v
			traced += len(v)
		}
	}
	if traced > maxTraceBytes || len(m.ID) > maxShortString || len(m.Type) > maxShortString {
		return amqp091.Publishing{}, fmt.Errorf("%w: trace context, id or type is too long", ErrNotSent)
	}
	return amqp091.Publishing{
		MessageId:    m.ID,
		Type:         m.Type,
		ContentType:  contentType,
		DeliveryMode: amqp091.Persistent,
		Priority:     uint8(m.Priority),
		Timestamp:    m.CreateTime,
		Headers:      headers,
		Expiration:   m.expiration(time.Now()),
		Body:         m.Payload,
	}, nil
}

// header is what of a task is in its header.
func (m *TaskMessage) header() *brokerv1.TaskHeader {
	header := &brokerv1.TaskHeader{
		Run:        int32(m.Run),
		Copy:       m.Copy[:],
		Resend:     m.Resend,
		CreateTime: timestamppb.New(m.CreateTime),
		Priority:   int32(m.Priority),
		Labels:     m.Labels,
		RunTime:    timestamppb.New(m.began()),
		ExpireTime: fromTime(m.ExpireTime),
		Timeout:    m.Timeout,
		Retry:      m.Retry,
		ScheduleId: m.ScheduleID, Committing: m.Committing,
	}
	for k, vs := range m.Metadata {
		header.Metadata = append(header.Metadata, &brokerv1.MetadataEntry{Key: k, Values: vs})
	}
	return header
}

// maxExpiration is RabbitMQ's, which closes the channel over a longer one; what
// expires later is seen to by workers alone.
const maxExpiration = 10 * 365 * 24 * time.Hour

// expiration is the message's time to live in the broker, at least 1 ms: with 0
// RabbitMQ would give it up at once unless a worker waits for it.
func (m *TaskMessage) expiration(now time.Time) string {
	if !m.ExpireInBroker || m.ExpireTime.IsZero() || m.ExpireTime.Sub(now) > maxExpiration {
		return ""
	}
	return strconv.FormatInt(max(m.ExpireTime.Sub(now).Milliseconds(), 1), 10)
}

// decodeHeader fills in what the header has.
func (m *TaskMessage) decodeHeader(b []byte) error {
	var h brokerv1.TaskHeader
	if err := proto.Unmarshal(b, &h); err != nil {
		return fmt.Errorf("the header %s is no valid TaskHeader", headerTask)
	}
	return m.takeHeader(&h)
}

func (m *TaskMessage) takeHeader(h *brokerv1.TaskHeader) error {
	if h.GetRun() < 1 || len(h.Copy) != len(m.Copy) {
		return errors.New("the header " + headerTask + " has no run or no copy")
	}
	m.Run, m.Copy, m.Resend = int(h.Run), task.Copy(h.Copy), h.Resend
	m.CreateTime, m.Priority, m.Labels = h.CreateTime.AsTime(), int(h.Priority), h.Labels
	m.RunTime, m.ExpireTime, m.Timeout, m.Retry = asTime(h.RunTime), asTime(h.ExpireTime), h.Timeout, h.Retry
	m.ScheduleID, m.Committing = h.ScheduleId, h.Committing
	m.RunTime = m.began()
	if len(h.Metadata) > 0 {
		m.Metadata = make(map[string][][]byte, len(h.Metadata))
		for _, e := range h.Metadata {
			m.Metadata[e.Key] = e.Values
		}
	}
	return nil
}

// taskOf reads the task that a message of a task type's queue, or a dead letter of
// it, is; or it says why it is none. Whoever may publish can forge everything in it.
func taskOf(d Delivery, taskType string) (TaskMessage, error) {
	header := bytesOf(d.Headers[headerTask])
	if header == nil {
		return TaskMessage{}, errors.New("the message has no header " + headerTask + ": it was not published by Warren")
	}
	m := TaskMessage{Type: taskType, Payload: d.Body, Trace: map[string]string{}}
	if err := m.decodeHeader(header); err != nil {
		return TaskMessage{}, err
	}
	id, err := uuid.Parse(d.MessageID)
	switch {
	case err != nil:
		return TaskMessage{}, fmt.Errorf("the message id %q is no task id", utf8(d.MessageID))
	case m.Type == "":
		return TaskMessage{}, errors.New("the message has no task type")
	}
	m.ID = id.String()
	m.CreateTime, m.RunTime, m.ExpireTime = plausible(m.CreateTime), plausible(m.RunTime), plausible(m.ExpireTime)
	for _, k := range traceHeaders {
		if v := bytesOf(d.Headers[k]); v != nil {
			m.Trace[k] = utf8(string(v))
		}
	}
	return m, nil
}
