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
)

// insertEventV2 is how a program of version 2 writes an event.
const insertEventV2 = `INSERT INTO task_events (task_id, number, key, phase, time, state, correction, worker_id,
	host, version, redelivered, alone, payload_size, payload_sha256, payload_omitted,
	failure, cause, decision, next_attempt, next_attempt_time, body_size)
VALUES (?, ?, ?, ?, ?, ?, 0, 'w', NULL, NULL, NULL, NULL, NULL, NULL, NULL, ?, ?, 'decided', 0, NULL, NULL)`

// A database of version 2 is upgraded: what is in it has no metadata, nor has
// what an older program goes on writing into it, and what comes now has.
func TestUpgradeFromVersion2(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "store.db")
	older := fstest.MapFS{}
	for _, name := range []string{"00001_store.sql", "00002_retries.sql"} {
		b, err := fs.ReadFile(migrations, "migrations/"+name)
		require.NoError(t, err)
		older[name] = &fstest.MapFile{Data: b}
	}
	old, err := sqldb.Open(t.Context(), "sqlite:"+file, older)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, old.Close()) })

	id := uuid.New()
	dead := task.Event{
		TaskID: id.String(), Type: "a.v1.A.B", WorkerID: "w", Time: time.UnixMicro(1).UTC(), Decision: "decided",
		Key:     task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseDeadLettered, Copy: task.Copy{1}},
		Failure: &task.Failure{Code: 13}, Cause: task.CausePermanentFailure,
	}
	later := dead
	later.Key.Delivery = 2
	write := func(number int64, e task.Event) {
		_, err := old.Writer.ExecContext(t.Context(), insertEventV2, id[:], number, packKey(e.Key), e.Key.Phase, e.Time.UnixMicro(),
			e.Key.Phase.State(), `{"code":13}`, e.Cause)
		require.NoError(t, err)
	}
	write(1, dead)
	_, err = old.Writer.ExecContext(t.Context(), insertTaskV1, id[:], task.StateDeadLettered, 1, packKey(dead.Key), packKey(task.Key{}), 0, 0, `{"code":13}`, dead.Cause)
	require.NoError(t, err)
	_, err = old.Writer.ExecContext(t.Context(), `UPDATE tasks SET version = 2 WHERE id = ?`, id[:])
	require.NoError(t, err)

	s := OpenHasty(t, file)
	write(2, later)
	for _, want := range []task.Event{dead, later} {
		got, err := s.Event(t.Context(), dead.TaskID, want.Key)
		require.NoError(t, err)
		require.Equal(t, want, got.Event)
	}

	done := dead
	done.Key.Phase, done.Message, done.Failure, done.Cause = task.PhaseSucceeded, []byte("late"), nil, 0
	done.Headers = task.Metadata{"x-raw-bin": {"\xff"}}
	_, err = s.Apply(t.Context(), []task.Event{done})
	require.NoError(t, err)
	history, err := s.History(t.Context(), dead.TaskID)
	require.NoError(t, err)
	require.Len(t, history, 3)
	require.Nil(t, history[0].Headers)
	require.Nil(t, history[1].Trailers)
	require.Equal(t, done.Headers, history[2].Headers)
}

func TestBrokenMetadataIsAnError(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	e := task.Event{
		TaskID: task.NewID(), Type: "a.v1.A.B", Time: time.UnixMicro(1),
		Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseSucceeded, Copy: task.NewCopy()},
	}
	_, err := s.Apply(t.Context(), []task.Event{e})
	require.NoError(t, err)
	_, err = s.db.Writer.ExecContext(t.Context(), `UPDATE task_events SET metadata = '{'`)
	require.NoError(t, err)
	_, err = s.Event(t.Context(), e.TaskID, e.Key)
	require.ErrorContains(t, err, "decode metadata")
}

// An event is found by its key, and nothing is passed over on the way.
func TestEventIsFoundByAnIndex(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	steps := plan(t, s, selectEvent)
	require.Len(t, steps, 3)
	for _, step := range steps {
		require.Contains(t, step, "SEARCH")
	}
	require.Contains(t, steps[1], "task_events_key (task_id=? AND key=?")
}
