package broker

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
)

// EncodeTask encodes a task that waits in a store for its time. ExpireInBroker is
// not kept: it is for who publishes the task to say.
func EncodeTask(m *TaskMessage) ([]byte, error) {
	header := m.header()
	if size := proto.Size(header); size > maxHeaderBytes {
		return nil, fmt.Errorf("%w: labels and metadata take %d bytes, at most %d are allowed", ErrNotSent, size, maxHeaderBytes)
	}
	b, err := proto.Marshal(&brokerv1.StoredTask{TaskId: m.ID, Type: m.Type, Payload: m.Payload, Header: header, Trace: m.Trace})
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
