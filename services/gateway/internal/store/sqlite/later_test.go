package sqlite_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
)

// later makes a task that is due at a time.
func later(due time.Time) store.Scheduled {
	e := benchTask()[0]
	e.Key.Phase, e.ScheduleTime = task.PhaseScheduled, due
	return store.Scheduled{Event: e, Message: make([]byte, 320)}
}

// What waits, who has it, and what is to fire outlive a restart.
func TestReopenKeepsWhatIsForLater(t *testing.T) {
	t.Parallel()
	path := sqlite.EmptyFile(t)
	s := open(t, path)
	now := time.Now().Truncate(time.Microsecond).UTC()
	leased, waits := later(now.Add(-time.Second)), later(now.Add(time.Hour))
	_, err := s.Schedule(t.Context(), []store.Scheduled{leased, waits})
	require.NoError(t, err)
	due, _, err := s.TakeDue(t.Context(), now, time.Minute, 10, nil)
	require.NoError(t, err)
	require.Len(t, due, 1)
	nightly := store.Schedule{ID: "nightly", Version: 1, Spec: []byte("spec"), Next: now.Add(time.Minute)}
	require.NoError(t, s.PutSchedule(t.Context(), nightly))
	fired := later(now.Add(2 * time.Hour))
	firing := store.Firing{Time: now, Encoded: []byte("firing")}
	_, err = s.Fire(t.Context(), store.Fire{ScheduleID: "nightly", Version: 1, Was: nightly.Next, Next: now.Add(time.Hour), Firing: firing, Task: &fired})
	require.NoError(t, err)
	want, err := s.Task(t.Context(), waits.Event.TaskID)
	require.NoError(t, err)
	require.NoError(t, s.Close())

	s = open(t, path)
	due, next, err := s.TakeDue(t.Context(), now.Add(59*time.Second), time.Minute, 10, nil)
	require.NoError(t, err)
	require.Empty(t, due)
	require.Equal(t, now.Add(time.Minute), next)
	due, _, err = s.TakeDue(t.Context(), now.Add(time.Minute), time.Minute, 10, nil)
	require.NoError(t, err)
	require.Equal(t, []store.Due{{TaskID: leased.Event.TaskID, Type: leased.Event.Type, Message: leased.Message, Again: true}}, due)
	got, err := s.Task(t.Context(), waits.Event.TaskID)
	require.NoError(t, err)
	require.Equal(t, want, got)
	message, err := s.ScheduledMessage(t.Context(), fired.Event.TaskID)
	require.NoError(t, err)
	require.Equal(t, fired.Message, message)
	n, err := s.CountScheduled(t.Context(), "")
	require.NoError(t, err)
	require.EqualValues(t, 3, n)
	nightly.Next, nightly.Firings = now.Add(time.Hour), []store.Firing{firing}
	schedule, err := s.GetSchedule(t.Context(), "nightly")
	require.NoError(t, err)
	require.Equal(t, nightly, schedule)
	_, err = s.Fire(t.Context(), store.Fire{ScheduleID: "nightly", Version: 1, Was: now.Add(time.Minute), Firing: firing})
	require.ErrorIs(t, err, store.ErrChanged)
}
