package broker

import "github.com/warrenmq/warren/pkg/task"

// Limits that tests go to.
const (
	MaxHeaderBytes       = maxHeaderBytes
	MaxInFlight          = maxInFlight
	MaxPendingBytes      = maxPendingBytes
	MaxFailureAnnotation = maxFailureAnnotation
)

// CheckVersion is how a connection judges the broker.
func CheckVersion(product, version string) error { return checkVersion(product, version) }

// Encode is what a status writer publishes.
func (b *StatusBatch) Encode() ([]byte, error) { return b.encode() }

// EncodeFailure is how a failure travels with a dead letter.
func EncodeFailure(f *task.Failure) ([]byte, error) { return encodeFailure(f) }

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
