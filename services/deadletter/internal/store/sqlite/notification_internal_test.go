package sqlite

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// What a program of an earlier version inserts is a notification of the webhook.
func TestNotificationsOfEarlierVersions(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	id := task.NewID()
	_, err = s.Put(t.Context(), []store.Arrival{{
		ID: id, Type: "acme.v1.X", Occurrence: store.Occurrence{Run: 1, Cause: task.CauseExpired},
	}})
	require.NoError(t, err)
	notification := uuid.New()
	_, err = s.db.Writer.ExecContext(t.Context(),
		`INSERT INTO notifications (id, dead_letter, run, state, time, attempts, next_time, last_error)
SELECT ?, sequence, 1, 1, 5, 0, 5, '' FROM dead_letters`, notification[:])
	require.NoError(t, err)
	due, err := s.DueNotifications(t.Context(), store.BuiltInRule, time.Now(), 10)
	require.NoError(t, err)
	require.Len(t, due, 1)
	require.Equal(t, store.TriggerDeadLetter, due[0].Trigger)
	require.Equal(t, store.BuiltInRule, due[0].RuleID)
	require.Equal(t, id, due[0].DeadLetterID)
	require.Equal(t, "acme.v1.X", due[0].Type)
}
