package storetest

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var tasksRules = map[string]func(*testing.T, store.Store){
	"Tasks/shows each as Task does, in the order asked": showsNamed,
	"Tasks/leaves out what is unknown or purged":        leavesOutUnknown,
	"Tasks/is of one moment":                            showsOneMoment,
	"Tasks/ends with its context": func(t *testing.T, s store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Tasks(ctx, []string{task.NewID()})
		require.ErrorIs(t, err, context.Canceled)
	},
}

func tasksOf(t *testing.T, s store.Store, ids ...string) []task.Task {
	t.Helper()
	found, err := s.Tasks(t.Context(), ids)
	require.NoError(t, err)
	return found
}

// showsNamed asks for as many as one call may, more than any statement reads.
func showsNamed(t *testing.T, s store.Store) {
	ids := newIDs(t, 1000)
	var events []task.Event
	for i, id := range ids {
		events = append(events, queued(id))
		switch i % 4 {
		case 1:
			events = append(events, started(id))
		case 2:
			events = append(events, started(id), succeeded(id))
		case 3:
			events = append(events, delivered(id, task.PhaseDeadLettered))
		}
	}
	apply(t, s, events...)
	slices.Reverse(ids)
	ids[0], ids[500] = ids[500], ids[0]
	var want []task.Task
	for _, id := range ids {
		want = append(want, get(t, s, id))
	}
	require.Equal(t, want, tasksOf(t, s, ids...))
	for _, n := range []int{1, 31, 32, 33, 64} {
		require.Equal(t, want[:n], tasksOf(t, s, ids[:n]...))
	}
	require.Equal(t, want[:2], tasksOf(t, s, ids[0], ids[1], strings.ToUpper(ids[0]), ids[1]), "each once")
}

func leavesOutUnknown(t *testing.T, s store.Store) {
	id, events, _ := bigTask(t, s)
	other := task.NewID()
	apply(t, s, queued(other))
	require.Len(t, tasksOf(t, s, other, id), 2)
	purge(t, s, at(1_000_000), 10)
	require.Equal(t, []task.Task{get(t, s, other)}, tasksOf(t, s, task.NewID(), id, "", "x", other, "' OR 1=1 --"))
	apply(t, s, events...)
	require.Len(t, tasksOf(t, s, id, other), 1, "it does not come back")
	require.Empty(t, tasksOf(t, s))
	require.Empty(t, tasksOf(t, s, task.NewID()))
}

// showsOneMoment has tasks move on together while they are read: no answer shows
// some before and some after.
func showsOneMoment(t *testing.T, s store.Store) {
	const rounds = 50
	ids := newIDs(t, 100)
	step := func(run int) (events []task.Event) {
		for _, id := range ids {
			events = append(events, inRun(run, queued(id)))
		}
		return events
	}
	apply(t, s, step(1)...)
	done := make(chan error, 1)
	go func() {
		defer close(done)
		for run := 2; run <= rounds; run++ {
			if _, err := s.Apply(t.Context(), step(run)); err != nil {
				done <- err
				return
			}
		}
	}()
	for ended := false; !ended; {
		select {
		case err := <-done:
			require.NoError(t, err)
			ended = true
		default:
		}
		found := tasksOf(t, s, ids...)
		require.Len(t, found, len(ids))
		for _, f := range found {
			require.Equal(t, found[0].Run, f.Run)
		}
	}
	require.Equal(t, rounds, get(t, s, ids[0]).Run)
}
