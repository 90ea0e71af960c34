package broker

import (
	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	"github.com/warrenmq/warren/pkg/task"
)

// Limits that tests go to.
const (
	MaxHeaderBytes       = maxHeaderBytes
	MaxTraceBytes        = maxTraceBytes
	MaxInFlight          = maxInFlight
	MaxPendingBytes      = maxPendingBytes
	MaxFailureAnnotation = maxFailure
)

// CheckVersion is how a connection judges the broker.
func CheckVersion(product, version string) error { return checkVersion(product, version) }

// Encode is what a status writer publishes.
func (b *StatusBatch) Encode() ([]byte, error) { return b.encode() }

// EncodeFailure is how a failure travels with a dead letter.
func EncodeFailure(f *task.Failure) ([]byte, error) { return encodeFailure(f) }

// EncodeHistory is how a history travels with a message.
func EncodeHistory(h *brokerv1.AttemptHistory) ([]byte, error) { return encodeHistory(h) }

// EncodeTaskHeader is the header that a task's message carries.
func EncodeTaskHeader(m *TaskMessage) ([]byte, error) {
	p, err := m.publishing()
	if err != nil {
		return nil, err
	}
	return p.Headers[headerTask].([]byte), nil
}

// DecodeTaskHeader reads such a header.
func DecodeTaskHeader(b []byte) (TaskMessage, error) {
	var m TaskMessage
	err := m.decodeHeader(b)
	return m, err
}
