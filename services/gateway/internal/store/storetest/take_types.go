package storetest

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var takeTypesRules = map[string]func(*testing.T, store.Store){
	"TakeDue/leaves out types":                     takesNoneOf,
	"TakeDue/takes at most so many of a type":      takesFewOf,
	"TakeDue/of several types, the earliest first": takesOfTypes,
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
