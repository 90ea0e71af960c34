package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var runningRules = map[string]func(*testing.T, store.Store){
	"Unended/is the newest task that goes on":  newestUnended,
	"Unended/counts a task that runs again":    unendedAgain,
	"Unended/is as the tasks are, in any life": anyUnended,
}

// requireUnended demands a task of a schedule; empty is none.
func requireUnended(t test, s store.Store, scheduleID, want string) {
	t.Helper()
	got, err := s.Unended(t.Context(), scheduleID)
	if want == "" {
		require.ErrorIs(t, err, store.ErrNotFound)
		return
	}
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// ofSchedule makes a task that waits for its time the one of a schedule.
func ofSchedule(id, scheduleID string) store.Scheduled {
	one := scheduled(id, at(1))
	one.Event.Head.ScheduleID = scheduleID
	return one
}

func newestUnended(t *testing.T, s store.Store) {
	requireUnended(t, s, "nightly", "")
	ids := newIDs(t, 4)
	first, second, third, other := ids[0], ids[1], ids[2], ids[3]
	schedule(t, s, ofSchedule(first, "nightly"), ofSchedule(second, "nightly"), ofSchedule(third, "nightly"), ofSchedule(other, "weekly"))
	apply(t, s, queued(task.NewID()))
	requireUnended(t, s, "nightly", third)
	// The newest ends first.
	apply(t, s, queued(third), started(third), succeeded(third))
	requireUnended(t, s, "nightly", second)
	apply(t, s, queued(first), started(first), delivered(first, task.PhaseRetrying))
	_, err := s.Cancel(t.Context(), []store.CancelRequest{{TaskID: second, Reason: "a test", Time: at(2)}})
	require.NoError(t, err)
	requireUnended(t, s, "nightly", first)
	// Its schedule need not be there, nor any firing.
	requireUnended(t, s, "weekly", other)
	requireUnended(t, s, "night", "")
	requireUnended(t, s, "", "")
	apply(t, s, delivered(first, task.PhaseDeadLettered))
	requireUnended(t, s, "nightly", "")
	require.Positive(t, purgeAll(t, s))
	requireUnended(t, s, "nightly", "")
	requireUnended(t, s, "weekly", other)
}

func unendedAgain(t *testing.T, s store.Store) {
	id := task.NewID()
	schedule(t, s, ofSchedule(id, "nightly"))
	apply(t, s, started(id), delivered(id, task.PhaseDeadLettered))
	requireUnended(t, s, "nightly", "")
	apply(t, s, inRun(2, queued(id)))
	requireUnended(t, s, "nightly", id)
}

// anyUnended compares the answers with all tasks, one by one.
func anyUnended(t *testing.T, s store.Store) {
	phases := []task.Phase{task.PhaseQueued, task.PhaseStarted, task.PhaseRetrying, task.PhaseSucceeded, task.PhaseCancelled, task.PhaseDeadLettered}
	rapid.Check(t, func(t *rapid.T) {
		var ids []string
		var tasks []store.Scheduled
		// Schedules of this check alone.
		check, ofTask := task.NewID(), map[string]string{}
		for range rapid.IntRange(1, 6).Draw(t, "tasks") {
			id := task.NewID()
			ofTask[id] = rapid.SampledFrom([]string{"a ", "b "}).Draw(t, "schedule") + check
			ids, tasks = append(ids, id), append(tasks, ofSchedule(id, ofTask[id]))
		}
		schedule(t, s, tasks...)
		var events []task.Event
		for range rapid.IntRange(0, 12).Draw(t, "events") {
			id := rapid.SampledFrom(ids).Draw(t, "task")
			e := delivered(id, rapid.SampledFrom(phases).Draw(t, "phase"))
			if e.Key.Phase == task.PhaseQueued {
				e = queued(id)
			}
			events = append(events, inRun(rapid.IntRange(1, 2).Draw(t, "run"), e))
		}
		apply(t, s, events...)
		want := map[string]string{"a " + check: "", "b " + check: ""}
		for id, scheduleID := range ofTask {
			got, err := s.Task(t.Context(), id)
			require.NoError(t, err)
			if !got.State.Terminal() {
				want[scheduleID] = max(want[scheduleID], id)
			}
		}
		for scheduleID, id := range want {
			requireUnended(t, s, scheduleID, id)
		}
	})
}
