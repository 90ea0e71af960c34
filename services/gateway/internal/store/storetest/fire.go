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

var fireRules = map[string]func(*testing.T, store.Store){
	"Fire/records a firing and keeps its task": fires,
	"Fire/once for each time":                  firesOnce,
	"Fire/goes by the version and the time":    firesAsRead,
	"Fire/by a trigger leaves the time":        triggers,
	"Fire/without a task":                      firesNothing,
	"Fire/of a task that is known":             firesKnown,
	"Fire/of a known task, for new ones only":  firesOnlyNew,
	"Fire/of a bad task does nothing":          firesNoBad,
	"Fire/of several at once, one wins":        oneFireWins,
}

func fire(t test, s store.Store, f store.Fire) []store.Change {
	t.Helper()
	changes, err := s.Fire(t.Context(), f)
	require.NoError(t, err)
	return Bare(changes...)
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
	requireSchedule(t, s, spec("nightly", 1, at(20), 10))
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
	requireSchedule(t, s, spec("nightly", 1, time.Time{}, 20, 10))
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
		requireSchedule(t, s, spec(id, 1, next, 4, 3))
	}
}

func firesNothing(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(10)))
	f := fireAt("nightly", 10)
	f.Task = nil
	require.Empty(t, fire(t, s, f))
	requireSchedule(t, s, spec("nightly", 1, at(20), 10))
	requireCount(t, s, "", 0)
}

func firesKnown(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(10)))
	f := fireAt("nightly", 10)
	id := f.Task.Event.TaskID
	apply(t, s, queued(id))
	require.Empty(t, fire(t, s, f))
	requireNoMessage(t, s, id)
	requireSchedule(t, s, spec("nightly", 1, at(20), 10))
}

// firesOnlyNew: a task that was purged is known, too.
func firesOnlyNew(t *testing.T, s store.Store) {
	putSchedule(t, s, spec("nightly", 1, at(10)))
	f := fireAt("nightly", 10)
	f.OnlyNew = true
	require.Len(t, fire(t, s, f), 1)
	id := f.Task.Event.TaskID
	apply(t, s, succeeded(id))
	want := spec("nightly", 1, at(20), 10)
	f.Was, f.Next, f.Firing = at(20), at(30), firing(20)
	require.Empty(t, fire(t, s, f))
	requireSchedule(t, s, want)
	require.Positive(t, purgeAll(t, s))
	requireGone(t, s, id)
	require.Empty(t, fire(t, s, f))
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
