package sqlite

import (
	"database/sql"
	"strings"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	// idText is a task's id in the canonical spelling.
	idText = `lower(substr(hex(t.id), 1, 8) || '-' || substr(hex(t.id), 9, 4) || '-' || substr(hex(t.id), 13, 4) || '-' ||
	substr(hex(t.id), 17, 4) || '-' || substr(hex(t.id), 21))`

	ofAttempts = `task_events a WHERE a.task_id = t.id AND a.number > t.purged_version`

	// 2 is task.PhaseStarted.
	startedAttempts = ofAttempts + ` AND a.phase = 2`

	// 4 and 10 are task.PhaseRetrying and PhaseDeadLettered. What was never started
	// can fail as well, by its expiry say. In a packed key, what names a delivery
	// is before and after the phase and the sequence.
	failedAttempts = ofAttempts + ` AND a.phase IN (4, 10) AND a.failure IS NOT NULL AND EXISTS (SELECT 1 FROM task_events s
	WHERE s.task_id = a.task_id AND s.number > t.purged_version AND s.phase = 2
	AND substr(s.key, 1, 16) = substr(a.key, 1, 16) AND substr(s.key, 26) = substr(a.key, 26))`
)

// filterColumns are what filters compare, of the task t and with the state that
// an expression gives.
func filterColumns(state, queuePrefix string) *sqldb.Columns {
	return &sqldb.Columns{
		Fields: map[filter.Field]sqldb.Column{
			store.FieldTaskID: {SQL: idText}, store.FieldType: {SQL: "t.type"},
			store.FieldQueue: {SQL: "(? || t.type)", Args: []any{queuePrefix}},
			store.FieldState: {SQL: state}, store.FieldCause: {SQL: "t.cause"},
			store.FieldCode: {SQL: "ifnull(json_extract(t.failure, '$.code'), 0)"},
			store.FieldRun:  {SQL: "t.run"}, store.FieldAttempt: {SQL: "t.attempt"}, store.FieldPriority: {SQL: "t.priority"},
			store.FieldTraceID: {SQL: "t.trace_id"}, store.FieldScheduleID: {SQL: "ifnull(t.schedule_id, '')"},
			store.FieldCreateTime: {SQL: "t.create_time"}, store.FieldStartTime: {SQL: "t.start_time"},
			store.FieldEndTime: {SQL: "t.end_time"}, store.FieldUpdateTime: {SQL: "t.update_time"},
			store.FieldExpireTime: {SQL: "t.expire_time"}, store.FieldNextAttemptTime: {SQL: "t.next_attempt_time"},
			store.FieldScheduleTime:    {SQL: "t.schedule_time"},
			store.FieldAttemptCode:     {SQL: "json_extract(a.failure, '$.code')", Rows: failedAttempts},
			store.FieldAttemptWorkerID: {SQL: "a.worker_id", Rows: startedAttempts},
			store.FieldAttemptTraceID:  {SQL: "lower(hex(substr(ifnull(a.span, x''), 1, 16)))", Rows: startedAttempts},
		},
		Labels:   sqldb.Column{SQL: "l.value", Rows: "json_each(t.labels) l WHERE TRUE"},
		LabelKey: "l.key",
	}
}

// columnsOf names columns as those of a table.
func columnsOf(table, columns string) string {
	names := strings.Split(columns, ",")
	for i, name := range names {
		names[i] = table + "." + strings.TrimSpace(name)
	}
	return strings.Join(names, ", ")
}

// rowPart scans some columns of a row: those after the first ones.
type rowPart struct {
	rows           *sql.Rows
	columns, first int
}

// Scan reads as many columns as there are destinations.
func (p rowPart) Scan(dest ...any) error {
	all := make([]any, p.columns)
	for i := range all {
		all[i] = ignored{}
	}
	copy(all[p.first:], dest)
	return p.rows.Scan(all...)
}

// ignored takes a column that is not wanted.
type ignored struct{}

// Scan implements [sql.Scanner].
func (ignored) Scan(any) error { return nil }
