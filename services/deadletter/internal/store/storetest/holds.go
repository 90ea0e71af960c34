package storetest

import (
	"time"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/filter/filtertest"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// holds says whether a filter holds for a dead letter: what engines must select.
func holds(f filter.Expr, d *store.DeadLetter) bool {
	code, message := int64(0), ""
	if d.Failure != nil {
		code, message = int64(d.Failure.Code), d.Failure.Message
	}
	return filtertest.Holds(f, filtertest.Subject{
		Texts: map[filter.Field][]string{
			store.FieldType: {d.Type}, store.FieldReason: {d.Reason}, store.FieldMessage: {message}, store.FieldWorkerID: {d.WorkerID},
			store.FieldTraceID: {d.TraceID}, store.FieldTaskID: {d.TaskID()},
			store.FieldGroupID: {d.GroupID}, store.FieldWorkerVersion: {d.WorkerVersion}, store.FieldQueue: {d.Queue},
		},
		Numbers: map[filter.Field][]int64{
			store.FieldState: {int64(d.State)}, store.FieldCause: {int64(d.Cause)}, store.FieldCode: {code}, store.FieldRun: {int64(d.Run)},
			store.FieldAttempt: {int64(d.Attempt)}, store.FieldOccurrenceCount: {int64(d.OccurrenceCount)},
			store.FieldReplayCount: {int64(d.ReplayCount)}, store.FieldHeld: {held(d)},
		},
		Times: map[filter.Field]time.Time{
			store.FieldCreateTime: d.CreateTime, store.FieldDeadTime: d.DeadTime, store.FieldUpdateTime: d.UpdateTime,
		},
		Labels: d.Labels,
	})
}

func held(d *store.DeadLetter) int64 {
	if d.OnHold {
		return 1
	}
	return 0
}
