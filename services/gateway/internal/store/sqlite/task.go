package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"

	"github.com/google/uuid"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// taskTable has a shape for a task that is queued, and one for a task that has
// succeeded when it is first seen.
var taskTable = newTable("tasks",
	[]column{
		{"id", nil}, {"type", ""}, {"state", 0}, {"run", 0}, {"attempt", 0}, {"priority", 0}, {"labels", nil}, {"trace_id", ""},
		{"create_time", nil}, {"start_time", nil}, {"end_time", nil}, {"update_time", nil},
		{"version", 0}, {"decided_run", 0}, {"decided_key", packKey(task.Key{})}, {"started_key", packKey(task.Key{})},
		{"payload_number", 0}, {"payload_run", 0}, {"payload_size", 0}, {"payload_sha256", nil}, {"payload_omitted", 0},
		{"result_number", 0}, {"result_size", 0}, {"failure", nil}, {"cause", 0},
		{"progress_key", nil}, {"progress_fraction", nil}, {"progress_message", nil}, {"progress_time", nil},
		{"expire_time", nil}, {"next_attempt_time", nil}, {"purged_run", 0}, {"purged_version", 0},
		{"schedule_time", nil}, {"schedule_id", nil}, {"update_sequence", nil}, {"cancel_reason", nil},
	},
	`id type state run priority labels trace_id create_time update_time version decided_run decided_key
	payload_number payload_run payload_size payload_sha256 expire_time`,
	`id type state run attempt priority labels trace_id create_time start_time end_time update_time version decided_run decided_key
	started_key payload_number payload_run payload_size payload_sha256 result_number result_size expire_time`,
)

// taskUpdates are the columns of a task that often change. The trace is not among
// them, nor what few tasks have, which spares their indices nearly all writes.
var taskUpdates = taskTable.shape(strings.Fields(`type state run attempt priority labels
	create_time start_time end_time update_time version decided_run decided_key started_key
	payload_number payload_run payload_size payload_sha256 payload_omitted
	result_number result_size failure cause
	progress_key progress_fraction progress_message progress_time
	expire_time next_attempt_time`))

var updateTask = taskTable.update(taskUpdates, "id")

const (
	taskColumns = `id, type, state, run, attempt, priority, labels, trace_id,
	create_time, start_time, end_time, update_time, version, decided_key, started_key,
	payload_number, payload_run, payload_size, payload_sha256, payload_omitted,
	result_number, result_size, failure, cause,
	progress_key, progress_fraction, progress_message, progress_time,
	expire_time, next_attempt_time, purged_run, ` + rareTaskColumns

	selectTask = `SELECT ` + taskColumns + ` FROM tasks WHERE id = ?`

	// Most events move a task on, and leave alone what it was submitted with.
	updateState = `UPDATE tasks SET state = ?, attempt = ?, start_time = ?, end_time = ?, update_time = ?, version = ?,
	decided_run = ?, decided_key = ?, started_key = ?, result_number = ?, result_size = ? WHERE id = ?`

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

// scanTask reads taskColumns and what else a statement selects: a task with its
// id, and the run of the tombstone that it came back from.
func scanTask(row interface{ Scan(...any) error }, more ...any) (uuid.UUID, task.Task, int, error) {
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
	err := row.Scan(append([]any{
		&id, &t.Type, &t.State, &t.Run, &t.Attempt, &t.Priority, &labels, &t.TraceID,
		&created, &started, &ended, &updated, &t.Version, &decidedKey, &startedKey,
		&t.PayloadNumber, &t.PayloadRun, &t.PayloadSize, &payloadHash, &t.PayloadOmitted,
		&t.ResultNumber, &t.ResultSize, &failure, &t.Cause,
		&progressKey, &fraction, &message, &progressTime,
		&expires, &nextAttempt, &purgedRun, &rare[0], &rare[1], &rare[2], &rare[3],
	}, more...)...)
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

// movedOnly says whether all that events have changed in a task is what
// updateState sets. What of the payload, and of progress, is not looked at changes
// together with what is.
func movedOnly(was, is *task.Task) bool {
	return was.Type == is.Type && was.Run == is.Run && sameHead(was, is) &&
		was.PayloadNumber == is.PayloadNumber && was.Failure == nil && is.Failure == nil && was.Cause == is.Cause &&
		was.CancelReason == is.CancelReason && was.NextAttemptTime.Equal(is.NextAttemptTime) && was.ProgressKey == is.ProgressKey
}

// sameHead says whether what a task was submitted with is the same.
func sameHead(was, is *task.Task) bool {
	return was.UpdateSequence == is.UpdateSequence && was.CreateTime.Equal(is.CreateTime) && was.Priority == is.Priority &&
		was.TraceID == is.TraceID && was.ScheduleID == is.ScheduleID && was.ScheduleTime.Equal(is.ScheduleTime) &&
		was.ExpireTime.Equal(is.ExpireTime) && maps.Equal(was.Labels, is.Labels)
}

// stateArgs appends the arguments of updateState.
func stateArgs(args []any, id any, t *task.Task) []any {
	return append(args,
		int64(t.State), int64(t.Attempt), micros(t.StartTime), micros(t.EndTime), micros(t.UpdateTime), t.Version,
		int64(t.Decided.Run), packKey(t.Decided), packKey(t.Started), t.ResultNumber, t.ResultSize, id,
	)
}

// taskRow appends the values of a task's row.
func taskRow(row []any, id any, t *task.Task, purgedRun int, purgedVersion int64) ([]any, error) {
	labels, err := encodeLabels(t.Labels)
	if err != nil {
		return nil, err
	}
	failure, err := encodeFailure(t.Failure)
	if err != nil {
		return nil, err
	}
	var started, progressKey, fraction, message, progressTime any
	if t.Started != (task.Key{}) {
		started = packKey(t.Started)
	}
	if p := t.Progress; p != nil {
		progressKey, fraction = packKey(t.ProgressKey), p.Fraction
		message, progressTime = p.Message, micros(p.Time)
		if math.IsNaN(p.Fraction) { // which would become NULL
			fraction = -1.0
		}
	}
	var hash any
	if t.PayloadSHA256 != nil {
		hash = t.PayloadSHA256
	}
	rare := rareOf(t)
	return append(row,
		id, t.Type, int64(t.State), int64(t.Run), nonZero(int64(t.Attempt)), nonZero(int64(t.Priority)), labels, nonZero(t.TraceID),
		micros(t.CreateTime), micros(t.StartTime), micros(t.EndTime), micros(t.UpdateTime),
		t.Version, nonZero(int64(t.Decided.Run)), packKey(t.Decided), started,
		nonZero(t.PayloadNumber), nonZero(int64(t.PayloadRun)), nonZero(t.PayloadSize), hash, nonZero(t.PayloadOmitted),
		nonZero(t.ResultNumber), nonZero(t.ResultSize), failure, nonZero(int64(t.Cause)),
		progressKey, fraction, message, progressTime,
		micros(t.ExpireTime), micros(t.NextAttemptTime), nonZero(int64(purgedRun)), nonZero(purgedVersion),
		rare[0], rare[1], rare[2], rare[3],
	), nil
}
