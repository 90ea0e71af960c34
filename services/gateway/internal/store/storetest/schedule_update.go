package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var updateRules = map[string]func(*testing.T, store.Store){
	"Update/puts a task off with its message":           updatesMessage,
	"Update/of labels alone leaves the message":         updatesLabels,
	"Update/goes by the version":                        updatesVersion,
	"Update/of a message that was leased is refused":    updatesNoLeased,
	"Update/of a message that is not kept is refused":   updatesNoGone,
	"Update/of an unknown task":                         updatesNoUnknown,
	"Update/refuses a bad event":                        updatesNoBad,
	"Update/of several at once, one wins":               oneUpdateWins,
	"Update/in a batch of Apply is an event as another": updatesByApply,
}

// updated makes an UPDATED event of a task.
func updated(id string, sequence int64) task.Event {
	return event(id, task.Key{Run: 1, Attempt: 1, Phase: task.PhaseUpdated, Sequence: sequence})
}

// updatedTo makes one that changes when the task is due.
func updatedTo(id string, sequence int64, due time.Time) task.Event {
	e := updated(id, sequence)
	e.ScheduleTime = due
	return e
}

func updatesMessage(t *testing.T, s store.Store) {
	one := scheduled(task.NewID(), at(10))
	id := one.Event.TaskID
	schedule(t, s, one)
	e := updatedTo(id, 1, at(50).Add(789*time.Nanosecond))
	change, err := s.Update(t.Context(), 1, e, []byte("later"))
	require.NoError(t, err)
	require.Equal(t, []store.Change{store.Change{TaskID: id, Version: 2, State: task.StateScheduled}}, Bare(change))
	requireMessage(t, s, id, []byte("later"))

	var want task.Task
	e.ScheduleTime = at(50)
	want.Apply(&one.Event)
	applied := want.Apply(&e)
	require.Equal(t, want, get(t, s, id))
	require.Equal(t, asRead(task.NumberedEvent{Event: e, Applied: applied}, true), all(t, s, id)[1])
	require.Equal(t, e.Head, all(t, s, id)[1].Head)

	due, next := take(t, s, at(49), 10)
	require.Empty(t, due)
	require.Equal(t, at(50), next)
	// Sooner again.
	_, err = s.Update(t.Context(), 2, updatedTo(id, 2, at(5)), []byte("sooner"))
	require.NoError(t, err)
	due, _ = take(t, s, at(5), 10)
	require.Equal(t, []store.Due{{TaskID: id, Type: taskType, Message: []byte("sooner")}}, due)
	requireCount(t, s, "", 1)
}

func updatesLabels(t *testing.T, s store.Store) {
	one := scheduled(task.NewID(), at(10))
	id, runs := one.Event.TaskID, task.NewID()
	schedule(t, s, one)
	apply(t, s, queued(runs), started(runs))
	for id, version := range map[string]int64{id: 1, runs: 2} {
		was := get(t, s, id)
		e := updated(id, 3)
		change, err := s.Update(t.Context(), version, e, nil)
		require.NoError(t, err)
		require.Equal(t, []store.Change{store.Change{TaskID: id, Version: version + 1, State: was.State}}, Bare(change))
		require.Equal(t, e.Head.Labels, get(t, s, id).Labels)
	}
	requireMessage(t, s, id, one.Message)
	due, _ := take(t, s, at(10), 10)
	require.Len(t, due, 1, "it is due as before")
}

func updatesVersion(t *testing.T, s store.Store) {
	one := scheduled(task.NewID(), at(10))
	id := one.Event.TaskID
	schedule(t, s, one)
	for _, version := range []int64{0, 2} {
		_, err := s.Update(t.Context(), version, updatedTo(id, 1, at(50)), []byte("later"))
		require.ErrorIs(t, err, store.ErrChanged)
	}
	require.EqualValues(t, 1, get(t, s, id).Version)
	requireMessage(t, s, id, one.Message)
}

func updatesNoLeased(t *testing.T, s store.Store) {
	one := scheduled(task.NewID(), at(10))
	id := one.Event.TaskID
	schedule(t, s, one)
	// It may have been published, though the lease has ended.
	due, _ := take(t, s, time.Now().Add(-time.Hour), 1)
	require.Len(t, due, 1)
	_, err := s.Update(t.Context(), 1, updatedTo(id, 1, at(11)), []byte("later"))
	require.ErrorIs(t, err, store.ErrChanged)
	require.EqualValues(t, 1, get(t, s, id).Version)
	requireMessage(t, s, id, one.Message)
	_, err = s.Update(t.Context(), 1, updated(id, 1), nil)
	require.NoError(t, err, "what is not about the message")
}

func updatesNoGone(t *testing.T, s store.Store) {
	id := task.NewID()
	schedule(t, s, scheduled(id, at(10)))
	require.NoError(t, s.Unschedule(t.Context(), []string{id}))
	_, err := s.Update(t.Context(), 1, updatedTo(id, 1, at(50)), []byte("later"))
	require.ErrorIs(t, err, store.ErrChanged)
	requireNoMessage(t, s, id)
	require.EqualValues(t, 1, get(t, s, id).Version)
}

func updatesNoUnknown(t *testing.T, s store.Store) {
	purged := task.NewID()
	apply(t, s, queued(purged), succeeded(purged))
	purgeAll(t, s)
	for _, id := range []string{task.NewID(), purged} {
		for _, message := range [][]byte{nil, []byte("later")} {
			_, err := s.Update(t.Context(), 2, updatedTo(id, 1, at(50)), message)
			require.ErrorIs(t, err, store.ErrNotFound)
		}
		requireGone(t, s, id)
	}
}

func updatesNoBad(t *testing.T, s store.Store) {
	id := task.NewID()
	schedule(t, s, scheduled(id, at(10)))
	for name, spoil := range map[string]func(*task.Event){
		"id":       func(e *task.Event) { e.TaskID = "no-uuid" },
		"phase":    func(e *task.Event) { *e = queued(id) },
		"sequence": func(e *task.Event) { e.Key.Sequence = 0 },
		"no head":  func(e *task.Event) { e.Head = nil },
		"no time":  func(e *task.Event) { e.ScheduleTime = time.Time{} },
	} {
		e := updatedTo(id, 1, at(50))
		spoil(&e)
		_, err := s.Update(t.Context(), 1, e, []byte("later"))
		require.ErrorIs(t, err, store.ErrBadEvent, name)
	}
	_, err := s.Update(t.Context(), 1, updatedTo(id, 1, at(50)), []byte("later"))
	require.NoError(t, err)
	_, err = s.Update(t.Context(), 2, updatedTo(id, 1, at(60)), []byte("another"))
	require.ErrorIs(t, err, store.ErrBadEvent, "a key that is there")
	requireMessage(t, s, id, []byte("later"))
	require.Equal(t, at(50), get(t, s, id).ScheduleTime)
}

func oneUpdateWins(t *testing.T, s store.Store) {
	id := task.NewID()
	schedule(t, s, scheduled(id, at(10)))
	requireOneWins(t, 5, func(i int) error {
		e := updatedTo(id, 1, at(20+i))
		e.Key.Copy = task.Copy{byte(i + 1)}
		_, err := s.Update(t.Context(), 1, e, []byte("later"))
		return err
	})
	require.EqualValues(t, 2, get(t, s, id).Version)
}

func updatesByApply(t *testing.T, s store.Store) {
	id := task.NewID()
	events := []task.Event{updated(id, 2), queued(id), updated(id, 1), started(id), updated(id, 2)}
	var want task.Task
	for _, e := range events[:4] {
		want.Apply(&e)
	}
	require.Equal(t, []store.Change{{TaskID: id, Version: 4, State: task.StateRunning}}, apply(t, s, events...))
	require.Equal(t, want, get(t, s, id))
	require.EqualValues(t, 2, want.UpdateSequence)
	require.Equal(t, []int64{1, 2, 3, 4}, numbers(all(t, s, id)))
}
