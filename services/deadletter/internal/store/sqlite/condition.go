package sqlite

import (
	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// columns are what filters compare, of the dead letter d.
var columns = &sqldb.Columns{
	Fields: map[filter.Field]sqldb.Column{
		store.FieldState: {SQL: "d.state"}, store.FieldCause: {SQL: "d.cause"}, store.FieldCode: {SQL: "ifnull(d.code, 0)"},
		store.FieldType: {SQL: "d.type"}, store.FieldReason: {SQL: "d.reason"}, store.FieldMessage: {SQL: "d.message"},
		store.FieldWorkerID: {SQL: "d.worker_id"}, store.FieldTraceID: {SQL: "d.trace_id"}, store.FieldTaskID: {SQL: "d.task_id"},
		store.FieldRun: {SQL: "d.run"}, store.FieldAttempt: {SQL: "d.attempt"}, store.FieldOccurrenceCount: {SQL: "d.occurrence_count"},
		store.FieldCreateTime: {SQL: "d.create_time"}, store.FieldDeadTime: {SQL: "d.dead_time"}, store.FieldUpdateTime: {SQL: "d.update_time"},
		store.FieldGroupID: {SQL: "d.group_id"}, store.FieldWorkerVersion: {SQL: "d.worker_version"}, store.FieldQueue: {SQL: "d.queue"},
		store.FieldReplayCount: {SQL: "d.replay_count"}, store.FieldHeld: {SQL: "d.held"},
	},
	Labels:   sqldb.Column{SQL: "l.value", Rows: "labels l WHERE l.dead_letter = d.sequence"},
	LabelKey: "l.key",
}
