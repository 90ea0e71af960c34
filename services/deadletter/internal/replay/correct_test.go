//go:build unix

package replay_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

func TestACorrectionClosesTheDeadLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	corrected, dead := w.newTask(t), w.newTask(t)
	w.gateway.know(corrected.ID, 1, taskv1.TaskState_TASK_STATE_SUCCEEDED)
	died := time.Now()
	state := func(id string) store.State {
		d, err := w.store.Get(t.Context(), id, false)
		require.NoError(t, err)
		return d.State
	}
	// Not due yet: nothing is asked.
	require.NoError(t, w.replayer.Correct(t.Context(), died.Add(2*time.Second), died.Add(10*time.Second)))
	require.Equal(t, store.StateOpen, state(corrected.ID))
	require.NoError(t, w.replayer.Correct(t.Context(), died.Add(5*time.Second), died.Add(20*time.Second)))
	require.Equal(t, store.StateResolved, state(corrected.ID))
	require.Equal(t, store.StateOpen, state(dead.ID))

	// It can come late, too.
	w.gateway.know(dead.ID, 1, taskv1.TaskState_TASK_STATE_SUCCEEDED)
	require.NoError(t, w.replayer.Correct(t.Context(), died.Add(20*time.Second), died.Add(25*time.Second)))
	require.Equal(t, store.StateOpen, state(dead.ID))
	require.NoError(t, w.replayer.Correct(t.Context(), died.Add(3*time.Hour), died.Add(5*time.Hour)))
	require.Equal(t, store.StateResolved, state(dead.ID))
}

func TestACorrectionClosesAQuarantinedDeadLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.newTask(t)
	_, _, err := w.store.UpdatePolicy(t.Context(), store.PolicyRequest{
		TaskType: store.AllTypes, Fields: []store.PolicyField{store.PolicyMaxReplays}, Set: store.Settings{store.PolicyMaxReplays: 1},
	})
	require.NoError(t, err)
	_, _, err = w.store.BeginReplay(t.Context(), store.ReplayRequest{ID: m.ID, Run: 2})
	require.NoError(t, err)
	died := time.Now()
	m.Run = 2
	w.die(t, m)
	d, err := w.store.Get(t.Context(), m.ID, false)
	require.NoError(t, err)
	require.Equal(t, store.StateQuarantined, d.State)
	w.gateway.know(m.ID, 2, taskv1.TaskState_TASK_STATE_SUCCEEDED)
	require.NoError(t, w.replayer.Correct(t.Context(), died.Add(3*time.Second), died.Add(3*time.Hour)))
	d, err = w.store.Get(t.Context(), m.ID, false)
	require.NoError(t, err)
	require.Equal(t, store.StateResolved, d.State)
}
