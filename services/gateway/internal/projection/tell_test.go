package projection_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// Who waits for a task's end is left alone until then, and gets the very event that
// decided it, or is sent to the store.
func TestEndsAreTold(t *testing.T) {
	t.Parallel()
	hub := watch.NewHub()
	p := projection.New(newStore(t), hub, &lot{}, nil, quiet())
	one, other := task.NewID(), task.NewID()
	end, beside := hub.SubscribeEnd(one), hub.SubscribeEnd(other)
	defer end.Close()
	defer beside.Close()
	woken := func(e *watch.End) bool {
		select {
		case <-e.C:
			return true
		default:
			return false
		}
	}
	require.NoError(t, p.Apply(t.Context(), []task.Event{event(one, task.PhaseQueued), event(other, task.PhaseQueued), event(one, task.PhaseStarted)}))
	require.False(t, woken(end))

	// A late event of another execution beside it decides nothing.
	late := event(one, task.PhaseReleased)
	late.Key.Copy = task.Copy{2}
	done := event(one, task.PhaseSucceeded)
	done.Message = []byte("done")
	require.NoError(t, p.Apply(t.Context(), []task.Event{late, done, event(other, task.PhaseStarted)}))
	require.True(t, woken(end))
	o, ok := end.Outcome()
	require.True(t, ok)
	require.Equal(t, task.StateSucceeded, o.State)
	require.Equal(t, done, *o.Event)
	require.False(t, woken(beside))

	// Only its end was stored before somebody waited: what comes after tells of it.
	later := hub.SubscribeEnd(one)
	defer later.Close()
	require.NoError(t, p.Apply(t.Context(), []task.Event{func() task.Event {
		e := event(one, task.PhaseMessage)
		e.Key.Sequence, e.Message = 1, []byte("m")
		return e
	}()}))
	require.True(t, woken(later))
	_, ok = later.Outcome()
	require.False(t, ok)
}
