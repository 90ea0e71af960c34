package sqlite

import (
	"io/fs"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// What a program of version 1 writes.
const (
	insertTaskV1 = `INSERT INTO tasks (id, type, state, run, attempt, priority, labels, trace_id,
	create_time, start_time, end_time, update_time, version, decided_run, decided_key, started_key,
	payload_number, payload_run, payload_size, payload_sha256, payload_omitted,
	result_number, result_size, failure, cause, purged_run, purged_version)
VALUES (?, 'a.v1.A.B', ?, 1, 1, 4, '{"customer":"acme"}', 'trace', 1, 2, ?, 3, 3, 1, ?, ?, 1, 1, 4, x'00', 0, ?, ?, ?, ?, 0, 0)`

	insertEventV1 = `INSERT INTO task_events (task_id, number, key, phase, time, state, correction, worker_id,
	host, version, redelivered, payload_size, payload_sha256, payload_omitted, failure, cause, body_size)
VALUES (?, ?, ?, ?, ?, ?, 0, 'w', ?, ?, ?, ?, ?, ?, ?, ?, ?)`

	failureV1 = `{"code":13,"message":"broken","details":[{"type_url":"a.B","value":"AQ=="}],"stack":"goroutine 1"}`
)

// openV1 makes a database of version 1, and leaves it open as an older program
// would.
func openV1(t *testing.T, file string) *sqldb.DB {
	t.Helper()
	first, err := fs.ReadFile(migrations, "migrations/00001_store.sql")
	require.NoError(t, err)
	db, err := sqldb.Open(t.Context(), "sqlite:"+file, fstest.MapFS{"00001_store.sql": {Data: first}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// writeV1 writes a task that has ended, and returns it with its events.
func writeV1(t *testing.T, db *sqldb.DB, dead bool) (task.Task, []task.NumberedEvent) {
	t.Helper()
	exec := func(query string, args ...any) {
		_, err := db.Writer.ExecContext(t.Context(), query, args...)
		require.NoError(t, err)
	}
	at := func(micros int64) time.Time { return time.UnixMicro(micros).UTC() }
	id := uuid.New()
	key := task.Key{Run: 1, Attempt: 1, Copy: task.Copy{1}}
	event := func(number, delivery int64, phase task.Phase) task.NumberedEvent {
		e := task.NumberedEvent{
			Event:   task.Event{TaskID: id.String(), Type: "a.v1.A.B", Key: key, Time: at(number), WorkerID: "w"},
			Applied: task.Applied{Number: number, State: phase.State()},
		}
		e.Key.Delivery, e.Key.Phase = delivery, phase
		return e
	}
	queued, started, ended := event(1, 0, task.PhaseQueued), event(2, 1, task.PhaseStarted), event(3, 1, task.PhaseSucceeded)
	queued.Payload = &task.Payload{Bytes: []byte("body"), Size: 4, SHA256: []byte{0}}
	started.Execution = &task.Execution{Host: "h", Version: "v1", Redelivered: true}
	want := task.Task{
		ID: id.String(), Type: "a.v1.A.B", State: task.StateSucceeded, Run: 1, Attempt: 1, Priority: 4, Labels: map[string]string{"customer": "acme"},
		TraceID: "trace", CreateTime: at(1), StartTime: at(2), EndTime: at(3), UpdateTime: at(3), Version: 3, Started: started.Key,
		PayloadNumber: 1, PayloadRun: 1, PayloadSize: 4, PayloadSHA256: []byte{0}, ResultNumber: 3, ResultSize: 6,
	}
	var failure, size any = nil, int64(6)
	if dead {
		failure, size = failureV1, nil
		ended = event(3, 1, task.PhaseDeadLettered)
		ended.Cause = task.CausePermanentFailure
		ended.Failure = &task.Failure{Code: 13, Message: "broken", Stack: "goroutine 1", Details: []task.Detail{{TypeURL: "a.B", Value: []byte{1}}}}
		want.State, want.Failure, want.Cause = task.StateDeadLettered, ended.Failure, ended.Cause
		want.ResultNumber, want.ResultSize = 0, 0
	} else {
		ended.Message = []byte("result")
		exec(`INSERT INTO task_bodies (task_id, number, body) VALUES (?, ?, ?)`, id[:], 3, ended.Message)
	}
	want.Decided = ended.Key
	exec(`INSERT INTO task_bodies (task_id, number, body) VALUES (?, ?, ?)`, id[:], 1, queued.Payload.Bytes)
	exec(insertEventV1, id[:], 1, packKey(queued.Key), queued.Key.Phase, 1, queued.State, nil, nil, nil, 4, []byte{0}, false, nil, 0, 4)
	exec(insertEventV1, id[:], 2, packKey(started.Key), started.Key.Phase, 2, started.State, "h", "v1", true, nil, nil, nil, nil, 0, nil)
	exec(insertEventV1, id[:], 3, packKey(ended.Key), ended.Key.Phase, 3, ended.State, nil, nil, nil, nil, nil, nil, failure, int(ended.Cause), size)
	exec(insertTaskV1, id[:], int(want.State), 3, packKey(ended.Key), packKey(started.Key), want.ResultNumber, want.ResultSize, failure, int(want.Cause))
	return want, []task.NumberedEvent{queued, started, ended}
}

// A database of version 1 is upgraded with all that is in it, and an older
// program may go on writing into it.
func TestUpgradeFromVersion1(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "store.db")
	old := openV1(t, file)
	type written struct {
		task   task.Task
		events []task.NumberedEvent
	}
	var tasks []written
	write := func(dead bool) {
		want, events := writeV1(t, old, dead)
		tasks = append(tasks, written{want, events})
	}
	write(false)
	write(true)
	purged := uuid.New()
	for _, query := range []string{
		`INSERT INTO bundles (digest, time) VALUES ('d', 1)`,
		`INSERT INTO definitions (name, digest) VALUES ('a.v1.A', 'd')`,
	} {
		_, err := old.Writer.ExecContext(t.Context(), query)
		require.NoError(t, err)
	}
	_, err := old.Writer.ExecContext(t.Context(), upsertTombstone, purged[:], 1, 3, time.Now().UnixMicro(), false)
	require.NoError(t, err)

	s := OpenHasty(t, file)
	write(false)
	for _, want := range tasks {
		got, err := s.Task(t.Context(), want.task.ID)
		require.NoError(t, err)
		require.Equal(t, want.task, got)
		events, err := s.Events(t.Context(), want.task.ID, 0, 10, true)
		require.NoError(t, err)
		require.Equal(t, want.events, events)
	}
	bundles, err := s.Bundles(t.Context())
	require.NoError(t, err)
	require.Equal(t, []store.BundleRecord{{Digest: "d", Defines: []string{"a.v1.A"}, Time: time.UnixMicro(1).UTC()}}, bundles)

	dead := tasks[1].task
	answers, err := s.Start(t.Context(), []task.StartRequest{
		{RequestID: "1", TaskID: dead.ID, Run: 1, Attempt: 1, Copy: task.Copy{1}, Delivery: 2},
		{RequestID: "2", TaskID: dead.ID, Run: 2, Attempt: 1, Copy: task.Copy{2}, Delivery: 1},
		{RequestID: "3", TaskID: purged.String(), Run: 1, Attempt: 1, Copy: task.Copy{1}, Delivery: 2},
	})
	require.NoError(t, err)
	require.Equal(t, []task.StartVerdict{task.VerdictRepeat, task.VerdictStart, task.VerdictDrop},
		[]task.StartVerdict{answers[0].Verdict, answers[1].Verdict, answers[2].Verdict})

	const rows = 1 + 3 + 2
	n, err := s.PurgeEnded(t.Context(), store.Ended{Before: time.Now()}, 100)
	require.NoError(t, err)
	require.Equal(t, 2*rows, n)
	_, err = s.Task(t.Context(), dead.ID)
	require.NoError(t, err)
}

func TestPastOverridesAreKept(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	var want []store.Override
	for version := range int64(3) {
		o := store.Override{TaskType: "a.v1.A.B", Version: version + 1, Options: []byte{byte(version)}, Paths: []string{"timeout"}, Reason: "slow", Time: time.UnixMicro(version + 1).UTC()}
		require.NoError(t, s.PutOverride(t.Context(), o))
		require.NoError(t, s.PutOverride(t.Context(), o))
		want = append(want, o)
	}
	rows, err := s.db.Reader.QueryContext(t.Context(), `SELECT `+overrideColumns+` FROM override_history ORDER BY version`)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	var got []store.Override
	for rows.Next() {
		o, err := scanOverride(rows)
		require.NoError(t, err)
		got = append(got, o)
	}
	require.NoError(t, rows.Err())
	require.Equal(t, want, got)
}
