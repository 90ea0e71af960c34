package schedules

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/google/uuid"
)

// What of a firing follows from its schedule and time: each use has a digest of its
// own.
const (
	useTask    = "task"
	useJitter  = "jitter"
	useTrigger = "trigger"
)

func digest(use, scheduleID, what string) [sha256.Size]byte {
	return sha256.Sum256([]byte(use + "\x00" + scheduleID + "\x00" + what))
}

func ofTime(t time.Time) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(t.UnixMicro())))
}

// taskID is the id of the task of a firing: a UUIDv7 of its time.
func taskID(scheduleID string, at time.Time) string {
	return newID(at, digest(useTask, scheduleID, ofTime(at)))
}

// window is for how long at least a repeated trigger is known for what it is.
const window = 24 * time.Hour

// triggeredID is the id of the task of a trigger. Ids of the same request are the
// same within a window.
func triggeredID(scheduleID, requestID string, at time.Time) string {
	return newID(at.Truncate(window), digest(useTrigger, scheduleID, requestID))
}

// newID makes a UUIDv7 of a time and of what is random in others.
// https://www.rfc-editor.org/rfc/rfc9562#section-5.7
func newID(at time.Time, random [sha256.Size]byte) string {
	var id uuid.UUID
	ms := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli()))
	copy(id[:6], ms[2:])
	copy(id[6:], random[:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

// dueTime is when the task of a firing is put into its queue: put off by a part of
// the jitter.
func (t *Timetable) dueTime(scheduleID string, at time.Time) time.Time {
	if t.jitter < time.Microsecond {
		return at
	}
	d := digest(useJitter, scheduleID, ofTime(at))
	return at.Add(time.Duration(binary.BigEndian.Uint64(d[:])%uint64(t.jitter.Microseconds())) * time.Microsecond)
}
