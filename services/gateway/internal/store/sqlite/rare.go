package sqlite

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/warrenmq/warren/pkg/task"
)

// What few tasks and events have is written by statements of its own, which spares
// all others the cost, and is NULL for nothing. It is read into any, which is as
// good as free for a NULL.
const (
	rareTaskColumns = `schedule_time, schedule_id, update_sequence, cancel_reason`

	updateRareTask = `UPDATE tasks SET schedule_time = ?, schedule_id = ?, update_sequence = ?, cancel_reason = ? WHERE id = ?`

	rareEventColumns = `e.schedule_time, e.reason, e.head`

	updateRareEvent = `UPDATE task_events SET schedule_time = ?, reason = ?, head = ? WHERE task_id = ? AND number = ?`
)

// rareOfTask are the columns of a task in their order, as they are written and read.
type rareOfTask [4]any

func rareOf(t *task.Task) rareOfTask {
	return rareOfTask{micros(t.ScheduleTime), orNull(t.ScheduleID), orNull(t.UpdateSequence), orNull(t.CancelReason)}
}

func (r *rareOfTask) fill(t *task.Task) {
	t.ScheduleTime = timeOf(r[0])
	t.ScheduleID, _ = r[1].(string)
	t.UpdateSequence, _ = r[2].(int64)
	t.CancelReason, _ = r[3].(string)
}

// rareOfEvent are the columns of an event, likewise.
type rareOfEvent [3]any

// rareColumnsOf returns what an event has of them; false for nothing.
func rareColumnsOf(e *task.Event) (rareOfEvent, bool, error) {
	r := rareOfEvent{micros(e.ScheduleTime), orNull(e.Reason)}
	if e.Key.Phase == task.PhaseUpdated {
		var err error
		if r[2], err = encodeHead(e.Head); err != nil {
			return r, false, err
		}
	}
	return r, r != rareOfEvent{}, nil
}

func (r *rareOfEvent) fill(e *task.Event) error {
	e.ScheduleTime = timeOf(r[0])
	e.Reason, _ = r[1].(string)
	if column, ok := r[2].(string); ok {
		return decodeHead(column, e)
	}
	return nil
}

// orNull is a column that is NULL for the zero value.
func orNull[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
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
