package sqlite

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// openAt opens an empty store whose clock is the one given.
func openAt(t *testing.T, now *time.Time) *Store {
	t.Helper()
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), Options{Clock: func() time.Time { return *now }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// died puts the first death of a task.
func died(t *testing.T, s *Store) store.DeadLetter {
	t.Helper()
	id := task.NewID()
	_, err := s.Put(t.Context(), []store.Arrival{{
		ID: id, Type: "a.v1.A.B", Occurrence: store.Occurrence{Run: 1, Cause: task.CauseExpired}, Message: store.Message{Body: []byte("first")},
	}})
	require.NoError(t, err)
	d, err := s.Get(t.Context(), id, true)
	require.NoError(t, err)
	return d
}

func execute(t *testing.T, s *Store, query string, args ...any) {
	t.Helper()
	_, err := s.db.Writer.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
}

func reviseNow(t *testing.T, s *Store, id string) (store.DeadLetter, error) {
	t.Helper()
	d, err := s.Get(t.Context(), id, false)
	require.NoError(t, err)
	d, _, err = s.Revise(t.Context(), store.ReviseRequest{ID: id, Etag: d.Etag, Payload: []byte("next")})
	return d, err
}

func TestHeldIsNotRevised(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := openAt(t, &now)
	d := died(t, s)
	execute(t, s, `UPDATE dead_letters SET held = 1`)
	_, err := reviseNow(t, s, d.ID)
	require.ErrorIs(t, err, store.ErrHeld)
	require.NotErrorIs(t, err, store.ErrUnavailable)
	execute(t, s, `UPDATE dead_letters SET held = 0, state = ?`, int64(store.StateQuarantined))
	revised, err := reviseNow(t, s, d.ID)
	require.NoError(t, err)
	require.Equal(t, store.StateQuarantined, revised.State)
	entries, err := s.Audit(t.Context(), d.ID)
	require.NoError(t, err)
	require.Equal(t, store.StateQuarantined, entries[1].From)
	require.Equal(t, store.StateQuarantined, entries[1].To)
}

// What comes in after all revisions were forgotten is an original.
func TestForgottenRevisionsBeginAnew(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := openAt(t, &now)
	d, other := died(t, s), died(t, s)
	for range 3 {
		_, err := reviseNow(t, s, d.ID)
		require.NoError(t, err)
		_, err = reviseNow(t, s, other.ID)
		require.NoError(t, err)
	}
	execute(t, s, `DELETE FROM payload_revisions WHERE dead_letter = ?`, d.Sequence)
	got, err := s.Get(t.Context(), d.ID, true)
	require.NoError(t, err)
	require.Equal(t, 1, got.Revision)
	require.Nil(t, got.Revisions)
	payload, ok, err := s.Payload(t.Context(), d.Sequence, 0)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, []byte("first"), payload)
	kept, err := s.Get(t.Context(), other.ID, true)
	require.NoError(t, err)
	require.Equal(t, 4, kept.Revision)
	require.Len(t, kept.Revisions, 4)

	// And without a message there is none.
	execute(t, s, `DELETE FROM messages WHERE dead_letter = ?`, d.Sequence)
	_, ok, err = s.Payload(t.Context(), d.Sequence, 0)
	require.NoError(t, err)
	require.False(t, ok)
}

func TestSelectionsExpire(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Truncate(time.Microsecond)
	begin := now
	s := openAt(t, &now)
	d := died(t, s)
	first, err := s.Freeze(t.Context(), store.FreezeRequest{IDs: []string{d.ID}})
	require.NoError(t, err)
	require.Equal(t, begin.Add(store.SelectionTTL), first.ExpireTime)
	now = begin.Add(store.SelectionTTL - time.Microsecond)
	_, err = s.Selection(t.Context(), first.Token)
	require.NoError(t, err)
	now = begin.Add(store.SelectionTTL)
	_, err = s.Selection(t.Context(), first.Token)
	require.ErrorIs(t, err, store.ErrNoSelection)

	// The next one sweeps it away.
	second, err := s.Freeze(t.Context(), store.FreezeRequest{})
	require.NoError(t, err)
	var kept int
	require.NoError(t, s.db.Reader.QueryRowContext(t.Context(), `SELECT count(*) FROM selections`).Scan(&kept))
	require.Equal(t, 1, kept)
	_, err = s.Selection(t.Context(), second.Token)
	require.NoError(t, err)
}

// What is asked of the audit's index must be found by it.
func TestAuditUsesIndices(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := openAt(t, &now)
	const list = `SELECT ` + auditEventColumns + ` FROM audit_events e WHERE `
	for query, want := range map[string]string{
		list + `e.sequence < ? ORDER BY e.sequence DESC LIMIT ?`: "SEARCH e USING INTEGER PRIMARY KEY (rowid<?)",
		list + `e.resource = ? ORDER BY e.sequence DESC LIMIT ?`: "SEARCH e USING INDEX audit_events_resource (resource=?)",
	} {
		require.Equal(t, []string{want}, plan(t, s, query))
	}
}
