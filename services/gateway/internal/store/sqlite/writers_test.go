package sqlite

import (
	"context"
	"database/sql"
	"maps"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/storetest"
)

// tester is a test, or a check of a property.
type tester interface {
	require.TestingT
	Context() context.Context
}

// always is after whatever happens in a test.
var always = time.Unix(1<<33, 0)

// requireRecentHolds requires what is remembered of tasks to be what is stored of
// them, and returns of how many.
func requireRecentHolds(t tester, s *Store) int {
	remembered := map[uuid.UUID]*known{}
	s.recent.mu.Lock()
	maps.Copy(remembered, s.recent.old)
	maps.Copy(remembered, s.recent.young)
	s.recent.mu.Unlock()
	err := s.db.Write(t.Context(), func(tx *sql.Tx) error {
		stored := s.newEntries(t.Context(), tx)
		for id := range remembered {
			stored.add(id)
		}
		if err := stored.load(t.Context()); err != nil {
			return err
		}
		for id, k := range remembered {
			require.Equal(t, stored.tasks[id].known, k)
		}
		return nil
	})
	require.NoError(t, err)
	return len(remembered)
}

// scheduledTask is waitingTask as a task that is known by its id.
func scheduledTask(id string, due time.Time) store.Scheduled {
	one := waitingTask(due)
	one.Event.TaskID = id
	return one
}

// updatedTask is an UPDATED event.
func updatedTask(id string, sequence int64) task.Event {
	e := waitingTask(time.Time{}).Event
	e.TaskID, e.Key.Phase, e.Key.Sequence = id, task.PhaseUpdated, sequence
	e.Head.Labels = map[string]string{"updated": "yes"}
	return e
}

// trigger fires a schedule now.
func trigger(t tester, s *Store, one store.Scheduled) {
	id := uuid.NewString()
	require.NoError(t, s.PutSchedule(t.Context(), store.Schedule{ID: id, Version: 1}))
	_, err := s.Fire(t.Context(), store.Fire{ScheduleID: id, Version: 1, Firing: store.Firing{Time: one.Event.Time}, Task: &one})
	require.NoError(t, err)
}

// Whatever changes tasks, nothing is remembered that is no longer so.
func TestWhatIsRememberedIsStored(t *testing.T) {
	t.Parallel()
	s := openHere(t)
	remembered := 0
	rapid.Check(t, func(t *rapid.T) {
		ids := []string{task.NewID(), task.NewID()}
		for range rapid.IntRange(1, 10).Draw(t, "changes") {
			write := rapid.SampledFrom([]func(*rapid.T, *Store, string){
				applySome, applySome, cancelOne, scheduleOne, fireOne, updateOne, purgeSome,
			}).Draw(t, "by")
			write(t, s, rapid.SampledFrom(ids).Draw(t, "task"))
			remembered += requireRecentHolds(t, s)
		}
	})
	require.Positive(t, remembered)
}

func applySome(t *rapid.T, s *Store, id string) {
	events := make([]task.Event, rapid.IntRange(1, 4).Draw(t, "events"))
	for i := range events {
		events[i] = drawEvent(t, id)
	}
	_, err := s.Apply(t.Context(), events)
	require.NoError(t, err)
}

func cancelOne(t *rapid.T, s *Store, id string) {
	_, err := s.Cancel(t.Context(), []store.CancelRequest{{TaskID: id, Reason: "r", Time: time.Unix(3, 0)}})
	require.NoError(t, err)
}

func scheduleOne(t *rapid.T, s *Store, id string) {
	_, err := s.Schedule(t.Context(), []store.Scheduled{scheduledTask(id, time.Unix(9, 0))})
	require.NoError(t, err)
}

func fireOne(t *rapid.T, s *Store, id string) { trigger(t, s, scheduledTask(id, time.Unix(9, 0))) }

func updateOne(t *rapid.T, s *Store, id string) {
	known, err := s.Task(t.Context(), id)
	if err != nil {
		require.ErrorIs(t, err, store.ErrNotFound)
		return
	}
	e := updatedTask(id, known.UpdateSequence+1)
	e.Key.Run = known.Run
	_, err = s.Update(t.Context(), known.Version, e, nil)
	require.NoError(t, err)
}

func purgeSome(t *rapid.T, s *Store, _ string) {
	_, err := s.PurgeEnded(t.Context(), store.Ended{Before: always}, rapid.IntRange(1, 20).Draw(t, "rows"))
	require.NoError(t, err)
	if rapid.Bool().Draw(t, "and tombstones") {
		_, err = s.PurgeTombstones(t.Context(), always, 100)
		require.NoError(t, err)
	}
}

// Apply goes on from what others have made of a task that it remembered, or has
// never seen.
func TestApplySeesWhatOthersWrite(t *testing.T) {
	t.Parallel()
	due := time.Unix(9, 0).UTC()
	schedule := func(t *testing.T, s *Store, one store.Scheduled) {
		t.Helper()
		_, err := s.Schedule(t.Context(), []store.Scheduled{one})
		require.NoError(t, err)
	}
	for name, c := range map[string]struct {
		// write is between QUEUED and STARTED, if the former is not skipped.
		write   func(t *testing.T, s *Store, id string)
		skip    bool
		version int64
		state   task.State
	}{
		"Cancel of what waits": {skip: true, version: 4, state: task.StateCancelled, write: func(t *testing.T, s *Store, id string) {
			t.Helper()
			schedule(t, s, scheduledTask(id, due))
			_, err := s.Apply(t.Context(), []task.Event{updatedTask(id, 1)})
			require.NoError(t, err)
			require.Equal(t, 1, requireRecentHolds(t, s))
			answers, err := s.Cancel(t.Context(), []store.CancelRequest{{TaskID: id, Time: due}})
			require.NoError(t, err)
			require.True(t, answers[0].Changed)
		}},
		"Schedule":            {skip: true, version: 2, state: task.StateRunning, write: func(t *testing.T, s *Store, id string) { schedule(t, s, scheduledTask(id, due)) }},
		"Schedule of a known": {version: 2, state: task.StateRunning, write: func(t *testing.T, s *Store, id string) { schedule(t, s, scheduledTask(id, due)) }},
		"Fire":                {skip: true, version: 2, state: task.StateRunning, write: func(t *testing.T, s *Store, id string) { trigger(t, s, scheduledTask(id, due)) }},
		"Update": {version: 3, state: task.StateRunning, write: func(t *testing.T, s *Store, id string) {
			t.Helper()
			_, err := s.Update(t.Context(), 1, updatedTask(id, 1), nil)
			require.NoError(t, err)
		}},
		"PurgeEnded": {write: func(t *testing.T, s *Store, id string) {
			t.Helper()
			_, err := s.Cancel(t.Context(), []store.CancelRequest{{TaskID: id}})
			require.NoError(t, err)
			ended := waitingTask(due).Event
			ended.TaskID, ended.Key.Phase = id, task.PhaseCancelled
			_, err = s.Apply(t.Context(), []task.Event{ended})
			require.NoError(t, err)
			_, err = s.PurgeEnded(t.Context(), store.Ended{Before: always}, 100)
			require.NoError(t, err)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openHere(t)
			events := life()
			if !c.skip {
				_, err := s.Apply(t.Context(), events[:1])
				require.NoError(t, err)
				require.Equal(t, 1, requireRecentHolds(t, s))
			}
			id := events[0].TaskID
			c.write(t, s, id)
			before, _ := s.Task(t.Context(), id)
			changes, err := s.Apply(t.Context(), events[1:2])
			require.NoError(t, err)
			if c.version == 0 {
				require.Empty(t, changes)
				return
			}
			require.Equal(t, []store.Change{{TaskID: id, Version: c.version, State: c.state}}, storetest.Bare(changes...))
			after, err := s.Task(t.Context(), id)
			require.NoError(t, err)
			after.State, after.Version, after.Attempt = before.State, before.Version, before.Attempt
			after.Decided, after.UpdateTime, after.Started, after.StartTime = before.Decided, before.UpdateTime, before.Started, before.StartTime
			require.Equal(t, before, after)
		})
	}
}
