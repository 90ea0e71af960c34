package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var schedulesRules = map[string]func(*testing.T, store.Store){
	"Schedules/are kept as they were put":        keepsSchedules,
	"Schedules/the next version replaces":        replacesSchedule,
	"Schedules/another version is refused":       refusesSchedule,
	"Schedules/a repetition changes nothing":     repeatsSchedule,
	"Schedules/are listed by id, page by page":   listsSchedules,
	"Schedules/are deleted by version":           deletesSchedule,
	"DueSchedules/are the earliest first":        dueSchedules,
	"PutSchedule/of several operators, one wins": oneScheduleWins,
}

// spec is a schedule with its firings, the last one first.
func spec(id string, version int64, next time.Time, firings ...int) store.Schedule {
	sc := store.Schedule{ID: id, Version: version, Spec: []byte{0, byte(version), 255}, Next: next}
	for _, n := range firings {
		sc.Firings = append(sc.Firings, firing(n))
	}
	return sc
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
	c := spec("c", 1, at(2), 1)
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

func oneScheduleWins(t *testing.T, s store.Store) {
	requireOneWins(t, 5, func(i int) error {
		sc := spec("nightly", 1, at(i))
		sc.Spec = []byte{byte(i)}
		return s.PutSchedule(t.Context(), sc)
	})
}
