package sqlite

import (
	"database/sql"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/storetest"
)

// withID is a task's first event.
func withID(id uuid.UUID, phase task.Phase) task.Event {
	e := life()[0]
	e.TaskID, e.Key.Phase = id.String(), phase
	return e
}

// lookedFor returns which tasks are looked for, and which are found.
func lookedFor(t tester, s *Store, ids ...uuid.UUID) (looked, found []uuid.UUID) {
	require.NoError(t, s.db.Write(t.Context(), func(tx *sql.Tx) error {
		e := s.newEntries(t.Context(), tx)
		for _, id := range ids {
			e.add(id)
		}
		unknown, err := e.unknown(t.Context())
		require.NoError(t, err)
		for _, u := range unknown {
			looked = append(looked, u.id)
		}
		require.NoError(t, e.load(t.Context()))
		for _, entry := range e.order {
			if entry.known != nil || entry.purgedRun > 0 {
				found = append(found, entry.id)
			}
		}
		return nil
	}))
	return looked, found
}

// Tasks of schedules have ids of times to come: what is submitted before then is
// found all the same, and need not be looked for if it is new.
func TestIDsOfTimesToCome(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	past, one, two, soon, future := uuid.UUID{1}, uuid.UUID{2}, uuid.UUID{3}, uuid.UUID{4}, uuid.UUID{255}
	_, err := s.Schedule(t.Context(), []store.Scheduled{scheduledTask(future.String(), always), scheduledTask(past.String(), always)})
	require.NoError(t, err)
	looked, found := lookedFor(t, s, two, one)
	require.Empty(t, looked)
	require.Empty(t, found)
	_, err = s.Apply(t.Context(), []task.Event{withID(two, task.PhaseQueued)})
	require.NoError(t, err)
	looked, found = lookedFor(t, s, soon, two, one, past)
	require.Equal(t, []uuid.UUID{two, one, past}, looked)
	require.Equal(t, []uuid.UUID{two, past}, found)
	looked, found = lookedFor(t, s, future, soon)
	require.Equal(t, []uuid.UUID{future, soon}, looked)
	require.Equal(t, []uuid.UUID{future}, found)
	changes, err := s.Apply(t.Context(), []task.Event{withID(future, task.PhaseStarted), withID(soon, task.PhaseQueued)})
	require.NoError(t, err)
	require.Equal(t, []store.Change{
		{TaskID: future.String(), Version: 2, State: task.StateRunning}, {TaskID: soon.String(), Version: 1, State: task.StateQueued},
	}, storetest.Bare(changes...))
}

// Whatever ids tasks have, those that are stored are found, and those that were
// purged.
func TestStoredTasksAreFound(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	stored := map[uuid.UUID]bool{}
	rapid.Check(t, func(t *rapid.T) {
		drawIDs := func(what string) []uuid.UUID {
			return rapid.SliceOfNDistinct(rapid.Map(rapid.IntRange(0, 0x3fff), func(n int) uuid.UUID {
				return uuid.UUID{byte(n >> 8), 15: byte(n)}
			}), 1, 70, rapid.ID).Draw(t, what)
		}
		phase := rapid.SampledFrom([]task.Phase{task.PhaseQueued, task.PhaseCancelled})
		for _, id := range drawIDs("stored") {
			_, err := s.Apply(t.Context(), []task.Event{withID(id, phase.Draw(t, "phase"))})
			require.NoError(t, err)
			stored[id] = true
		}
		_, err := s.PurgeEnded(t.Context(), store.Ended{Before: always}, store.MaxPurge)
		require.NoError(t, err)
		ids := drawIDs("asked for")
		var want []uuid.UUID
		for _, id := range ids {
			if stored[id] {
				want = append(want, id)
			}
		}
		_, found := lookedFor(t, s, ids...)
		require.Equal(t, want, found)
	})
}
