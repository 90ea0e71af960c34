package load_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/warrenmq/warren/services/bench/internal/load"
)

func TestAPaceIsOfTasksWithTheirRetries(t *testing.T) {
	for retries, want := range map[float64]int{0: 0, 0.2: 500, 0.3: 750, 1: 2500} {
		f := &fake{state: succeeded}
		pace, err := under(t, f).Pace(bounded(t), load.Work{Retries: retries}, 2500)
		require.NoError(t, err)
		require.Equal(t, 2500, f.tasks)
		require.Len(t, f.batches, 3)
		require.InDelta(t, want, f.worker.repeated(), 1)
		require.Positive(t, pace.Accepted)
		require.Positive(t, pace.Done)
	}
}

func TestOneTaskHasNoPace(t *testing.T) {
	_, err := under(t, &fake{state: succeeded}).Pace(bounded(t), load.Work{}, 1)
	require.ErrorContains(t, err, "too few tasks")
}

func TestStartsAreAtTheirRate(t *testing.T) {
	f := &fake{state: succeeded}
	before := time.Now()
	waits, err := under(t, f).Starts(bounded(t), load.Work{Take: time.Millisecond, Retries: 0.5}, 1000, 300*time.Millisecond)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(before), 290*time.Millisecond)
	require.Len(t, waits, 300)
	require.Equal(t, 300, f.tasks)
	for _, wait := range waits {
		require.Positive(t, wait)
	}
}

func TestCriticalTasksOvertakeAFullQueue(t *testing.T) {
	f := &fake{state: succeeded, backlog: 85, overtaken: 10}
	backlog := load.Backlog{Tasks: 100, Slots: 3, Hold: time.Minute}
	waits, err := under(t, f).Behind(bounded(t), backlog, 20)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(waits), 7)
	require.LessOrEqual(t, len(waits), 8, "the queue is empty then")
	require.Equal(t, 3+100+len(waits)+1, f.tasks)
	for _, wait := range waits {
		require.Positive(t, wait)
	}
}
