package sqlite

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/warrenmq/warren/pkg/task"
)

// What few tasks and events have is NULL for nothing. Rows of those that have it
// are inserted with all columns; what a task is told later has a statement of its
// own, which spares all others the cost. It is read into any, which is as good as
// free for a NULL.
const (
	rareTaskColumns = `schedule_time, schedule_id, update_sequence, cancel_reason`

	updateRareTask = `UPDATE tasks SET schedule_time = ?, schedule_id = ?, update_sequence = ?, cancel_reason = ? WHERE id = ?`

	rareEventColumns = `e.schedule_time, e.reason, e.head`
)

// rareOfTask are the columns of a task in their order, as they are written and read.
type rareOfTask [4]any

func rareOf(t *task.Task) rareOfTask {
	return rareOfTask{micros(t.ScheduleTime), nonZero(t.ScheduleID), nonZero(t.UpdateSequence), nonZero(t.CancelReason)}
}

func (r *rareOfTask) fill(t *task.Task) {
	t.ScheduleTime = timeOf(r[0])
	t.ScheduleID, _ = r[1].(string)
	t.UpdateSequence, _ = r[2].(int64)
	t.CancelReason, _ = r[3].(string)
}

// rareOfEvent are the columns of an event, likewise.
type rareOfEvent [3]any

func encodeRare(e *task.Event) (r rareOfEvent, err error) {
	r = rareOfEvent{micros(e.ScheduleTime), nonZero(e.Reason)}
	if e.Key.Phase == task.PhaseUpdated {
		r[2], err = encodeHead(e.Head)
	}
	return r, err
}

func (r *rareOfEvent) fill(e *task.Event) error {
	e.ScheduleTime = timeOf(r[0])
	e.Reason, _ = r[1].(string)
	if column, ok := r[2].(string); ok {
		return decodeHead(column, e)
	}
	return nil
}

func timeOf(column any) time.Time {
	n, ok := column.(int64)
	return fromMicros(sql.Null[int64]{V: n, Valid: ok})
}

// headJSON is how the head of an UPDATED event is stored. Names stay; fields may
// be added. Times are in microseconds.
type headJSON struct {
	CreateTime *int64            `json:"create_time,omitempty"`
	Priority   int               `json:"priority,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	TraceID    string            `json:"trace_id,omitempty"`
	ExpireTime *int64            `json:"expire_time,omitempty"`
	ScheduleID string            `json:"schedule_id,omitempty"`
}

func encodeHead(h *task.Head) (any, error) {
	return marshal(headJSON{
		CreateTime: microsOf(h.CreateTime), Priority: h.Priority, Labels: h.Labels, TraceID: h.TraceID,
		ExpireTime: microsOf(h.ExpireTime), ScheduleID: h.ScheduleID,
	})
}

func decodeHead(column string, e *task.Event) error {
	var j headJSON
	if err := json.Unmarshal([]byte(column), &j); err != nil {
		return fmt.Errorf("decode a head: %w", err)
	}
	e.Head = &task.Head{
		CreateTime: timeAt(j.CreateTime), Priority: j.Priority, Labels: j.Labels, TraceID: j.TraceID,
		ExpireTime: timeAt(j.ExpireTime), ScheduleID: j.ScheduleID,
	}
	return nil
}

func microsOf(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.UnixMicro()
	return &n
}

func timeAt(micros *int64) time.Time {
	if micros == nil {
		return time.Time{}
	}
	return time.UnixMicro(*micros).UTC()
}
