package storetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

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
	"Schedule/any story is that of the model":        anyLater,
	"TakeDue/takes what is due, the earliest first":  takesEarliest,
	"TakeDue/leases what it takes":                   leasesTaken,
	"TakeDue/says when to call again":                saysWhenNext,
	"TakeDue/keeps to the bytes of messages":         takesWithinBytes,
	"TakeDue/of 10,000 that are due, page by page":   takesManyPages,
	"TakeDue/gives each task to one of many callers": takesOnce,
	"TakeDue/leaves out types":                       takesNoneOf,
	"TakeDue/takes at most so many of a type":        takesFewOf,
	"TakeDue/of several types, the earliest first":   takesOfTypes,
	"TakeDue/after the clock was set back":           takesAfterTheClock,
	"Unschedule/forgets messages":                    unschedules,
	"Unschedule/passes over what is not kept":        unschedulesUnknown,
	"CountScheduled/counts what waits of each type":  countsScheduled,
	"PurgeEnded/forgets the message of a task":       purgesMessage,
	"Records/of a task that waited":                  recordsOfWaited,
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
	return changes
}

// dueAs is a task that was kept when it is taken.
func dueAs(s store.Scheduled, again bool) store.Due {
	return store.Due{TaskID: s.Event.TaskID, Type: s.Event.Type, Message: s.Message, Again: again}
}

// take takes what is due.
func take(t test, s store.Store, now time.Time, limit int, except ...string) ([]store.Due, time.Time) {
	t.Helper()
	most := map[string]int{}
	for _, taskType := range except {
		most[taskType] = 0
	}
	due, next, err := s.TakeDue(t.Context(), now, time.Minute, limit, most)
	require.NoError(t, err)
	return due, next
}

func idsOf(due []store.Due) []string {
	ids := []string{}
	for _, d := range due {
		ids = append(ids, d.TaskID)
	}
	return ids
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

func takesEarliest(t *testing.T, s store.Store) {
	ids := newIDs(t, 5)
	var tasks []store.Scheduled
	for i, second := range []int{30, 10, 20, 10, 40} {
		tasks = append(tasks, scheduled(ids[i], at(second)))
	}
	schedule(t, s, tasks...)
	due, next := take(t, s, at(9), 10)
	require.Empty(t, due)
	require.Equal(t, at(10), next)

	due, next = take(t, s, at(30), 2)
	require.ElementsMatch(t, []string{ids[1], ids[3]}, idsOf(due))
	require.Equal(t, at(20), next)
	due, next = take(t, s, at(30), 2)
	require.Equal(t, []store.Due{
		dueAs(tasks[2], false), dueAs(tasks[0], false),
	}, due)
	require.Equal(t, at(40), next)
}

func leasesTaken(t *testing.T, s store.Store) {
	a, b := scheduled(task.NewID(), at(10)), scheduled(task.NewID(), at(20))
	schedule(t, s, a, b)
	due, _ := take(t, s, at(15), 10)
	require.Equal(t, []store.Due{dueAs(a, false)}, due)
	due, _ = take(t, s, at(15+59), 10)
	require.Equal(t, []string{b.Event.TaskID}, idsOf(due))
	require.False(t, due[0].Again)

	// The lease has ended, and it is first again.
	due, _ = take(t, s, at(15+60), 10)
	require.Equal(t, []store.Due{dueAs(a, true)}, due)
	due, _ = take(t, s, at(15+60+59), 10)
	require.Equal(t, []string{b.Event.TaskID}, idsOf(due))
	require.True(t, due[0].Again)
	due, _ = take(t, s, at(15+60+60), 10)
	require.Equal(t, []string{a.Event.TaskID}, idsOf(due))
	requireCount(t, s, "", 2)
}

func saysWhenNext(t *testing.T, s store.Store) {
	a, b := scheduled(task.NewID(), at(10)), scheduled(task.NewID(), at(1000))
	schedule(t, s, a, b)
	_, next := take(t, s, at(10), 10)
	require.Equal(t, at(70), next, "the lease ends first")
	_, next = take(t, s, at(20), 10)
	require.Equal(t, at(70), next)
	require.NoError(t, s.Unschedule(t.Context(), []string{a.Event.TaskID}))
	_, next = take(t, s, at(20), 10)
	require.Equal(t, at(1000), next)
	_, next = take(t, s, at(1000), 0)
	require.Equal(t, at(1000), next, "it is still there")
	require.NoError(t, s.Unschedule(t.Context(), []string{b.Event.TaskID}))
	_, next = take(t, s, at(20), 10)
	require.Zero(t, next)
}

func takesWithinBytes(t *testing.T, s store.Store) {
	for i := range 3 {
		one := scheduled(task.NewID(), at(i))
		one.Message = make([]byte, store.MaxDueBytes/2)
		one.Message[0] = byte(i)
		schedule(t, s, one)
	}
	due, next := take(t, s, at(5), 10)
	require.Len(t, due, 2)
	require.Equal(t, at(2), next)
	due, next = take(t, s, at(5), 10)
	require.Len(t, due, 1)
	require.EqualValues(t, 2, due[0].Message[0])
	require.Equal(t, at(65), next)

	large := scheduled(task.NewID(), at(-1))
	large.Message = make([]byte, store.MaxDueBytes+1)
	schedule(t, s, large)
	due, _ = take(t, s, at(5), 10)
	require.Equal(t, []string{large.Event.TaskID}, idsOf(due))
}

func takesManyPages(t *testing.T, s store.Store) {
	const tasks, page = 10_000, 500
	var want []string
	for first := 0; first < tasks; first += 1000 {
		var batch []store.Scheduled
		for i := range 1000 {
			// The last submitted are due first.
			batch = append(batch, scheduled(task.NewID(), at(-first-i)))
			want = append(want, batch[i].Event.TaskID)
		}
		require.Len(t, schedule(t, s, batch...), len(batch))
	}
	slices.Reverse(want)
	var got []string
	for len(got) < tasks {
		due, next := take(t, s, at(1), page)
		require.Len(t, due, page)
		got = append(got, idsOf(due)...)
		if len(got) < tasks {
			require.Equal(t, at(-tasks+len(got)+1), next)
		}
		if len(got)%(2*page) == 0 {
			require.NoError(t, s.Unschedule(t.Context(), idsOf(due)))
		}
	}
	require.Equal(t, want, got)
	due, next := take(t, s, at(1), page)
	require.Empty(t, due)
	require.Equal(t, at(61), next)
	requireCount(t, s, "", tasks/2)
}

func takesOnce(t *testing.T, s store.Store) {
	const tasks, callers = 200, 4
	var batch []store.Scheduled
	for i := range tasks {
		batch = append(batch, scheduled(task.NewID(), at(i%7)))
	}
	schedule(t, s, batch...)
	requireTakenOnce(t, tasks, callers, func(int) store.Store { return s })
}

// requireTakenOnce has several callers take all that is due, a few at a time, and
// sees that each task is given to one of them.
func requireTakenOnce(t *testing.T, tasks, callers int, of func(caller int) store.Store) {
	t.Helper()
	taken := make([][]string, callers)
	g, ctx := errgroup.WithContext(t.Context())
	for i := range callers {
		s := of(i)
		g.Go(func() error {
			for {
				due, _, err := s.TakeDue(ctx, at(100), time.Hour, 7, nil)
				if err != nil || len(due) == 0 {
					return err
				}
				for _, d := range due {
					if d.Again {
						return fmt.Errorf("task %s was given before", d.TaskID)
					}
				}
				taken[i] = append(taken[i], idsOf(due)...)
			}
		})
	}
	require.NoError(t, g.Wait())
	all := slices.Concat(taken...)
	require.Len(t, all, tasks)
	slices.Sort(all)
	require.Len(t, slices.Compact(all), tasks)
}

func takesNoneOf(t *testing.T, s store.Store) {
	var batch []store.Scheduled
	for i := range 100 {
		batch = append(batch, scheduled(task.NewID(), at(i)))
	}
	other := scheduled(task.NewID(), at(200))
	other.Event.Type = otherType
	schedule(t, s, append(batch, other)...)
	due, next := take(t, s, at(100), 10, taskType)
	require.Empty(t, due)
	require.Equal(t, at(200), next, "what is due of the others is no reason to call again")
	due, next = take(t, s, at(200), 10, taskType)
	require.Equal(t, []store.Due{dueAs(other, false)}, due)
	require.Equal(t, at(260), next)
	due, next = take(t, s, at(201), 10, taskType, otherType)
	require.Empty(t, due)
	require.Zero(t, next)

	// Leases of a type that is left out are no reason either.
	due, _ = take(t, s, at(202), 10, otherType)
	require.Len(t, due, 10)
	require.Equal(t, dueAs(batch[0], false), due[0])
	_, next = take(t, s, at(230), 10, taskType)
	require.Equal(t, at(260), next)
	due, next = take(t, s, at(203), 1000, "a.v1.A.B")
	require.Len(t, due, 90)
	require.Equal(t, at(260), next)
}

func takesFewOf(t *testing.T, s store.Store) {
	var tasks []store.Scheduled
	for i := range 20 {
		one := scheduled(task.NewID(), at(i))
		if i%2 == 1 {
			one.Event.Type = otherType
		}
		tasks = append(tasks, one)
	}
	schedule(t, s, tasks...)
	for i, want := range [][]store.Scheduled{
		{tasks[0], tasks[1], tasks[2], tasks[3], tasks[4]},
		{tasks[5], tasks[6], tasks[7], tasks[8], tasks[9], tasks[10]},
	} {
		due, next, err := s.TakeDue(t.Context(), at(100), time.Minute, 5+i, map[string]int{taskType: 3, "a.v1.A.B": 0})
		require.NoError(t, err)
		require.Equal(t, at(5+6*i), next, "more is left")
		var got []store.Due
		for _, one := range want {
			got = append(got, dueAs(one, false))
		}
		require.Equal(t, got, due)
	}
	due, next, err := s.TakeDue(t.Context(), at(100), time.Minute, 10, map[string]int{taskType: 1, otherType: 2})
	require.NoError(t, err)
	require.Equal(t, []store.Due{dueAs(tasks[11], false), dueAs(tasks[12], false), dueAs(tasks[13], false)}, due)
	require.Equal(t, at(160), next, "what is due besides is no reason to call again")
}

func takesOfTypes(t *testing.T, s store.Store) {
	var tasks []store.Scheduled
	for i := range 60 {
		one := scheduled(task.NewID(), at(i/3))
		one.Event.Type = []string{taskType, otherType, "a.v1.A.B", "a.v1.A.C"}[i%4]
		tasks = append(tasks, one)
	}
	schedule(t, s, tasks...)
	slices.SortFunc(tasks, func(a, b store.Scheduled) int {
		return cmp.Or(a.Event.ScheduleTime.Compare(b.Event.ScheduleTime), cmp.Compare(a.Event.TaskID, b.Event.TaskID))
	})
	for first := 0; first < len(tasks); first += 7 {
		due, _ := take(t, s, at(1000), 7)
		var want []store.Due
		for _, one := range tasks[first:min(first+7, len(tasks))] {
			want = append(want, dueAs(one, false))
		}
		require.Equal(t, want, due)
	}
}

func takesAfterTheClock(t *testing.T, s store.Store) {
	one := scheduled(task.NewID(), at(10))
	schedule(t, s, one)
	due, _ := take(t, s, at(3600), 10)
	require.Len(t, due, 1)
	due, next := take(t, s, at(3600-60), 10)
	require.Empty(t, due, "so far ahead may be another's clock")
	require.Equal(t, at(3660), next)
	due, next = take(t, s, at(3600-61), 10)
	require.Equal(t, []store.Due{dueAs(one, true)}, due)
	require.Equal(t, at(3600-1), next)
	due, _ = take(t, s, at(3600-2), 10)
	require.Empty(t, due)
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
