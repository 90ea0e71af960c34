package sqlite

import (
	"slices"

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

// lettersOf is the table of dead letters d for a filter. Of a group they are found by its
// index: SQLite does not know that a group has fewer of them than a state.
func lettersOf(f filter.Expr) string {
	if demandsGroup(f) {
		return "dead_letters d INDEXED BY dead_letters_group"
	}
	return "dead_letters d"
}

// demandsGroup says whether what matches a filter is in one group in any case.
func demandsGroup(f filter.Expr) bool {
	switch f := f.(type) {
	case filter.Text:
		return f.Field == store.FieldGroupID && f.Match.Kind == filter.MatchEqual
	case filter.And:
		return slices.ContainsFunc(f.Terms, demandsGroup)
	}
	return false
}
