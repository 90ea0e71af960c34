package sqlite

import (
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"
	"github.com/warrenmq/warren/pkg/task"
)

const keySize = 4 + 4 + 8 + 1 + 8 + 16

// packKey encodes a valid key so that packed keys sort as keys do, but for phases
// whose place is not that of their number.
func packKey(k task.Key) []byte {
	b := make([]byte, 0, keySize)
	b = binary.BigEndian.AppendUint32(b, uint32(k.Run))
	b = binary.BigEndian.AppendUint32(b, uint32(k.Attempt))
	b = binary.BigEndian.AppendUint64(b, uint64(k.Delivery))
	b = append(b, byte(k.Phase))
	b = binary.BigEndian.AppendUint64(b, uint64(k.Sequence))
	return append(b, k.Copy[:]...)
}

func unpackKey(b []byte) (task.Key, error) {
	if len(b) != keySize {
		return task.Key{}, fmt.Errorf("an event's key has %d bytes instead of %d", len(b), keySize)
	}
	return task.Key{
		Run:      int(binary.BigEndian.Uint32(b)),
		Attempt:  int(binary.BigEndian.Uint32(b[4:])),
		Delivery: int64(binary.BigEndian.Uint64(b[8:])),
		Phase:    task.Phase(b[16]),
		Sequence: int64(binary.BigEndian.Uint64(b[17:])),
		Copy:     task.Copy(b[25:]),
	}, nil
}

// parseID reads a task id as a caller gives it; false when no task can have it.
func parseID(id string) (uuid.UUID, bool) {
	u, err := uuid.Parse(id)
	return u, err == nil
}
