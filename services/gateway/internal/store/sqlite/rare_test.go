package sqlite

import (
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// waitingTask is one that is due at a time.
func waitingTask(due time.Time) store.Scheduled {
	return store.Scheduled{Message: []byte("message"), Event: task.Event{
		TaskID: task.NewID(), Type: "a.v1.A.B", Time: time.UnixMicro(1).UTC(), ScheduleTime: due,
		Key:  task.Key{Run: 1, Attempt: 1, Phase: task.PhaseScheduled, Copy: task.NewCopy()},
		Head: &task.Head{CreateTime: time.UnixMicro(1).UTC(), Priority: 4, ScheduleID: "nightly"},
	}}
}

func (s *Store) exec(t *testing.T, query string, args ...any) {
	t.Helper()
	_, err := s.db.Writer.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
}

func TestBrokenHeadIsAnError(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	e := waitingTask(time.UnixMicro(9)).Event
	e.Key.Phase, e.Key.Sequence = task.PhaseUpdated, 1
	_, err := s.Apply(t.Context(), []task.Event{e})
	require.NoError(t, err)
	s.exec(t, `UPDATE task_events SET head = '{'`)
	_, err = s.Event(t.Context(), e.TaskID, e.Key)
	require.ErrorContains(t, err, "decode a head")
}

// upsertTaskV6 is how a program of version 6 writes a task.
const upsertTaskV6 = `INSERT INTO tasks (id, type, state, run, attempt, priority, labels, trace_id,
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

// An older program that writes a task leaves alone what it does not know.
func TestOlderProgramLeavesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	one := waitingTask(time.UnixMicro(9).UTC())
	_, err := s.Schedule(t.Context(), []store.Scheduled{one})
	require.NoError(t, err)
	want, err := s.Task(t.Context(), one.Event.TaskID)
	require.NoError(t, err)
	id := uuid.MustParse(want.ID)
	row, err := taskRow(nil, id[:], &want, 0, 0)
	require.NoError(t, err)
	known := taskTable.shapes[len(taskTable.shapes)-1][:strings.Count(upsertTaskV6, "?")]
	s.exec(t, upsertTaskV6, taskTable.args(nil, known, row)...)
	got, err := s.Task(t.Context(), want.ID)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, "nightly", got.ScheduleID)
}

// What is over leaves no rows behind.
func TestNoRowsAreLeftOfWhatWasForLater(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	now := time.Now()
	var tasks []store.Scheduled
	for range 4 {
		tasks = append(tasks, waitingTask(now))
	}
	_, err := s.Schedule(t.Context(), tasks)
	require.NoError(t, err)
	due, _, err := s.TakeDue(t.Context(), now.Add(-time.Hour), time.Minute, 10, nil)
	require.NoError(t, err)
	require.Empty(t, due)
	due, _, err = s.TakeDue(t.Context(), now, time.Nanosecond, 2, nil)
	require.NoError(t, err)
	require.Len(t, due, 2)
	taken := []string{due[0].TaskID, due[1].TaskID}
	for _, one := range tasks {
		if id := one.Event.TaskID; !slices.Contains(taken, id) {
			_, err = s.Cancel(t.Context(), []store.CancelRequest{{TaskID: id}})
			require.NoError(t, err)
		}
	}
	require.NoError(t, s.Unschedule(t.Context(), taken))
	require.NoError(t, s.PutSchedule(t.Context(), store.Schedule{ID: "nightly", Version: 1, Next: now}))
	_, err = s.Fire(t.Context(), store.Fire{ScheduleID: "nightly", Version: 1, Was: now, Firing: store.Firing{Time: now}})
	require.NoError(t, err)
	require.NoError(t, s.DeleteSchedule(t.Context(), "nightly", 1))
	var rows, counted int
	require.NoError(t, s.db.Reader.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM scheduled)
	+ (SELECT count(*) FROM scheduled_leases) + (SELECT count(*) FROM schedules) + (SELECT count(*) FROM schedule_firings),
	(SELECT sum(tasks) FROM scheduled_counts)`).Scan(&rows, &counted))
	require.Zero(t, rows)
	require.Zero(t, counted)
}

// What is due is found by its type, however much is due of others.
func TestDueTasksUseTheirIndex(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	args := []any{sql.Named("now", 1), sql.Named("far", 2), sql.Named("most", "{}")}
	for query, searches := range map[string][]string{
		// Types are scanned, no tasks are.
		selectDue:       {"scheduled_due (type=? AND due<?)", "scheduled_due (type=? AND (due,task_id)>(?,?) AND due<?)", "SCAN c"},
		selectNextDue:   {"scheduled_due (type=? AND due>?)"},
		selectNextLease: {"scheduled_leases_until (until>? AND until<?)", "SEARCH s USING PRIMARY KEY (task_id=?)"},
	} {
		given := slices.Clone(args)
		if query == selectDue {
			given = append(given, sql.Named("limit", 1))
		}
		steps := strings.Join(plan(t, s, query, given...), "\n")
		for _, search := range searches {
			require.Contains(t, steps, search, query)
		}
		for _, scan := range []string{"SCAN s", "SCAN x", "SCAN l"} {
			require.NotContains(t, steps, scan, query)
		}
	}
}

// Lists by what few tasks have read those alone.
func TestListsOfFewUseTheirIndices(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	for text, index := range map[string]string{
		`state = SCHEDULED`:                           "tasks_scheduled",
		`state = SCHEDULED AND priority = 4`:          "tasks_scheduled",
		`schedule_id = nightly`:                       "tasks_schedule ",
		`schedule_id = nightly AND state = SCHEDULED`: "tasks_schedule ",
	} {
		f, err := store.Fields.Parse(text)
		require.NoError(t, err)
		l := listing{source: sourceOf(f)}
		steps := plan(t, s, `SELECT `+taskColumns+` FROM `+l.source.from+` WHERE `+l.below().SQL()+` ORDER BY t.id DESC LIMIT 5`)
		require.Len(t, steps, 1, text)
		require.Contains(t, steps[0]+" ", index, text)
	}
}
