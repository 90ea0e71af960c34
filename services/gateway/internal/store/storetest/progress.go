package storetest

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

var progressRules = map[string]func(*testing.T, store.Store){
	"Progress/has no number":       progressHasNoNumber,
	"Progress/only the latest":     progressOnlyLatest,
	"Progress/may be all there is": progressAlone,
	"Progress/ends with its run":   progressEndsWithRun,
	"Progress/without a fraction":  progressWithoutFraction,
}

func progressHasNoNumber(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, queued(id), started(id))
	report := numbered(id, task.PhaseProgress, 1)
	changes := apply(t, s, report)
	require.Equal(t, []store.Change{{TaskID: id, Version: 2, State: task.StateRunning, Progress: true}}, changes)
	require.Equal(t, report.Progress, get(t, s, id).Progress)
	require.Equal(t, []int64{1, 2}, numbers(all(t, s, id)))

	changes = apply(t, s, numbered(id, task.PhaseProgress, 2), succeeded(id))
	require.Equal(t, []store.Change{{TaskID: id, Version: 3, State: task.StateSucceeded, Progress: true}}, changes)
}

func progressOnlyLatest(t *testing.T, s store.Store) {
	id := task.NewID()
	latest := numbered(id, task.PhaseProgress, 3)
	apply(t, s, started(id), numbered(id, task.PhaseProgress, 2), latest)
	require.Empty(t, apply(t, s, numbered(id, task.PhaseProgress, 1), latest))
	require.Equal(t, latest.Progress, get(t, s, id).Progress)
}

func progressAlone(t *testing.T, s store.Store) {
	id := task.NewID()
	changes := apply(t, s, numbered(id, task.PhaseProgress, 1))
	require.Equal(t, []store.Change{{TaskID: id, State: task.StateRunning, Progress: true}}, changes)
	require.Equal(t, task.StateRunning, get(t, s, id).State)
	require.Empty(t, all(t, s, id))
	apply(t, s, queued(id))
	require.Equal(t, []int64{1}, numbers(all(t, s, id)))
	require.NotNil(t, get(t, s, id).Progress)
}

func progressEndsWithRun(t *testing.T, s store.Store) {
	id := task.NewID()
	apply(t, s, numbered(id, task.PhaseProgress, 1), delivered(id, task.PhaseDeadLettered))
	apply(t, s, inRun(2, queued(id)))
	require.Nil(t, get(t, s, id).Progress)
	require.Empty(t, apply(t, s, numbered(id, task.PhaseProgress, 2)))
	require.Nil(t, get(t, s, id).Progress)
}

func progressWithoutFraction(t *testing.T, s store.Store) {
	for _, fraction := range []float64{-1, math.NaN()} {
		id := task.NewID()
		e := numbered(id, task.PhaseProgress, 1)
		e.Progress.Fraction = fraction
		apply(t, s, e)
		require.Negative(t, get(t, s, id).Progress.Fraction)
	}
}
