package broker

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
)

// ErrTooLarge says that labels, metadata, trace context, id or type of a task are too
// large to be sent. It comes with [ErrNotSent].
var ErrTooLarge = errors.New("too large")

// maxLaterBytes is what the header of a task that waits may grow by until it is
// published: Resend, and a RunTime of its own.
const maxLaterBytes = 64

// CheckSize says whether a task is small enough to be sent, now or later. Errors:
// [ErrTooLarge].
func (m *TaskMessage) CheckSize() error {
	traced := 0
	for _, k := range traceHeaders {
		traced += len(m.Trace[k])
	}
	size := proto.Size(m.header())
	switch {
	case size > maxHeaderBytes-maxLaterBytes:
		return fmt.Errorf("%w: %w: labels and metadata take %d bytes, at most %d are allowed", ErrNotSent, ErrTooLarge, size, maxHeaderBytes-maxLaterBytes)
	case traced > maxTraceBytes:
		return fmt.Errorf("%w: %w: the trace context takes %d bytes, at most %d are allowed", ErrNotSent, ErrTooLarge, traced, maxTraceBytes)
	case len(m.ID) > maxShortString, len(m.Type) > maxShortString:
		return fmt.Errorf("%w: %w: id and type take %d and %d bytes, at most %d are allowed for each", ErrNotSent, ErrTooLarge, len(m.ID), len(m.Type), maxShortString)
	}
	return nil
}

// LimitTrace drops the vendors' part of a trace context that is too large to be sent,
// as the W3C's recommendation (trace-context, 3.3) allows.
func (m *TaskMessage) LimitTrace() {
	if len(m.Trace["tracestate"]) > maxTraceBytes-maxShortString {
		delete(m.Trace, "tracestate")
	}
}

// EncodeTask encodes a task that waits in a store for its time. ExpireInBroker is
// not kept: it is for who publishes the task to say. Errors: [ErrTooLarge] for what
// could not be published then.
func EncodeTask(m *TaskMessage) ([]byte, error) {
	if err := m.CheckSize(); err != nil {
		return nil, err
	}
	b, err := proto.Marshal(&brokerv1.StoredTask{TaskId: m.ID, Type: m.Type, Payload: m.Payload, Header: m.header(), Trace: m.Trace})
	if err != nil {
		return nil, fmt.Errorf("encode a task: %w", err)
	}
	return b, nil
}

// DecodeTask is the inverse of [EncodeTask].
func DecodeTask(b []byte) (*TaskMessage, error) {
	var stored brokerv1.StoredTask
	if err := proto.Unmarshal(b, &stored); err != nil {
		return nil, fmt.Errorf("decode a task: %w", err)
	}
	m := &TaskMessage{ID: stored.TaskId, Type: stored.Type, Payload: stored.Payload, Trace: stored.Trace}
	if err := m.takeHeader(stored.GetHeader()); err != nil {
		return nil, fmt.Errorf("decode a task: %w", err)
	}
	return m, nil
}
