package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/google/uuid"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const (
	taskColumns = `id, type, state, run, attempt, priority, labels, trace_id,
	create_time, start_time, end_time, update_time, version, decided_key, started_key,
	payload_number, payload_run, payload_size, payload_sha256, payload_omitted,
	result_number, result_size, failure, cause,
	progress_key, progress_fraction, progress_message, progress_time,
	expire_time, next_attempt_time, purged_run, ` + rareTaskColumns

	selectTask = `SELECT ` + taskColumns + ` FROM tasks WHERE id = ?`

	upsertTask = `INSERT INTO tasks (id, type, state, run, attempt, priority, labels, trace_id,
	create_time, start_time, end_time, update_time, version, decided_run, decided_key, started_key,
	payload_number, payload_run, payload_size, payload_sha256, payload_omitted,
	result_number, result_size, failure, cause,
	progress_key, progress_fraction, progress_message, progress_time,
	expire_time, next_attempt_time, purged_run, purged_version)
VALUES (?, ?, ?, ?, ?, ?, ?, ?,
	?, ?, ?, ?, ?, ?, ?, ?,
	?, ?, ?, ?, ?,
	?, ?, ?, ?,
	?, ?, ?, ?,
	?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
	type = excluded.type, state = excluded.state, run = excluded.run, attempt = excluded.attempt,
	priority = excluded.priority, labels = excluded.labels,
	create_time = excluded.create_time, start_time = excluded.start_time,
	end_time = excluded.end_time, update_time = excluded.update_time, version = excluded.version,
	decided_run = excluded.decided_run, decided_key = excluded.decided_key, started_key = excluded.started_key,
	payload_number = excluded.payload_number, payload_run = excluded.payload_run,
	payload_size = excluded.payload_size, payload_sha256 = excluded.payload_sha256,
	payload_omitted = excluded.payload_omitted,
	result_number = excluded.result_number, result_size = excluded.result_size,
	failure = excluded.failure, cause = excluded.cause,
	progress_key = excluded.progress_key, progress_fraction = excluded.progress_fraction,
	progress_message = excluded.progress_message, progress_time = excluded.progress_time,
	expire_time = excluded.expire_time, next_attempt_time = excluded.next_attempt_time`

	selectExists = `SELECT type FROM tasks WHERE id = ?`
)

// Task implements [store.Store].
func (s *Store) Task(ctx context.Context, id string) (task.Task, error) {
	if err := s.enter(); err != nil {
		return task.Task{}, err
	}
	defer s.leave()
	u, ok := parseID(id)
	if !ok {
		return task.Task{}, fmt.Errorf("task %q: %w", id, store.ErrNotFound)
	}
	_, t, _, err := scanTask(s.stmts.task.QueryRowContext(ctx, u[:]))
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	if err != nil {
		return task.Task{}, translate(ctx, "task "+id, err)
	}
	return t, nil
}

// scanTask reads taskColumns: a task with its id, and the run of the tombstone
// that it came back from.
func scanTask(row interface{ Scan(...any) error }) (uuid.UUID, task.Task, int, error) {
	var (
		id                                               []byte
		t                                                task.Task
		labels, failure, message                         sql.Null[string]
		created, started, ended, updated, progressTime   sql.Null[int64]
		expires, nextAttempt                             sql.Null[int64]
		decidedKey, startedKey, progressKey, payloadHash []byte
		fraction                                         sql.Null[float64]
		purgedRun                                        int
		rare                                             rareOfTask
	)
	err := row.Scan(&id, &t.Type, &t.State, &t.Run, &t.Attempt, &t.Priority, &labels, &t.TraceID,
		&created, &started, &ended, &updated, &t.Version, &decidedKey, &startedKey,
		&t.PayloadNumber, &t.PayloadRun, &t.PayloadSize, &payloadHash, &t.PayloadOmitted,
		&t.ResultNumber, &t.ResultSize, &failure, &t.Cause,
		&progressKey, &fraction, &message, &progressTime,
		&expires, &nextAttempt, &purgedRun, &rare[0], &rare[1], &rare[2], &rare[3])
	if err != nil {
		return uuid.Nil, task.Task{}, 0, err
	}
	t.CreateTime, t.StartTime = fromMicros(created), fromMicros(started)
	t.EndTime, t.UpdateTime = fromMicros(ended), fromMicros(updated)
	t.ExpireTime, t.NextAttemptTime = fromMicros(expires), fromMicros(nextAttempt)
	t.PayloadSHA256 = payloadHash
	rare.fill(&t)
	var errs [6]error
	t.Labels, errs[0] = decodeLabels(labels)
	t.Failure, errs[1] = decodeFailure(failure)
	t.Decided, errs[2] = unpackKey(decidedKey)
	t.Started, errs[3] = unpackKey(startedKey)
	if progressKey != nil {
		t.ProgressKey, errs[4] = unpackKey(progressKey)
		t.Progress = &task.ProgressReport{Fraction: fraction.V, Message: message.V, Time: fromMicros(progressTime)}
	}
	u, err := uuid.FromBytes(id)
	t.ID, errs[5] = u.String(), err
	return u, t, purgedRun, errors.Join(errs[:]...)
}

// taskArgs are the arguments of upsertTask.
func taskArgs(id uuid.UUID, t *task.Task, purgedRun int, purgedVersion int64) ([]any, error) {
	labels, err := encodeLabels(t.Labels)
	if err != nil {
		return nil, err
	}
	failure, err := encodeFailure(t.Failure)
	if err != nil {
		return nil, err
	}
	var progressKey, fraction, message, progressTime any
	if p := t.Progress; p != nil {
		progressKey, fraction = packKey(t.ProgressKey), p.Fraction
		message, progressTime = p.Message, micros(p.Time)
		if math.IsNaN(p.Fraction) { // which would become NULL
			fraction = -1.0
		}
	}
	return []any{
		id[:], t.Type, int64(t.State), int64(t.Run), int64(t.Attempt), int64(t.Priority), labels, t.TraceID,
		micros(t.CreateTime), micros(t.StartTime), micros(t.EndTime), micros(t.UpdateTime),
		t.Version, int64(t.Decided.Run), packKey(t.Decided), packKey(t.Started),
		t.PayloadNumber, int64(t.PayloadRun), t.PayloadSize, t.PayloadSHA256, t.PayloadOmitted,
		t.ResultNumber, t.ResultSize, failure, int64(t.Cause),
		progressKey, fraction, message, progressTime,
		micros(t.ExpireTime), micros(t.NextAttemptTime), int64(purgedRun), purgedVersion,
	}, nil
}
