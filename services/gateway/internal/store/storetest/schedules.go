package storetest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var schedulesRules = map[string]func(*testing.T, store.Store){
	"Schedules/are kept as they were put":            keepsSchedules,
	"Schedules/the next version replaces":            replacesSchedule,
	"Schedules/another version is refused":           refusesSchedule,
	"Schedules/a repetition changes nothing":         repeatsSchedule,
	"Schedules/are listed by id, page by page":       listsSchedules,
	"Schedules/are deleted by version":               deletesSchedule,
	"DueSchedules/are the earliest first":            dueSchedules,
	"Fire/records a firing and keeps its task":       fires,
	"Fire/once for each time":                        firesOnce,
	"Fire/goes by the version and the time":          firesAsRead,
	"Fire/by a trigger leaves the time":              triggers,
	"Fire/without a task":                            firesNothing,
	"Fire/of a task that is known":                   firesKnown,
	"Fire/of a known task, for new ones only":        firesOnlyNew,
	"PutSchedule/keeps the time that has moved on":   keepsNext,
	"Fire/of a bad task does nothing":                firesNoBad,
	"Fire/keeps the last firings":                    keepsFirings,
	"Fire/of several at once, one wins":              oneFireWins,
	"PutSchedule/leaves the firings":                 leavesFirings,
	"DeleteSchedule/forgets the firings":             forgetsFirings,
	"PutSchedule/of several operators, one wins":     oneScheduleWins,
	"DeleteSchedule/leaves the tasks that were made": leavesTasks,
}

func spec(id string, version int64, next time.Time) store.Schedule {
	return store.Schedule{ID: id, Version: version, Spec: []byte{0, byte(version), 255}, Next: next}
}

func firing(n int) store.Firing {
	return store.Firing{Time: at(n), Encoded: []byte{0, byte(n), byte(n >> 8)}}
}

func putSchedule(t test, s store.Store, sc store.Schedule) {
	t.Helper()
	require.NoError(t, s.PutSchedule(t.Context(), sc))
}

func requireSchedule(t test, s store.Store, want store.Schedule) {
	t.Helper()
	got, err := s.GetSchedule(t.Context(), want.ID)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func keepsSchedules(t *testing.T, s store.Store) {
	paused := spec("böse '<&> \x00", 1, time.Time{})
	running := spec("nightly", 1, at(10).Add(789*time.Nanosecond))
	putSchedule(t, s, paused)
	putSchedule(t, s, running)
	running.Next = at(10)
	requireSchedule(t, s, paused)
	requireSchedule(t, s, running)
	_, err := s.GetSchedule(t.Context(), "weekly")
	require.ErrorIs(t, err, store.ErrNotFound)
}

func replacesSchedule(t *testing.T, s store.Store) {
	for version := range int64(3) {
		putSchedule(t, s, spec("nightly", version+1, at(int(version))))
	}
	requireSchedule(t, s, spec("nightly", 3, at(2)))
	putSchedule(t, s, spec("nightly", 4, time.Time{}))
	requireSchedule(t, s, spec("nightly", 4, time.Time{}))
}

func refusesSchedule(t *testing.T, s store.Store) {
	for _, version := range []int64{-1, 0, 2} {
		require.ErrorIs(t, s.PutSchedule(t.Context(), spec("nightly", version, at(1))), store.ErrChanged)
	}
	putSchedule(t, s, spec("nightly", 1, at(1)))
	putSchedule(t, s, spec("nightly", 2, at(1)))
	other := spec("nightly", 2, at(1))
	other.Spec = []byte("another")
	for _, sc := range []store.Schedule{spec("nightly", 1, at(1)), other, spec("nightly", 4, at(1))} {
		require.ErrorIs(t, s.PutSchedule(t.Context(), sc), store.ErrChanged)
	}
	requireSchedule(t, s, spec("nightly", 2, at(1)))
}

func repeatsSchedule(t *testing.T, s store.Store) {
	sc := spec("nightly", 1, at(1))
	putSchedule(t, s, sc)
	putSchedule(t, s, sc)
	fire(t, s, store.Fire{ScheduleID: "nightly", Version: 1, Was: at(1), Next: at(2), Firing: firing(1)})
	putSchedule(t, s, sc)
	sc.Next, sc.Firings = at(2), []store.Firing{firing(1)}
	requireSchedule(t, s, sc)
}

func listsSchedules(t *testing.T, s store.Store) {
	for _, id := range []string{"b", "d", "a", "c"} {
		putSchedule(t, s, spec(id, 1, at(1)))
	}
	fire(t, s, store.Fire{ScheduleID: "c", Version: 1, Was: at(1), Next: at(2), Firing: firing(1)})
	c := spec("c", 1, at(2))
	c.Firings = []store.Firing{firing(1)}
	page, err := s.ListSchedules(t.Context(), "", 2)
	require.NoError(t, err)
	require.Equal(t, []store.Schedule{spec("a", 1, at(1)), spec("b", 1, at(1))}, page)
	page, err = s.ListSchedules(t.Context(), "b", 10)
	require.NoError(t, err)
	require.Equal(t, []store.Schedule{c, spec("d", 1, at(1))}, page)
	page, err = s.ListSchedules(t.Context(), "d", 10)
	require.NoError(t, err)
	require.Empty(t, page)
}

func deletesSchedule(t *testing.T, s store.Store) {
	require.ErrorIs(t, s.DeleteSchedule(t.Context(), "nightly", 0), store.ErrNotFound)
	for _, version := range []int64{0, 1} {
		putSchedule(t, s, spec("nightly", 1, at(1)))
		require.ErrorIs(t, s.DeleteSchedule(t.Context(), "nightly", 2), store.ErrChanged)
		requireSchedule(t, s, spec("nightly", 1, at(1)))
		require.NoError(t, s.DeleteSchedule(t.Context(), "nightly", version))
		_, err := s.GetSchedule(t.Context(), "nightly")
		require.ErrorIs(t, err, store.ErrNotFound)
	}
	due, next, err := s.DueSchedules(t.Context(), at(10), 10)
	require.NoError(t, err)
	require.Empty(t, due)
	require.Zero(t, next)
}

func dueSchedules(t *testing.T, s store.Store) {
	for id, second := range map[string]int{"a": 30, "b": 10, "c": 20, "d": 10, "e": 40} {
		putSchedule(t, s, spec(id, 1, at(second)))
	}
	putSchedule(t, s, spec("paused", 1, time.Time{}))
	for _, c := range []struct {
		now, limit int
		want       []string
		next       time.Time
	}{
		{9, 10, nil, at(10)}, {10, 10, []string{"b", "d"}, at(20)}, {30, 3, []string{"b", "d", "c"}, at(30)},
		{30, 4, []string{"b", "d", "c", "a"}, at(40)}, {40, 10, []string{"b", "d", "c", "a", "e"}, time.Time{}},
		{30, 0, nil, at(10)},
	} {
		due, next, err := s.DueSchedules(t.Context(), at(c.now), c.limit)
		require.NoError(t, err)
		var ids []string
		for _, sc := range due {
			ids = append(ids, sc.ID)
		}
		require.Equal(t, c.want, ids, c)
		require.Equal(t, c.next, next, c)
	}
	fire(t, s, store.Fire{ScheduleID: "b", Version: 1, Was: at(10), Next: at(11), Firing: firing(1)})
	due, _, err := s.DueSchedules(t.Context(), at(11), 10)
	require.NoError(t, err)
	require.Len(t, due, 2)
	require.Equal(t, []store.Firing{firing(1)}, due[1].Firings)
}

func fire(t test, s store.Store, f store.Fire) []store.Change {
	t.Helper()
	changes, err := s.Fire(t.Context(), f)
	require.NoError(t, err)
	return changes
}

// fireAt is the firing of version 1 of a schedule, which goes on 10 s later, with
// a task.
func fireAt(id string, second int) store.Fire {
	one := scheduled(task.NewID(), at(second))
	return store.Fire{ScheduleID: id, Version: 1, Was: at(second), Next: at(second + 10), Firing: firing(second), Task: &one}
}

func fires(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(10)))
	f := fireAt("nightly", 10)
	id := f.Task.Event.TaskID
	require.Equal(t, []store.Change{{TaskID: id, Version: 1, State: task.StateScheduled}}, fire(t, s, f))
	want := spec("nightly", 1, at(20))
	want.Firings = []store.Firing{firing(10)}
	requireSchedule(t, s, want)
	require.Equal(t, task.StateScheduled, get(t, s, id).State)
	due, _ := take(t, s, at(10), 10)
	require.Equal(t, []store.Due{dueAs(*f.Task, false)}, due)
}

func firesOnce(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(10)))
	f := fireAt("nightly", 10)
	fire(t, s, f)
	again := fireAt("nightly", 10)
	for _, f := range []store.Fire{f, again} {
		_, err := s.Fire(t.Context(), f)
		require.ErrorIs(t, err, store.ErrChanged)
	}
	requireGone(t, s, again.Task.Event.TaskID)
	// The last time of all.
	last := fireAt("nightly", 20)
	last.Next = time.Time{}
	fire(t, s, last)
	want := spec("nightly", 1, time.Time{})
	want.Firings = []store.Firing{firing(20), firing(10)}
	requireSchedule(t, s, want)
	_, err := s.Fire(t.Context(), last)
	require.ErrorIs(t, err, store.ErrChanged)
	requireCount(t, s, "", 2)
}

func firesAsRead(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(5)))
	putSchedule(t, s, spec("nightly", 2, at(10)))
	good := fireAt("nightly", 10)
	good.Version = 2
	for name, spoil := range map[string]func(*store.Fire){
		"an earlier version": func(f *store.Fire) { f.Version = 1 },
		"a later version":    func(f *store.Fire) { f.Version = 3 },
		"another time":       func(f *store.Fire) { f.Was = at(5) },
		"no time":            func(f *store.Fire) { f.Was = time.Time{} },
		"another schedule":   func(f *store.Fire) { f.ScheduleID = "weekly" },
	} {
		f := good
		spoil(&f)
		_, err := s.Fire(t.Context(), f)
		require.ErrorIs(t, err, store.ErrChanged, name)
	}
	requireSchedule(t, s, spec("nightly", 2, at(10)))
	requireGone(t, s, good.Task.Event.TaskID)
	fire(t, s, good)
}

func triggers(t *testing.T, s store.Store) {
	// One that runs, and one that is paused.
	for id, next := range map[string]time.Time{"nightly": at(10), "paused": {}} {
		putSchedule(t, s, spec(id, 1, next))
		f := fireAt(id, 3)
		f.Was, f.Next = next, next
		require.Len(t, fire(t, s, f), 1)
		// Its answer was lost.
		require.Empty(t, fire(t, s, f))
		other := fireAt(id, 4)
		other.Was, other.Next = next, next
		require.Len(t, fire(t, s, other), 1)
		want := spec(id, 1, next)
		want.Firings = []store.Firing{firing(4), firing(3)}
		requireSchedule(t, s, want)
	}
}

func firesNothing(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(10)))
	f := fireAt("nightly", 10)
	f.Task = nil
	require.Empty(t, fire(t, s, f))
	want := spec("nightly", 1, at(20))
	want.Firings = []store.Firing{firing(10)}
	requireSchedule(t, s, want)
	requireCount(t, s, "", 0)
}

func firesKnown(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(10)))
	f := fireAt("nightly", 10)
	id := f.Task.Event.TaskID
	apply(t, s, queued(id))
	require.Empty(t, fire(t, s, f))
	requireNoMessage(t, s, id)
	want := spec("nightly", 1, at(20))
	want.Firings = []store.Firing{firing(10)}
	requireSchedule(t, s, want)
}

// firesOnlyNew: a task that was purged is known, too.
func firesOnlyNew(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(10)))
	f := fireAt("nightly", 10)
	f.OnlyNew = true
	require.Len(t, fire(t, s, f), 1)
	id := f.Task.Event.TaskID
	apply(t, s, succeeded(id))
	want := spec("nightly", 1, at(20))
	want.Firings = []store.Firing{firing(10)}
	f.Was, f.Next, f.Firing = at(20), at(30), firing(20)
	require.Empty(t, fire(t, s, f))
	requireSchedule(t, s, want)
	require.Positive(t, purgeAll(t, s))
	requireGone(t, s, id)
	require.Empty(t, fire(t, s, f))
	requireSchedule(t, s, want)
}

// keepsNext: a schedule may fire between the look at it and its change.
func keepsNext(t *testing.T, s store.Store) {
	first := spec("nightly", 1, at(10))
	first.KeepNext = true
	putSchedule(t, s, first)
	requireSchedule(t, s, spec("nightly", 1, at(10)))
	fire(t, s, store.Fire{ScheduleID: "nightly", Version: 1, Was: at(10), Next: at(20), Firing: firing(10)})
	second := spec("nightly", 2, at(10))
	second.KeepNext = true
	putSchedule(t, s, second)
	want := spec("nightly", 2, at(20))
	want.Firings = []store.Firing{firing(10)}
	requireSchedule(t, s, want)
	putSchedule(t, s, spec("nightly", 3, time.Time{}))
	fourth := spec("nightly", 4, at(10))
	fourth.KeepNext = true
	putSchedule(t, s, fourth)
	want.Version, want.Spec, want.Next = 4, fourth.Spec, time.Time{}
	requireSchedule(t, s, want)
}

func firesNoBad(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(10)))
	f := fireAt("nightly", 10)
	f.Task.Message = nil
	_, err := s.Fire(t.Context(), f)
	require.ErrorIs(t, err, store.ErrBadEvent)
	requireSchedule(t, s, spec("nightly", 1, at(10)))
}

func keepsFirings(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(0)))
	var want []store.Firing
	for i := range store.MaxFirings + 5 {
		f := fireAt("nightly", 10*i)
		f.Task = nil
		// They come in the order in which they were recorded, whatever the clock said.
		f.Firing = firing(1000 - i)
		fire(t, s, f)
		want = append([]store.Firing{f.Firing}, want...)
	}
	got, err := s.GetSchedule(t.Context(), "nightly")
	require.NoError(t, err)
	require.Equal(t, want[:store.MaxFirings], got.Firings)
}

func leavesFirings(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(10)))
	fire(t, s, fireAt("nightly", 10))
	putSchedule(t, s, spec("nightly", 2, at(50)))
	want := spec("nightly", 2, at(50))
	want.Firings = []store.Firing{firing(10)}
	requireSchedule(t, s, want)
}

func forgetsFirings(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(10)))
	fire(t, s, fireAt("nightly", 10))
	require.NoError(t, s.DeleteSchedule(t.Context(), "nightly", 1))
	putSchedule(t, s, spec("nightly", 1, at(10)))
	requireSchedule(t, s, spec("nightly", 1, at(10)))
}

func leavesTasks(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(10)))
	f := fireAt("nightly", 10)
	fire(t, s, f)
	require.NoError(t, s.DeleteSchedule(t.Context(), "nightly", 0))
	requireMessage(t, s, f.Task.Event.TaskID, f.Task.Message)
	_, err := s.Fire(t.Context(), fireAt("nightly", 20))
	require.ErrorIs(t, err, store.ErrChanged)
}

func oneFireWins(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(10)))
	requireOneFires(t, s, s)
}

// requireOneFires has several callers fire the same schedule again and again, and
// sees that each time is fired once.
func requireOneFires(t *testing.T, stores ...store.Store) {
	t.Helper()
	const times, callers = 10, 4
	var g errgroup.Group
	var won atomic.Int64
	for i := range callers {
		s := stores[i%len(stores)]
		g.Go(func() error {
			for n := range times {
				switch _, err := s.Fire(t.Context(), fireAt("nightly", 10*(n+1))); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, store.ErrChanged):
					return fmt.Errorf("time %d: %w", n, err)
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.EqualValues(t, times, won.Load())
	requireCount(t, stores[0], "", times)
	got, err := stores[0].GetSchedule(t.Context(), "nightly")
	require.NoError(t, err)
	require.Len(t, got.Firings, times)
	require.Equal(t, at(10*(times+1)), got.Next)
}

func oneScheduleWins(t *testing.T, s store.Store) {
	var g errgroup.Group
	var won atomic.Int64
	for i := range 5 {
		g.Go(func() error {
			sc := spec("nightly", 1, at(i))
			sc.Spec = []byte{byte(i)}
			err := s.PutSchedule(t.Context(), sc)
			if err == nil {
				won.Add(1)
			} else if errors.Is(err, store.ErrChanged) {
				err = nil
			}
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.EqualValues(t, 1, won.Load())
}

// sharedScheduleRules are about two stores of one place.
var sharedScheduleRules = map[string]func(*testing.T, store.Store, store.Store){
	"TakeDue/gives each task to one of two stores": func(t *testing.T, a, b store.Store) {
		const tasks = 100
		for i := range tasks {
			schedule(t, a, scheduled(task.NewID(), at(i%7)))
		}
		requireTakenOnce(t, tasks, 4, func(caller int) store.Store { return []store.Store{a, b}[caller%2] })
	},
	"TakeDue/of one store is leased in the other": func(t *testing.T, a, b store.Store) {
		one := scheduled(task.NewID(), at(1))
		schedule(t, a, one)
		due, _ := take(t, a, at(1), 1)
		require.Len(t, due, 1)
		due, next := take(t, b, at(2), 1)
		require.Empty(t, due)
		require.Equal(t, at(61), next)
		due, _ = take(t, b, at(61), 1)
		require.Equal(t, []store.Due{dueAs(one, true)}, due)
		require.NoError(t, b.Unschedule(t.Context(), idsOf(due)))
		requireNoMessage(t, a, one.Event.TaskID)
	},
	"Fire/once in two stores": func(t *testing.T, a, b store.Store) {
		putSchedule(t, a, spec("nightly", 1, at(10)))
		requireOneFires(t, a, b)
	},
}
