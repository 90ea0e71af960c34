package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Conditions of queries name the table d.
const (
	deadLetterColumns = `d.sequence, d.id, d.is_foreign, d.state, d.version, d.change, d.type, d.cause,
	d.code, d.message, d.stack, d.kind, d.reason, d.decision, d.run, d.attempt, d.worker_id, d.trace_id,
	d.labels, d.priority, d.create_time, d.run_time, d.dead_time, d.first_dead_time, d.update_time,
	d.occurrence_count, d.payload_size, d.queue, d.operator_reason,
	d.group_id, d.worker_version, d.replay_count, d.replay_id, d.held, d.payload_revision`

	selectDeadLetter = `SELECT ` + deadLetterColumns + ` FROM dead_letters d WHERE d.id = ?`
	selectBySequence = `SELECT ` + deadLetterColumns + ` FROM dead_letters d WHERE d.sequence = ?`

	selectOccurrences = `SELECT run, attempt, cause, failure, reason, decision, dead_time, worker_id, trace_id,
	broker_reason, attempts, attempts_omitted FROM occurrences WHERE dead_letter = ? ORDER BY run`

	selectMessage = `SELECT body, properties, headers, queue, exchange, routing_keys, template, first_template FROM messages WHERE dead_letter = ?`

	selectAudit = `SELECT sequence, time, action, from_state, to_state, run, reason, actor FROM audit
WHERE dead_letter = ? ORDER BY sequence DESC LIMIT ?`
)

// scanner is a row that can be read.
type scanner interface{ Scan(...any) error }

// collect reads all rows of a query.
func collect[T any](ctx context.Context, tx *sql.Tx, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return gather(rows, scan)
}

// gather reads all rows that there are, and closes them.
func gather[T any](rows *sql.Rows, scan func(scanner) (T, error)) ([]T, error) {
	defer func() { _ = rows.Close() }()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

func idOf(b []byte) (string, error) {
	u, err := uuid.FromBytes(b)
	return u.String(), err
}

func etagOf(version int64) string { return strconv.FormatInt(version, 10) }

// bounded keeps a limit within the contract's; SQLite reads a negative one as
// none.
func bounded(limit int) int { return min(max(limit, 0), store.MaxPage) }

// scanDeadLetter reads deadLetterColumns.
func scanDeadLetter(row scanner) (store.DeadLetter, error) {
	var (
		d                        store.DeadLetter
		id                       []byte
		version                  int64
		code, created, run       sql.Null[int64]
		f                        task.Failure
		labels                   sql.Null[string]
		dead, firstDead, updated int64
	)
	err := row.Scan(&d.Sequence, &id, &d.Foreign, &d.State, &version, &d.Change, &d.Type, &d.Cause,
		&code, &f.Message, &f.Stack, &f.Kind, &d.Reason, &d.Decision, &d.Run, &d.Attempt, &d.WorkerID, &d.TraceID,
		&labels, &d.Priority, &created, &run, &dead, &firstDead, &updated,
		&d.OccurrenceCount, &d.PayloadSize, &d.Queue, &d.OperatorReason,
		&d.GroupID, &d.WorkerVersion, &d.ReplayCount, &d.ReplayID, &d.OnHold, &d.Revision)
	if err != nil {
		return d, err
	}
	if code.Valid {
		f.Code = int(code.V)
		d.Failure = &f
	}
	d.Etag, d.CreateTime, d.RunTime = etagOf(version), fromMicros(created), fromMicros(run)
	d.DeadTime, d.FirstDeadTime, d.UpdateTime = time.UnixMicro(dead).UTC(), time.UnixMicro(firstDead).UTC(), time.UnixMicro(updated).UTC()
	var errs [2]error
	d.ID, errs[0] = idOf(id)
	d.Labels, errs[1] = decode[map[string]string](labels)
	return d, errors.Join(errs[:]...)
}

// loadOne reads a dead letter that is not full. Errors: ErrNotFound.
func loadOne(ctx context.Context, tx *sql.Tx, id uuid.UUID) (store.DeadLetter, error) {
	d, err := scanDeadLetter(tx.QueryRowContext(ctx, selectDeadLetter, id[:]))
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	return d, err
}

// fill makes a dead letter full, and returns the size of what that takes.
func fill(ctx context.Context, tx *sql.Tx, d *store.DeadLetter) (size int, err error) {
	d.Occurrences, err = collect(ctx, tx, func(row scanner) (store.Occurrence, error) {
		o, n, err := scanOccurrence(row)
		size += n
		return o, err
	}, selectOccurrences, d.Sequence)
	if err != nil {
		return 0, err
	}
	for i := range d.Occurrences {
		if o := &d.Occurrences[i]; o.Run == d.Run {
			d.Failure = o.Failure
		}
	}
	n, err := scanMessage(tx.QueryRowContext(ctx, selectMessage, d.Sequence), d)
	if err != nil {
		return 0, err
	}
	revisions, err := fillRevisions(ctx, tx, d)
	return size + n + revisions, err
}

// scanOccurrence reads a row of selectOccurrences, and returns its size.
func scanOccurrence(row scanner) (store.Occurrence, int, error) {
	var o store.Occurrence
	var failure, attempts sql.Null[string]
	var dead int64
	err := row.Scan(&o.Run, &o.Attempt, &o.Cause, &failure, &o.Reason, &o.Decision, &dead, &o.WorkerID, &o.TraceID,
		&o.BrokerReason, &attempts, &o.AttemptsOmitted)
	if err != nil {
		return o, 0, err
	}
	o.DeadTime = time.UnixMicro(dead).UTC()
	var errs [2]error
	o.Failure, errs[0] = decodeFailure(failure)
	o.Attempts, errs[1] = decodeAttempts(attempts)
	return o, len(failure.V) + len(attempts.V), errors.Join(errs[:]...)
}

// scanMessage reads a row of selectMessage into a dead letter, and returns its size. A
// tombstone has none.
func scanMessage(row scanner, d *store.DeadLetter) (int, error) {
	var m store.Message
	var properties, headers, keys sql.Null[string]
	err := row.Scan(&m.Body, &properties, &headers, &m.Queue, &m.Exchange, &keys, &d.Template, &d.FirstTemplate)
	if errors.Is(err, sql.ErrNoRows) && d.State == store.StatePurged {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var errs [3]error
	m.Properties, errs[0] = decode[map[string]string](properties)
	m.Headers, errs[1] = decode[map[string]string](headers)
	m.RoutingKeys, errs[2] = decode[[]string](keys)
	d.Message = &m
	size := len(m.Body) + len(properties.V) + len(headers.V) + len(keys.V) + len(d.Template)
	return size, errors.Join(errs[:]...)
}
