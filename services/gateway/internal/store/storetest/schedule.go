package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var scheduleRules = map[string]func(*testing.T, store.Store){
	"Schedule/keeps a task for later":           keepsForLater,
	"Schedule/of a known task does nothing":     schedulesUnknownOnly,
	"Schedule/of a purged task does nothing":    schedulesNoPurged,
	"Schedule/refuses a bad one with its batch": refusesBadScheduled,
	"Schedule/of nothing does nothing":          schedulesNothing,
	"Schedule/changes nothing once its context is done": func(t *testing.T, s store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		id := task.NewID()
		_, err := s.Schedule(ctx, []store.Scheduled{scheduled(id, at(1))})
		require.ErrorIs(t, err, context.Canceled)
		requireGone(t, s, id)
		requireNoMessage(t, s, id)
	},
	"Schedule/any story is that of the model":       anyLater,
	"Unschedule/forgets messages":                   unschedules,
	"Unschedule/passes over what is not kept":       unschedulesUnknown,
	"CountScheduled/counts what waits of each type": countsScheduled,
	"PurgeEnded/forgets the message of a task":      purgesMessage,
	"Records/of a task that waited":                 recordsOfWaited,
}

// scheduled makes a task that waits for a time.
func scheduled(id string, due time.Time) store.Scheduled {
	e := event(id, task.Key{Run: 1, Attempt: 1, Phase: task.PhaseScheduled})
	e.ScheduleTime = due
	return store.Scheduled{Event: e, Message: []byte("message of " + id)}
}

func schedule(t test, s store.Store, tasks ...store.Scheduled) []store.Change {
	t.Helper()
	changes, err := s.Schedule(t.Context(), tasks)
	require.NoError(t, err)
	return Bare(changes...)
}

func requireMessage(t test, s store.Store, id string, want []byte) {
	t.Helper()
	message, err := s.ScheduledMessage(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, want, message)
}

func requireNoMessage(t test, s store.Store, ids ...string) {
	t.Helper()
	for _, id := range ids {
		_, err := s.ScheduledMessage(t.Context(), id)
		require.ErrorIs(t, err, store.ErrNotFound)
	}
}

func requireCount(t test, s store.Store, taskType string, want int) {
	t.Helper()
	n, err := s.CountScheduled(t.Context(), taskType)
	require.NoError(t, err)
	require.EqualValues(t, want, n)
}

func keepsForLater(t *testing.T, s store.Store) {
	begin := feedBegin(t, s)
	one := scheduled(task.NewID(), at(60).Add(789*time.Nanosecond))
	id := one.Event.TaskID
	require.Equal(t, []store.Change{{TaskID: id, Version: 1, State: task.StateScheduled}}, schedule(t, s, one))
	requireMessage(t, s, id, one.Message)

	one.Event.ScheduleTime = at(60)
	var want task.Task
	applied := want.Apply(&one.Event)
	require.Equal(t, want, get(t, s, id))
	require.Equal(t, task.StateScheduled, want.State)
	event := asRead(task.NumberedEvent{Event: one.Event, Applied: applied}, true)
	require.Equal(t, []task.NumberedEvent{event}, all(t, s, id))
	body, err := s.Body(t.Context(), id, want.PayloadNumber)
	require.NoError(t, err)
	require.Equal(t, one.Event.Payload.Bytes, body)
	found, err := s.Event(t.Context(), id, one.Event.Key)
	require.NoError(t, err)
	require.Equal(t, event, found)
	entries := feedAll(t, s, store.FeedQuery{From: begin, Limit: 10, Bodies: true})
	require.Len(t, entries, 1)
	require.Equal(t, want, entries[0].Task)
	require.Equal(t, event, entries[0].Event)

	_, err = s.ScheduledMessage(t.Context(), "no-uuid")
	require.ErrorIs(t, err, store.ErrNotFound)
	requireNoMessage(t, s, task.NewID())
}

func schedulesUnknownOnly(t *testing.T, s store.Store) {
	known, id := task.NewID(), task.NewID()
	apply(t, s, queued(known))
	first, second := scheduled(id, at(1)), scheduled(id, at(2))
	second.Message, second.Event.Key.Copy = []byte("another"), task.Copy{7}
	changes := schedule(t, s, scheduled(known, at(1)), first, second)
	require.Equal(t, []store.Change{{TaskID: id, Version: 1, State: task.StateScheduled}}, changes)
	require.Empty(t, schedule(t, s, second))
	requireNoMessage(t, s, known)
	requireMessage(t, s, id, first.Message)
	require.Equal(t, at(1), get(t, s, id).ScheduleTime)
	require.Equal(t, task.StateQueued, get(t, s, known).State)

	// One that is in its queue stays there.
	require.NoError(t, s.Unschedule(t.Context(), []string{id}))
	require.Empty(t, schedule(t, s, first))
	requireNoMessage(t, s, id)
}

func schedulesNoPurged(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id), succeeded(id))
	purgeAll(t, s)
	require.Empty(t, schedule(t, s, scheduled(id, at(1))))
	requireGone(t, s, id)
	requireNoMessage(t, s, id)
	requireCount(t, s, "", 0)
}

func refusesBadScheduled(t *testing.T, s store.Store) {
	for name, spoil := range map[string]func(*store.Scheduled){
		"id":         func(b *store.Scheduled) { b.Event.TaskID = "no-uuid" },
		"phase":      func(b *store.Scheduled) { b.Event.Key.Phase = task.PhaseQueued },
		"no time":    func(b *store.Scheduled) { b.Event.ScheduleTime = time.Time{} },
		"no head":    func(b *store.Scheduled) { b.Event.Head = nil },
		"no message": func(b *store.Scheduled) { b.Message = nil },
	} {
		good, bad := scheduled(task.NewID(), at(1)), scheduled(task.NewID(), at(1))
		spoil(&bad)
		_, err := s.Schedule(t.Context(), []store.Scheduled{good, bad})
		require.ErrorIs(t, err, store.ErrBadEvent, name)
		requireGone(t, s, good.Event.TaskID)
		requireNoMessage(t, s, good.Event.TaskID)
	}
}

func schedulesNothing(t *testing.T, s store.Store) {
	require.Empty(t, schedule(t, s))
	due, next := take(t, s, at(1), 10)
	require.Empty(t, due)
	require.Zero(t, next)
}

func unschedules(t *testing.T, s store.Store) {
	a, b := scheduled(task.NewID(), at(10)), scheduled(task.NewID(), at(20))
	schedule(t, s, a, b)
	take(t, s, at(10), 1)
	require.NoError(t, s.Unschedule(t.Context(), []string{a.Event.TaskID}))
	requireNoMessage(t, s, a.Event.TaskID)
	requireMessage(t, s, b.Event.TaskID, b.Message)
	due, _ := take(t, s, at(1000), 10)
	require.Equal(t, []string{b.Event.TaskID}, idsOf(due))
	require.Equal(t, task.StateScheduled, get(t, s, a.Event.TaskID).State, "its QUEUED event says more")
}

func unschedulesUnknown(t *testing.T, s store.Store) {
	one := scheduled(task.NewID(), at(10))
	schedule(t, s, one)
	id := one.Event.TaskID
	for range 2 {
		require.NoError(t, s.Unschedule(t.Context(), []string{task.NewID(), "no-uuid", id, id}))
	}
	require.NoError(t, s.Unschedule(t.Context(), nil))
	requireNoMessage(t, s, id)
	requireCount(t, s, taskType, 0)
}

func countsScheduled(t *testing.T, s store.Store) {
	requireCount(t, s, "", 0)
	a, b, c := scheduled(task.NewID(), at(10)), scheduled(task.NewID(), at(20)), scheduled(task.NewID(), at(30))
	c.Event.Type = otherType
	schedule(t, s, a, b, c)
	schedule(t, s, a)
	requireCount(t, s, "", 3)
	requireCount(t, s, taskType, 2)
	requireCount(t, s, otherType, 1)
	requireCount(t, s, "a.v1.A.B", 0)
	take(t, s, at(10), 1)
	requireCount(t, s, taskType, 2)
	require.NoError(t, s.Unschedule(t.Context(), []string{a.Event.TaskID, c.Event.TaskID}))
	requireCount(t, s, "", 1)
	requireCount(t, s, otherType, 0)
}

func purgesMessage(t *testing.T, s store.Store) {
	one := scheduled(task.NewID(), at(10))
	id := one.Event.TaskID
	schedule(t, s, one)
	take(t, s, at(10), 1)
	// It was cancelled while somebody published it, who then died.
	apply(t, s, event(id, task.Key{Run: 1, Attempt: 1, Phase: task.PhaseCancelled}))
	purgeAll(t, s)
	requireGone(t, s, id)
	requireNoMessage(t, s, id)
	requireCount(t, s, "", 0)
	due, next := take(t, s, at(1000), 10)
	require.Empty(t, due)
	require.Zero(t, next)
}

func recordsOfWaited(t *testing.T, s store.Store) {
	one := scheduled(task.NewID(), at(10))
	id := one.Event.TaskID
	schedule(t, s, one)
	apply(t, s, queued(id), event(id, task.Key{Run: 1, Attempt: 1, Phase: task.PhaseUpdated, Sequence: 1}), started(id), succeeded(id))
	history, err := s.History(t.Context(), id)
	require.NoError(t, err)
	require.Len(t, history, 5)
	records := task.Records(history)
	require.Len(t, records, 1)
	require.Equal(t, task.OutcomeSucceeded, records[0].Outcome)
	require.EqualValues(t, 1, get(t, s, id).PayloadNumber)
}
