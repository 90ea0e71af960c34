package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var takeRules = map[string]func(*testing.T, store.Store){
	"TakeDue/takes what is due, the earliest first":  takesEarliest,
	"TakeDue/leases what it takes":                   leasesTaken,
	"TakeDue/says when to call again":                saysWhenNext,
	"TakeDue/keeps to the bytes of messages":         takesWithinBytes,
	"TakeDue/of many that are due, page by page":     takesManyPages,
	"TakeDue/gives each task to one of many callers": takesOnce,
	"TakeDue/after the clock was set back":           takesAfterTheClock,
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
	const tasks, page, batch = many, many / 20, many / 10
	var want []string
	for first := 0; first < tasks; first += batch {
		var waits []store.Scheduled
		for i := range batch {
			// The last submitted are due first.
			waits = append(waits, scheduled(task.NewID(), at(-first-i)))
			want = append(want, waits[i].Event.TaskID)
		}
		require.Len(t, schedule(t, s, waits...), batch)
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
