package sqlite

import (
	"io/fs"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// Notifications that were stored before there were rules are kept, and are still sent.
func TestNotificationsAreMigrated(t *testing.T) {
	t.Parallel()
	url := "sqlite:" + filepath.Join(t.TempDir(), "store.db")
	before := fstest.MapFS{}
	names, err := fs.Glob(migrations, "migrations/*.sql")
	require.NoError(t, err)
	for _, name := range names {
		if filepath.Base(name) < "00009" {
			text, err := fs.ReadFile(migrations, name)
			require.NoError(t, err)
			before[filepath.Base(name)] = &fstest.MapFile{Data: text}
		}
	}
	db, err := sqldb.Open(t.Context(), url, before)
	require.NoError(t, err)
	_, err = db.Writer.ExecContext(t.Context(), `
INSERT INTO dead_letters (id, is_foreign, task_id, state, version, change, reopen_run, type, cause, code, message, stack, kind, reason,
	decision, run, attempt, worker_id, trace_id, priority, dead_time, first_dead_time, update_time, occurrence_count, payload_size, queue, operator_reason)
VALUES (x'0192f0c5000070008000000000000001', 0, 't', 1, 2, 2, 1, 'acme.v1.X', 1, 14, '', '', 0, '', '', 2, 1, '', '', 4, 7, 7, 7, 2, 0, '', '');
INSERT INTO occurrences (dead_letter, run, attempt, cause, failure, reason, decision, dead_time, worker_id, trace_id, broker_reason, attempts_omitted)
VALUES (1, 1, 1, 3, NULL, '', '', 6, '', '', '', 0), (1, 2, 1, 1, '{"code":14}', '', '', 7, '', '', '', 0);
INSERT INTO notifications (id, dead_letter, run, state, time, attempts, next_time, last_error)
VALUES (x'0192f0c5000070008000000000000011', 1, 1, 2, 6, 0, 6, ''), (x'0192f0c5000070008000000000000012', 1, 2, 1, 7, 3, 8, '503');`)
	require.NoError(t, err)
	require.NoError(t, db.Close())

	s, err := Open(t.Context(), url, Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	kept, err := s.NotificationLog(t.Context(), nil, 0, 10)
	require.NoError(t, err)
	want := store.Notification{
		Sequence: 1, ID: "0192f0c5-0000-7000-8000-000000000011", State: store.NotificationSent, RuleID: store.BuiltInRule, Channel: store.BuiltInRule,
		Trigger: store.TriggerDeadLetter, DeadLetterID: "0192f0c5-0000-7000-8000-000000000001", Run: 1, Type: "acme.v1.X", Cause: task.Cause(3), Time: kept[1].Time,
	}
	require.Equal(t, []store.Notification{kept[0], want}, kept)
	require.EqualValues(t, 6, want.Time.UnixMicro())
	want.Sequence, want.ID, want.State = 2, "0192f0c5-0000-7000-8000-000000000012", store.NotificationWaiting
	want.Run, want.Cause, want.Code, want.Attempts, want.LastError = 2, 1, 14, 3, "503"
	want.Time, want.NextTime = kept[0].Time, kept[0].NextTime
	require.Equal(t, want, kept[0])
	require.EqualValues(t, 8, want.NextTime.UnixMicro())
	_, err = s.Put(t.Context(), []store.Arrival{{
		ID: task.NewID(), Type: "acme.v1.X", Notify: true, Occurrence: store.Occurrence{Run: 1, Cause: task.CauseExpired},
	}})
	require.NoError(t, err)
	kept, err = s.NotificationLog(t.Context(), nil, 0, 1)
	require.NoError(t, err)
	require.EqualValues(t, 3, kept[0].Sequence)
}
