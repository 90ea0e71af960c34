package sqlite

import (
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/pkg/task"
)

// setByState are the fields that updateState sets, and that of its row's key.
const setByState = "ID State Attempt StartTime EndTime UpdateTime Version Decided Started ResultNumber ResultSize"

// What updateState does not set makes the whole row be written when it changes;
// what only changes together with another field is looked at with that.
func TestOnlyMovesLeaveColumnsOut(t *testing.T) {
	t.Parallel()
	withPayloadNumber, withProgressKey := "PayloadRun PayloadSize PayloadSHA256 PayloadOmitted", "Progress"
	left := strings.Fields(strings.Join([]string{setByState, withPayloadNumber, withProgressKey}, " "))
	for field := range reflect.TypeFor[task.Task]().Fields() {
		var was, is task.Task
		v := reflect.ValueOf(&is).Elem().FieldByName(field.Name)
		switch v.Kind() {
		case reflect.Int, reflect.Int64:
			v.SetInt(1)
		case reflect.String:
			v.SetString("x")
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Map:
			v.Set(reflect.ValueOf(map[string]string{"a": "b"}))
		case reflect.Slice:
			v.SetBytes([]byte{1})
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
		default:
			switch v.Interface().(type) {
			case time.Time:
				v.Set(reflect.ValueOf(time.UnixMicro(1)))
			case task.Key:
				v.Set(reflect.ValueOf(task.Key{Run: 1}))
			default:
				require.Fail(t, "no value for it", field.Name)
			}
		}
		if strings.Contains(" "+strings.Join(left, " ")+" ", " "+field.Name+" ") {
			require.True(t, movedOnly(&was, &is), field.Name)
		} else {
			require.False(t, movedOnly(&was, &is), field.Name)
		}
	}
}

// Whatever events do to a task, all is written that they have changed.
func TestMovesAreAllThatEventsDo(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var is task.Task
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			was := is
			for range rapid.IntRange(1, 3).Draw(t, "events") {
				e := drawEvent(t, "task")
				is.Apply(&e)
			}
			if !movedOnly(&was, &is) {
				continue
			}
			for _, field := range strings.Fields(setByState) {
				reflect.ValueOf(&was).Elem().FieldByName(field).Set(reflect.ValueOf(&is).Elem().FieldByName(field))
			}
			require.Equal(t, was, is)
		}
	})
}

// drawEvent draws a valid event. There are so few of each part that equal and
// similar ones meet.
func drawEvent(t *rapid.T, id string) task.Event {
	number := func(what string, least, most int) int { return rapid.IntRange(least, most).Draw(t, what) }
	second := func(what string) time.Time {
		return rapid.SampledFrom([]time.Time{{}, time.Unix(1, 0).UTC(), time.Unix(2, 0).UTC()}).Draw(t, what)
	}
	e := task.Event{
		TaskID: id, Type: "a.v1.A.B", Time: second("time"),
		Key: task.Key{
			Run: number("run", 1, 2), Attempt: number("attempt", 1, 2), Delivery: int64(number("delivery", 0, 1)), Sequence: int64(number("sequence", 1, 3)),
			Phase: rapid.SampledFrom([]task.Phase{
				task.PhaseQueued, task.PhaseStarted, task.PhaseMessage, task.PhaseRetrying, task.PhaseReleased, task.PhaseLost, task.PhaseScheduled,
				task.PhaseUpdated, task.PhaseDeadLettered, task.PhaseCancelled, task.PhaseSucceeded, task.PhaseProgress,
			}).Draw(t, "phase"),
		},
	}
	if rapid.Bool().Draw(t, "has a head") || e.Key.Phase == task.PhaseScheduled || e.Key.Phase == task.PhaseUpdated {
		e.Head = &task.Head{
			CreateTime: second("create time"), Priority: number("priority", 1, 2), ExpireTime: second("expire time"),
			TraceID:    rapid.SampledFrom([]string{"", "t"}).Draw(t, "trace"),
			ScheduleID: rapid.SampledFrom([]string{"", "s"}).Draw(t, "schedule"),
			Labels:     maps.Clone(rapid.SampledFrom([]map[string]string{nil, {"a": "b"}}).Draw(t, "labels")),
		}
	}
	switch e.Key.Phase {
	case task.PhaseQueued:
		b := []byte{byte(number("payload", 1, 2))}
		e.Payload = &task.Payload{Bytes: b, Size: 1, SHA256: b}
	case task.PhaseScheduled:
		e.ScheduleTime = time.Unix(int64(number("schedule time", 1, 2)), 0).UTC()
	case task.PhaseUpdated:
		e.ScheduleTime, e.Reason = second("schedule time"), "because"
	case task.PhaseSucceeded:
		e.Message = []byte("result")
	case task.PhaseRetrying:
		e.NextAttempt, e.NextAttemptTime = 2, time.Unix(int64(number("next attempt time", 1, 2)), 0).UTC()
		e.Failure = drawFailure(t)
	case task.PhaseDeadLettered:
		e.Failure, e.Cause = drawFailure(t), task.Cause(number("cause", 1, 2))
	case task.PhaseCancelled:
		e.Failure, e.Reason = drawFailure(t), rapid.SampledFrom([]string{"", "r"}).Draw(t, "reason")
	case task.PhaseProgress:
		e.Progress = &task.ProgressReport{Message: "half way", Time: second("progress time")}
	}
	return e
}

func drawFailure(t *rapid.T) *task.Failure {
	if rapid.Bool().Draw(t, "fails") {
		return &task.Failure{Code: 13, Message: "broken"}
	}
	return nil
}

// The events of a task that succeeds need few parameters.
func TestUsualRowsHaveTheirShapes(t *testing.T) {
	t.Parallel()
	var joined task.Task
	for _, e := range life() {
		row, err := eventRow(nil, []byte{}, []byte{}, &e, joined.Apply(&e))
		require.NoError(t, err)
		require.Len(t, row, len(eventTable.columns))
		require.True(t, eventTable.usual(row), e.Key.Phase)
		row, err = taskRow(nil, []byte{}, &joined, 0, 0)
		require.NoError(t, err)
		require.Len(t, row, len(taskTable.columns))
		require.True(t, taskTable.usual(row), e.Key.Phase)
	}
}

// usual says whether a row needs not all of a table's columns.
func (t *table) usual(row []any) bool {
	for _, s := range t.shapes[:len(t.shapes)-1] {
		if s.covers(row) {
			return true
		}
	}
	return false
}
