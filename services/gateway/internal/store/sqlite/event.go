package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// eventTable has a shape for each event of a task that succeeds at once.
var eventTable = newTable("task_events",
	[]column{
		{"task_id", nil}, {"number", 0}, {"key", nil}, {"phase", 0}, {"time", nil}, {"state", 0}, {"correction", 0}, {"worker_id", ""},
		{"host", nil}, {"version", nil}, {"redelivered", nil}, {"alone", nil},
		{"payload_size", nil}, {"payload_sha256", nil}, {"payload_omitted", nil},
		{"failure", nil}, {"cause", 0}, {"decision", ""}, {"next_attempt", 0}, {"next_attempt_time", nil}, {"body_size", nil}, {"metadata", nil},
		{"schedule_time", nil}, {"reason", nil}, {"head", nil}, {"span", nil},
	},
	"task_id number key phase time state worker_id body_size metadata",
	"task_id number key phase time state payload_size payload_sha256 payload_omitted body_size",
	"task_id number key phase time state worker_id host version redelivered alone",
	"task_id number key phase time state worker_id host version redelivered alone span",
)

var bodyTable = newTable("task_bodies", []column{{"task_id", nil}, {"number", 0}, {"body", nil}})

const (
	selectKnownKey = `SELECT count(*) FROM task_events WHERE task_id = ? AND key = ?`

	eventColumns = `e.number, e.key, e.time, e.state, e.correction, e.worker_id,
	e.host, e.version, e.redelivered, e.alone, e.payload_size, e.payload_sha256, e.payload_omitted,
	e.failure, e.cause, e.decision, e.next_attempt, e.next_attempt_time, e.body_size, e.metadata, e.span, ` + rareEventColumns

	// Events are there for longer than their task while it is being purged: those
	// up to purged_version belong to nothing any more.
	ofTask = ` FROM tasks t JOIN task_events e ON e.task_id = t.id
`
	withBodies = `LEFT JOIN task_bodies b ON b.task_id = e.task_id AND b.number = e.number
`

	selectEvent = `SELECT ` + eventColumns + `, b.body, t.type` + ofTask + withBodies +
		`WHERE t.id = ? AND e.key = ? AND e.number > t.purged_version`

	selectEvents = `SELECT ` + eventColumns + `, NULL` + ofTask +
		`WHERE t.id = ? AND e.number > max(t.purged_version, ?) ORDER BY e.number LIMIT ?`

	selectEventsWithBodies = `SELECT ` + eventColumns + `, b.body` + ofTask + withBodies +
		`WHERE t.id = ? AND e.number > max(t.purged_version, ?) ORDER BY e.number LIMIT ?`

	// 3 is task.PhaseMessage.
	selectHistory = `SELECT ` + eventColumns + `, NULL` + ofTask +
		`WHERE t.id = ? AND e.number > t.purged_version AND e.phase <> 3 ORDER BY e.number`

	selectBody = `SELECT e.body_size, b.body` + ofTask + withBodies +
		`WHERE t.id = ? AND e.number = ? AND e.number > t.purged_version`
)

// Body implements [store.Store].
func (s *Store) Body(ctx context.Context, id string, number int64) ([]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	what := fmt.Sprintf("body of event %d of task %q", number, id)
	u, ok := parseID(id)
	if !ok {
		return nil, fmt.Errorf("%s: %w", what, store.ErrNotFound)
	}
	var size sql.Null[int64]
	var body []byte
	err := s.stmts.body.QueryRowContext(ctx, u[:], number).Scan(&size, &body)
	if errors.Is(err, sql.ErrNoRows) || err == nil && !size.Valid {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, translate(ctx, what, err)
	}
	return orEmpty(body), nil
}

// Event implements [store.Store].
func (s *Store) Event(ctx context.Context, id string, key task.Key) (task.NumberedEvent, error) {
	if err := s.enter(); err != nil {
		return task.NumberedEvent{}, err
	}
	defer s.leave()
	what := fmt.Sprintf("an event of task %q", id)
	u, ok := parseID(id)
	if !ok {
		return task.NumberedEvent{}, fmt.Errorf("%s: %w", what, store.ErrNotFound)
	}
	var taskType string
	e, _, err := scanEvent(s.stmts.event.QueryRowContext(ctx, u[:], packKey(key)), true, &taskType)
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	if err != nil {
		return task.NumberedEvent{}, translate(ctx, what, err)
	}
	e.TaskID, e.Type = u.String(), taskType
	return e, nil
}

// Events implements [store.Store].
func (s *Store) Events(ctx context.Context, id string, after int64, limit int, bodies bool) ([]task.NumberedEvent, error) {
	stmt := s.stmts.events
	if bodies {
		stmt = s.stmts.eventsWithBodies
	}
	return s.read(ctx, id, stmt, bodies, after, min(max(limit, 0), store.MaxEvents))
}

// History implements [store.Store].
func (s *Store) History(ctx context.Context, id string) ([]task.NumberedEvent, error) {
	return s.read(ctx, id, s.stmts.history, false)
}

// read returns the events that a statement selects, as many as MaxEventBytes
// allows.
func (s *Store) read(ctx context.Context, id string, stmt *sql.Stmt, bodies bool, args ...any) ([]task.NumberedEvent, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	what := fmt.Sprintf("events of task %q", id)
	u, ok := parseID(id)
	if !ok {
		return nil, fmt.Errorf("%s: %w", what, store.ErrNotFound)
	}
	var taskType string
	err := s.stmts.exists.QueryRowContext(ctx, u[:]).Scan(&taskType)
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, translate(ctx, what, err)
	}
	rows, err := stmt.QueryContext(ctx, append([]any{u[:]}, args...)...)
	if err != nil {
		return nil, translate(ctx, what, err)
	}
	events, err := scanEvents(rows, bodies)
	if err != nil {
		return nil, translate(ctx, what, err)
	}
	for i := range events {
		events[i].TaskID, events[i].Type = u.String(), taskType
	}
	return events, nil
}

func scanEvents(rows *sql.Rows, bodies bool) ([]task.NumberedEvent, error) {
	defer func() { _ = rows.Close() }()
	var events []task.NumberedEvent
	total := int64(0)
	for rows.Next() {
		e, size, err := scanEvent(rows, bodies)
		if err != nil {
			return nil, err
		}
		if total += size; bodies && total > store.MaxEventBytes && len(events) > 0 {
			return events, rows.Close()
		}
		events = append(events, e)
	}
	return events, rows.Err()
}

// scanEvent reads eventColumns, a body and what else a statement selects. It
// returns an event and the size of its body.
func scanEvent(row interface{ Scan(...any) error }, bodies bool, more ...any) (task.NumberedEvent, int64, error) {
	var (
		e                                  task.NumberedEvent
		at, next, payloadSize, bodySize    sql.Null[int64]
		key, hash, span, body              []byte
		host, version, failure, metadata   sql.Null[string]
		redelivered, alone, payloadOmitted sql.Null[bool]
		rare                               rareOfEvent
	)
	err := row.Scan(append([]any{
		&e.Number, &key, &at, &e.State, &e.Correction, &e.WorkerID,
		&host, &version, &redelivered, &alone, &payloadSize, &hash, &payloadOmitted,
		&failure, &e.Cause, &e.Decision, &e.NextAttempt, &next, &bodySize, &metadata, &span,
		&rare[0], &rare[1], &rare[2], &body,
	}, more...)...)
	if err != nil {
		return e, 0, err
	}
	if e.Key, err = unpackKey(key); err != nil {
		return e, 0, err
	}
	if e.Failure, err = decodeFailure(failure); err != nil {
		return e, 0, err
	}
	if err = decodeMetadata(metadata, &e.Event); err != nil {
		return e, 0, err
	}
	if err = rare.fill(&e.Event); err != nil {
		return e, 0, err
	}
	e.Time, e.NextAttemptTime = fromMicros(at), fromMicros(next)
	if host.Valid {
		e.Execution = &task.Execution{Host: host.V, Version: version.V, Redelivered: redelivered.V, Alone: alone.V, Span: decodeSpan(span)}
	}
	if payloadSize.Valid {
		e.Payload = &task.Payload{Size: payloadSize.V, SHA256: hash, Omitted: payloadOmitted.V}
	}
	if bodies && bodySize.Valid {
		if e.Payload != nil {
			e.Payload.Bytes = orEmpty(body)
		} else {
			e.Message = orEmpty(body)
		}
	}
	return e, bodySize.V, nil
}

// orEmpty tells an empty body from none: the driver reads both as nil.
func orEmpty(body []byte) []byte {
	if body == nil {
		return []byte{}
	}
	return body
}

// bodyOf returns what an event carries; false for nothing.
func bodyOf(e *task.Event) ([]byte, bool) {
	switch e.Key.Phase {
	case task.PhaseQueued, task.PhaseScheduled:
		if e.Payload != nil && !e.Payload.Omitted {
			return e.Payload.Bytes, true
		}
	case task.PhaseMessage, task.PhaseSucceeded:
		return e.Message, true
	}
	return nil, false
}

// eventRow appends the values of an event's row. The id is the task's, and the
// key the event's, as they are stored.
func eventRow(row []any, id any, key []byte, e *task.Event, a task.Applied) ([]any, error) {
	failure, err := encodeFailure(e.Failure)
	if err != nil {
		return nil, err
	}
	metadata, err := encodeMetadata(e)
	if err != nil {
		return nil, err
	}
	rare, err := encodeRare(e)
	if err != nil {
		return nil, err
	}
	var host, version, redelivered, alone, span, payloadSize, hash, omitted, bodySize any
	if x := e.Execution; x != nil {
		host, version, redelivered, alone = x.Host, x.Version, x.Redelivered, x.Alone
		span = encodeSpan(x.Span)
	}
	if p := e.Payload; p != nil {
		payloadSize, hash, omitted = p.Size, p.SHA256, p.Omitted
	}
	if body, ok := bodyOf(e); ok {
		bodySize = int64(len(body))
	}
	return append(row,
		id, a.Number, key, int64(e.Key.Phase), micros(e.Time), int64(a.State), nonZero(a.Correction), nonZero(e.WorkerID),
		host, version, redelivered, alone, payloadSize, hash, omitted,
		failure, nonZero(int64(e.Cause)), nonZero(e.Decision), nonZero(int64(e.NextAttempt)), micros(e.NextAttemptTime), bodySize, metadata,
		rare[0], rare[1], rare[2], span,
	), nil
}

// encodeSpan gives the column of an execution's span, nil for NULL.
func encodeSpan(s task.Span) any {
	traceID, spanID := s.Bytes()
	if traceID == nil {
		return nil
	}
	return slices.Concat(traceID, spanID)
}

func decodeSpan(column []byte) task.Span {
	if len(column) < len(task.Span{}.TraceID) {
		return task.Span{}
	}
	return task.SpanOf(column[:len(task.Span{}.TraceID)], column[len(task.Span{}.TraceID):])
}
