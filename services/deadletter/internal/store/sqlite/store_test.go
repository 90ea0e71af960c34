package sqlite_test

import (
	"context"
	"io/fs"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
	"github.com/warrenmq/warren/services/deadletter/internal/store/sqlite"
	"github.com/warrenmq/warren/services/deadletter/internal/store/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, file(t)) })
}

func file(t testing.TB) string { return filepath.Join(t.TempDir(), "store.db") }

func open(t testing.TB, file string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), "sqlite:"+file, sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// dead makes the death of a task's run.
func dead(id string, run int) store.Arrival {
	return store.Arrival{
		ID: id, Type: "a.v1.A.B", Notify: true, Labels: map[string]string{"customer": "acme"},
		Occurrence: store.Occurrence{
			Run: run, Attempt: 3, Cause: task.CauseAttemptsExhausted, DeadTime: time.UnixMicro(1),
			Failure:  &task.Failure{Code: 14, Message: "the other side is down"},
			Attempts: []task.Record{{Key: task.Key{Run: run, Attempt: 1}}, {Key: task.Key{Run: run, Attempt: 2}}},
		},
		Message: store.Message{Body: make([]byte, 200), Headers: map[string]string{"traceparent": "00-1-2-01"}},
	}
}

func TestReopenKeepsEverything(t *testing.T) {
	t.Parallel()
	path, ctx := file(t), t.Context()
	s := open(t, path)
	a, b := dead(task.NewID(), 1), dead(task.NewID(), 1)
	_, err := s.Put(ctx, []store.Arrival{a, b})
	require.NoError(t, err)
	_, intent, err := s.BeginReplay(ctx, store.ReplayRequest{ID: a.ID, Run: 2, By: store.Call{Reason: "why"}})
	require.NoError(t, err)
	intent, err = s.MarkPublishing(ctx, intent.ID)
	require.NoError(t, err)
	type everything struct {
		list          store.Page
		changes       store.ChangePage
		audit         []store.AuditEntry
		intents       []store.Intent
		notifications []store.Notification
	}
	all := func() (e everything) {
		var errs [5]error
		e.list, errs[0] = s.List(ctx, store.Query{Limit: 10, Full: true})
		e.changes, errs[1] = s.Changes(ctx, 0, nil, 10, true)
		e.audit, errs[2] = s.Audit(ctx, a.ID)
		e.intents, errs[3] = s.Intents(ctx, store.IntentPending, 0, 10)
		e.notifications, errs[4] = s.DueNotifications(ctx, store.BuiltInRule, time.Now(), 10)
		require.Equal(t, [5]error{}, errs)
		return e
	}
	want := all()
	require.Len(t, want.list.DeadLetters, 2)
	require.Len(t, want.notifications, 2)
	require.Equal(t, []store.Intent{intent}, want.intents)
	require.NoError(t, s.Close())
	s = open(t, path)
	require.Equal(t, want, all())
	changes, err := s.Put(ctx, []store.Arrival{a, b})
	require.NoError(t, err)
	for _, c := range changes {
		require.Equal(t, store.ChangeNone, c.Kind)
	}
	require.Equal(t, want, all())
}

// lock takes the write lock of a store's file, as another process would.
func lock(t *testing.T, path string) (unlock func()) {
	t.Helper()
	// Another process that has the file open needs no migrations of its own.
	var migrations fs.FS = fstest.MapFS{"00001_store.sql": {Data: []byte("-- +goose Up\n")}}
	other, err := sqldb.Open(t.Context(), "sqlite:"+path, migrations)
	require.NoError(t, err)
	tx, err := other.Writer.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	return func() {
		require.NoError(t, tx.Rollback())
		require.NoError(t, other.Close())
	}
}

func TestLockedStoreIsUnavailable(t *testing.T) {
	t.Parallel()
	path, ctx := file(t), t.Context()
	s := open(t, path)
	known := dead(task.NewID(), 1)
	_, err := s.Put(ctx, []store.Arrival{known})
	require.NoError(t, err)
	unlock := lock(t, path)

	writes := storetest.Writes(ctx, s, task.NewID())
	for _, name := range []string{"Put", "BeginReplay", "Check"} { // each waits for the lock
		write := writes[name]
		begin := time.Now()
		require.ErrorIs(t, write(), store.ErrUnavailable, name)
		require.Less(t, time.Since(begin), 3*time.Second, name)
	}
	_, err = s.Get(ctx, known.ID, true)
	require.NoError(t, err, "readers need no lock")

	unlock()
	require.NoError(t, s.Check(ctx))
	n, err := s.Count(ctx, store.Query{})
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	_, _, err = s.BeginReplay(ctx, store.ReplayRequest{ID: known.ID, Run: 2})
	require.NoError(t, err)
}

// Others that wait for the lock, one after the other, must not delay the answer
// of a check.
func TestCheckAnswersBehindOthers(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	unlock := lock(t, path)
	defer unlock()
	waiting := make(chan error)
	for range 3 {
		go func() {
			_, err := s.Put(context.WithoutCancel(t.Context()), []store.Arrival{dead(task.NewID(), 1)})
			waiting <- err
		}()
	}
	begin := time.Now()
	require.ErrorIs(t, s.Check(t.Context()), store.ErrUnavailable)
	require.Less(t, time.Since(begin), 3*time.Second)
	for range 3 {
		require.ErrorIs(t, <-waiting, store.ErrUnavailable)
	}
}

func TestContextEndsTheWaitForTheLock(t *testing.T) {
	t.Parallel()
	path := file(t)
	s := open(t, path)
	unlock := lock(t, path)
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := s.Put(ctx, []store.Arrival{dead(task.NewID(), 1)})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, store.ErrUnavailable)
	require.Less(t, time.Since(begin), time.Second)
}

func TestOpenOfALockedFile(t *testing.T) {
	t.Parallel()
	path := file(t)
	unlock := lock(t, path)
	defer unlock()
	_, err := sqlite.Open(t.Context(), "sqlite:"+path, sqlite.Options{})
	require.ErrorIs(t, err, store.ErrUnavailable)
}

func TestOpenOfABadURL(t *testing.T) {
	t.Parallel()
	_, err := sqlite.Open(t.Context(), "postgres://localhost/warren", sqlite.Options{})
	require.ErrorIs(t, err, sqldb.ErrURL)
	require.NotErrorIs(t, err, store.ErrUnavailable)
}
