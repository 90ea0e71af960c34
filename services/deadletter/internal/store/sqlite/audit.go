package sqlite

import (
	"context"
	"database/sql"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/warrenmq/warren/pkg/filter"
	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const (
	insertAuditEvent = `INSERT INTO audit_events (time, method, actor, peer, reason, trace_id, resource, changes)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)`

	auditEventColumns = `e.sequence, e.time, e.method, e.actor, e.peer, e.reason, e.trace_id, e.resource, e.changes`
)

// auditColumns are what filters compare, of the audit event e.
var auditColumns = &sqldb.Columns{
	Fields: map[filter.Field]sqldb.Column{
		store.FieldTime: {SQL: "e.time"}, store.FieldMethod: {SQL: "e.method"}, store.FieldActor: {SQL: "e.actor"},
		store.FieldPeer: {SQL: "e.peer"}, store.FieldReason: {SQL: "e.reason"}, store.FieldResource: {SQL: "e.resource"},
		store.FieldTraceID: {SQL: "e.trace_id"},
	},
}

// record keeps who has changed something. What the service does by itself is no event.
func (w *writing) record(ctx context.Context, by store.Call, resource string, changes ...store.AuditChange) error {
	if by == (store.Call{}) {
		return nil
	}
	encoded, err := encode(changes, len(changes))
	if err != nil {
		return err
	}
	return w.exec(ctx, insertAuditEvent, w.now, by.Method, by.Actor, by.Peer, by.Reason, traceIDOf(by.Trace), resource, encoded)
}

func traceIDOf(traceparent string) string {
	if sc := telemetry.SpanContextOf(map[string]string{"traceparent": traceparent}); sc.TraceID() != (trace.TraceID{}) {
		return sc.TraceID().String()
	}
	return ""
}

// AuditEvents implements [store.Audits].
func (s *Store) AuditEvents(ctx context.Context, f filter.Expr, before int64, limit int) ([]store.AuditEvent, error) {
	c := &sqldb.Condition{}
	if before > 0 {
		c.And("e.sequence < ?", before)
	}
	c.Filter(f, auditColumns)
	var events []store.AuditEvent
	err := s.read(ctx, "read the audit", func(tx *sql.Tx) (err error) {
		events, err = collect(ctx, tx, scanAuditEvent,
			`SELECT `+auditEventColumns+` FROM audit_events e WHERE `+c.SQL()+` ORDER BY e.sequence DESC LIMIT ?`, c.Args(bounded(limit))...)
		return err
	})
	return events, err
}

func scanAuditEvent(row scanner) (store.AuditEvent, error) {
	var e store.AuditEvent
	var at int64
	var changes sql.Null[string]
	err := row.Scan(&e.Sequence, &at, &e.By.Method, &e.By.Actor, &e.By.Peer, &e.By.Reason, &e.TraceID, &e.Resource, &changes)
	if err != nil {
		return e, err
	}
	e.Time = time.UnixMicro(at).UTC()
	e.Changes, err = decode[[]store.AuditChange](changes)
	return e, err
}
