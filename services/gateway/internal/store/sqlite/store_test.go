package sqlite_test

import (
	"context"
	"io/fs"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/sqldb"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
	"github.com/warrenmq/warren/services/gateway/internal/store/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store { return sqlite.OpenHasty(t, sqlite.EmptyFile(t)) })
}

// migrations are those of the store, of which another process that has the file
// open needs none.
func migrations() fs.FS {
	return fstest.MapFS{"00001_store.sql": {Data: []byte("-- +goose Up\n")}}
}

func open(t testing.TB, file string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), "sqlite:"+file, sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestReopenKeepsEverything(t *testing.T) {
	t.Parallel()
	path := sqlite.EmptyFile(t)
	s := open(t, path)
	events := benchTask()
	purged := benchTask()
	_, err := s.Apply(t.Context(), purged)
	require.NoError(t, err)
	n, err := s.PurgeEnded(t.Context(), store.Ended{Before: time.Now().Add(time.Hour)}, 1)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, err = s.Apply(t.Context(), events)
	require.NoError(t, err)
	bundle := store.BundleRecord{Digest: "d", Services: []string{"a.v1.A"}, Defines: []string{"a.v1.A"}, Files: [][]byte{{1}}, Time: time.UnixMicro(1).UTC()}
	require.NoError(t, s.PutBundle(t.Context(), bundle))
	override := store.Override{TaskType: "a.v1.A.B", Version: 1, Options: []byte{1}, Paths: []string{"timeout"}, Time: time.UnixMicro(1).UTC()}
	require.NoError(t, s.PutOverride(t.Context(), override))
	id := events[0].TaskID
	held, _, err := s.ClaimRun(t.Context(), id, 2, task.Copy{1})
	require.NoError(t, err)
	require.True(t, held)
	want, err := s.Task(t.Context(), id)
	require.NoError(t, err)
	wantEvents, err := s.Events(t.Context(), id, 0, 10, true)
	require.NoError(t, err)
	require.NoError(t, s.Close())

	s = open(t, path)
	got, err := s.Task(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, want, got)
	gotEvents, err := s.Events(t.Context(), id, 0, 10, true)
	require.NoError(t, err)
	require.Equal(t, wantEvents, gotEvents)
	bundles, err := s.Bundles(t.Context())
	require.NoError(t, err)
	require.Equal(t, []store.BundleRecord{bundle}, bundles)
	overrides, err := s.Overrides(t.Context())
	require.NoError(t, err)
	require.Equal(t, []store.Override{override}, overrides)
	held, _, err = s.ClaimRun(t.Context(), id, 2, task.Copy{2})
	require.NoError(t, err)
	require.False(t, held)
	changes, err := s.Apply(t.Context(), append(events, purged...))
	require.NoError(t, err)
	require.Empty(t, changes)
}

// lock takes the write lock of a store's file, as another process would.
func lock(t *testing.T, path string) (unlock func()) {
	t.Helper()
	other, err := sqldb.Open(t.Context(), "sqlite:"+path, migrations())
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
	path := sqlite.EmptyFile(t)
	s := open(t, path)
	known, event := benchTask(), benchTask()
	_, err := s.Apply(t.Context(), known)
	require.NoError(t, err)

	ctx := t.Context()
	writes := map[string]func(*sqlite.Store) error{
		"Apply": func(s *sqlite.Store) error { _, err := s.Apply(ctx, event); return err },
		"PurgeEnded": func(s *sqlite.Store) error {
			_, err := s.PurgeEnded(ctx, store.Ended{Before: time.Now()}, 1)
			return err
		},
		"PurgeTombstones": func(s *sqlite.Store) error { _, err := s.PurgeTombstones(ctx, time.Now(), 1); return err },
		"Start": func(s *sqlite.Store) error {
			_, err := s.Start(ctx, []task.StartRequest{{TaskID: event[0].TaskID}})
			return err
		},
		"ClaimRun": func(s *sqlite.Store) error { _, _, err := s.ClaimRun(ctx, event[0].TaskID, 1, task.Copy{}); return err },
		"Schedule": func(s *sqlite.Store) error {
			_, err := s.Schedule(ctx, []store.Scheduled{later(time.Now())})
			return err
		},
		"TakeDue":        func(s *sqlite.Store) error { _, _, err := s.TakeDue(ctx, time.Now(), time.Minute, 1, nil); return err },
		"Unschedule":     func(s *sqlite.Store) error { return s.Unschedule(ctx, []string{event[0].TaskID}) },
		"PutSchedule":    func(s *sqlite.Store) error { return s.PutSchedule(ctx, store.Schedule{ID: "nightly", Version: 1}) },
		"DeleteSchedule": func(s *sqlite.Store) error { return s.DeleteSchedule(ctx, "nightly", 0) },
		"Fire":           func(s *sqlite.Store) error { _, err := s.Fire(ctx, store.Fire{ScheduleID: "nightly"}); return err },
		"PutOverride": func(s *sqlite.Store) error {
			return s.PutOverride(ctx, store.Override{TaskType: "a.v1.A.B", Version: 1})
		},
		"PutBundle": func(s *sqlite.Store) error { return s.PutBundle(ctx, store.BundleRecord{Digest: "d"}) },
		"Check":     func(s *sqlite.Store) error { return s.Check(ctx) },
	}
	// Each in a store of its own, so that they wait beside each other.
	stores := map[string]*sqlite.Store{}
	for name := range writes {
		stores[name] = open(t, path)
	}
	unlock := lock(t, path)
	var waiting sync.WaitGroup
	for name, write := range writes {
		waiting.Go(func() {
			begin := time.Now()
			assert.ErrorIs(t, write(stores[name]), store.ErrUnavailable, name)
			assert.Less(t, time.Since(begin), 3*time.Second, name)
		})
	}
	waiting.Wait()
	_, err = s.Task(ctx, known[0].TaskID)
	require.NoError(t, err, "readers need no lock")

	unlock()
	require.NoError(t, stores["Check"].Check(ctx))
	_, err = s.Task(ctx, event[0].TaskID)
	require.ErrorIs(t, err, store.ErrNotFound)
	changes, err := stores["Apply"].Apply(ctx, event)
	require.NoError(t, err)
	require.Len(t, changes, 1)
}

// Others that wait for the lock, one after the other, must not delay the answer
// of a check.
func TestCheckAnswersBehindOthers(t *testing.T) {
	t.Parallel()
	path := sqlite.EmptyFile(t)
	s := open(t, path)
	unlock := lock(t, path)
	defer unlock()
	waiting := make(chan error)
	for range 3 {
		go func() {
			_, err := s.Apply(context.WithoutCancel(t.Context()), benchTask())
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
	path := sqlite.EmptyFile(t)
	s := open(t, path)
	unlock := lock(t, path)
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := s.Apply(ctx, []task.Event{benchTask()[0]})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, store.ErrUnavailable)
	require.Less(t, time.Since(begin), time.Second)
}

func TestOpenOfALockedFile(t *testing.T) {
	t.Parallel()
	path := sqlite.EmptyFile(t)
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
