package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var retireRules = map[string]func(*testing.T, store.Store){
	"Retire/of none there is none":               func(t *testing.T, s store.Store) { requireRetired(t, s) },
	"Retire/forgets what only it needs":          forgetsRetired,
	"Retire/sets the override back":              resetsRetired,
	"Retire/is refused of another version":       refusesRetirement,
	"Retire/a repetition changes nothing":        repeatsRetirement,
	"Retire/ends when a bundle defines the type": revivesRetired,
	"Retire/keeps nothing for later":             schedulesNoneRetired,
	"Retire/is refused while tasks wait":         refusesWhileScheduled,
	"Retire/counts what has not ended":           countsUnended,
}

func retirement(method string, second int, forget ...string) store.Retirement {
	return store.Retirement{
		TaskType: "x.v1.A." + method, Method: "/x.v1.A/" + method, Forget: append(forget, "/x.v1.A/"+method),
		Input: "x.v1.In", Output: "x.v1.Out", Reason: "nobody <needs> it", Time: at(second),
	}
}

func retire(t *testing.T, s store.Store, r store.Retirement) {
	t.Helper()
	require.NoError(t, s.RetireType(t.Context(), r))
}

func requireRetired(t *testing.T, s store.Store, want ...store.Retirement) {
	t.Helper()
	got, err := s.Retirements(t.Context())
	require.NoError(t, err)
	for i := range want {
		want[i].Forget, want[i].Version = nil, 0
	}
	require.Equal(t, want, got)
}

func forgetsRetired(t *testing.T, s store.Store) {
	old := bundle("a", 1, []string{"/x.v1.A/Gone", "/x.v1.A/Stays", "x.v1.A"}, "common", "1")
	alone := bundle("b", 2, []string{"/x.v1.A/Gone"}, "common", "2")
	put(t, s, old, alone)
	retire(t, s, retirement("Gone", 3))
	requireBundles(t, s, keptFor(old, "/x.v1.A/Stays", "x.v1.A"))
	requireRetired(t, s, retirement("Gone", 3))
	retire(t, s, retirement("Stays", 4, "x.v1.A"))
	requireBundles(t, s)
	requireRetired(t, s, retirement("Gone", 3), retirement("Stays", 4))
}

func resetsRetired(t *testing.T, s store.Store) {
	other := override("b.v1.B.M", 1)
	require.NoError(t, s.PutOverride(t.Context(), other))
	require.NoError(t, s.PutOverride(t.Context(), override("x.v1.A.M", 1)))
	r := retirement("M", 5)
	r.Version = 1
	retire(t, s, r)
	requireOverrides(t, s, other, store.Override{TaskType: "x.v1.A.M", Version: 2, Reason: r.Reason, Time: r.Time})
}

func refusesRetirement(t *testing.T, s store.Store) {
	b := bundle("a", 1, []string{"/x.v1.A/M"}, "1")
	put(t, s, b)
	r := retirement("M", 5)
	r.Version = 1
	require.ErrorIs(t, s.RetireType(t.Context(), r), store.ErrChanged)
	require.NoError(t, s.PutOverride(t.Context(), override("x.v1.A.M", 1)))
	r.Version = 0
	require.ErrorIs(t, s.RetireType(t.Context(), r), store.ErrChanged)
	requireRetired(t, s)
	requireBundles(t, s, b)
}

func repeatsRetirement(t *testing.T, s store.Store) {
	require.NoError(t, s.PutOverride(t.Context(), override("x.v1.A.M", 1)))
	r := retirement("M", 5)
	r.Version = 1
	retire(t, s, r)
	retire(t, s, r)
	requireRetired(t, s, r)
	overrides, err := s.Overrides(t.Context())
	require.NoError(t, err)
	require.Len(t, overrides, 1)
	require.EqualValues(t, 2, overrides[0].Version)

	again := retirement("M", 6)
	again.Version = 2
	retire(t, s, again)
	requireRetired(t, s, again)
}

func revivesRetired(t *testing.T, s store.Store) {
	b := bundle("a", 1, []string{"/x.v1.A/M", "/x.v1.A/N", "x.v1.A"}, "1")
	put(t, s, b)
	for _, method := range []string{"M", "N"} {
		retire(t, s, retirement(method, 5))
	}
	put(t, s, bundle("other", 6, []string{"x.v1.B"}, "2"))
	requireRetired(t, s, retirement("M", 5), retirement("N", 5))
	// The very program that defined it before.
	put(t, s, b)
	requireRetired(t, s)
	requireBundles(t, s, b, bundle("other", 6, []string{"x.v1.B"}, "2"))
}

func countsUnended(t *testing.T, s store.Store) {
	count := func(want map[task.State]int64) {
		t.Helper()
		got, err := s.CountUnended(t.Context(), queued(task.NewID()).Type)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	count(map[task.State]int64{})
	for _, phase := range []task.Phase{task.PhaseSucceeded, task.PhaseCancelled, task.PhaseDeadLettered, task.PhaseStarted, task.PhaseStarted} {
		id := task.NewID()
		apply(t, s, queued(id), delivered(id, phase))
	}
	foreign := queued(task.NewID())
	foreign.Type = "y.v1.B.Other"
	apply(t, s, foreign, queued(task.NewID()))
	count(map[task.State]int64{task.StateQueued: 1, task.StateRunning: 2, task.StateDeadLettered: 1})
}

// laterOf is a task for later of the type of a retirement.
func laterOf(r store.Retirement) store.Scheduled {
	s := scheduled(task.NewID(), at(100))
	s.Event.Type = r.TaskType
	return s
}

func schedulesNoneRetired(t *testing.T, s store.Store) {
	r := retirement("M", 5)
	before := laterOf(r)
	schedule(t, s, before)
	require.NoError(t, s.Unschedule(t.Context(), []string{before.Event.TaskID}))
	retire(t, s, r)
	refused, other := laterOf(r), scheduled(task.NewID(), at(100))
	_, err := s.Schedule(t.Context(), []store.Scheduled{other, refused})
	require.ErrorIs(t, err, store.ErrRetired)
	for _, id := range []string{refused.Event.TaskID, other.Event.TaskID} {
		_, err = s.Task(t.Context(), id)
		require.ErrorIs(t, err, store.ErrNotFound, "all of them, or none")
	}
	schedule(t, s, other)
	// A repetition is answered by what is there.
	changes, err := s.Schedule(t.Context(), []store.Scheduled{before})
	require.NoError(t, err)
	require.Empty(t, changes)

	firing := store.Schedule{ID: "nightly", Version: 1, Spec: []byte("spec"), Next: at(50)}
	require.NoError(t, s.PutSchedule(t.Context(), firing))
	f := store.Fire{
		ScheduleID: firing.ID, Version: 1, Was: at(50), Next: at(60), Firing: store.Firing{Time: at(50), Encoded: []byte("f")}, Task: &refused,
	}
	_, err = s.Fire(t.Context(), f)
	require.ErrorIs(t, err, store.ErrRetired)
	kept, err := s.GetSchedule(t.Context(), firing.ID)
	require.NoError(t, err)
	require.True(t, at(50).Equal(kept.Next))
	require.Empty(t, kept.Firings)

	put(t, s, bundle("a", 6, []string{r.Method}, "1"))
	schedule(t, s, refused)
}

func refusesWhileScheduled(t *testing.T, s store.Store) {
	r := retirement("M", 5)
	b, waits := bundle("a", 1, []string{r.Method}, "1"), laterOf(r)
	put(t, s, b)
	schedule(t, s, waits)
	require.ErrorIs(t, s.RetireType(t.Context(), r), store.ErrInUse)
	requireRetired(t, s)
	requireBundles(t, s, b)
	require.NoError(t, s.Unschedule(t.Context(), []string{waits.Event.TaskID}))
	retire(t, s, r)
}
