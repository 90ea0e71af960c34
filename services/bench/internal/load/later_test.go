package load_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/bench/internal/load"
)

func TestLatenessIsFromTheTimeThatATaskIsDue(t *testing.T) {
	f := &fake{state: succeeded}
	found, err := under(t, f).Lateness(bounded(t), 1100*time.Millisecond)
	require.NoError(t, err)
	require.Len(t, found, 220)
	require.Equal(t, []int{200, 20}, f.batches)
	for _, l := range found {
		// A start has a clock of its own to the nanosecond, a time to the millisecond.
		require.GreaterOrEqual(t, l.Started, time.Duration(0), "not before its time")
		require.Less(t, l.Started, 5*time.Second)
	}
}

func TestATaskThatIsDueAndDoesNotSucceedIsAnError(t *testing.T) {
	_, err := under(t, &fake{state: taskv1.TaskState_TASK_STATE_CANCELLED}).Lateness(bounded(t), 10*time.Millisecond)
	require.ErrorContains(t, err, "the watch ended before the task")
}

func TestScheduledTasksRunBeforeTheirTime(t *testing.T) {
	f := &fake{state: succeeded}
	l := under(t, f)
	var progress []int
	ahead := load.Ahead{First: time.Now().Add(24 * time.Hour), Over: time.Hour}
	found, err := l.Schedule(bounded(t), 2500, ahead, 20, func(accepted int) { progress = append(progress, accepted) })
	require.NoError(t, err)
	require.Len(t, progress, 3)
	require.Equal(t, 2500, progress[2])
	require.Len(t, f.later, 2500)
	require.Len(t, found.Sample, 20)
	require.Positive(t, found.Took)

	waits, err := l.RunNow(bounded(t), found.Sample)
	require.NoError(t, err)
	require.Len(t, waits, 20)
	require.Len(t, f.later, 2480)
	_, err = l.RunNow(bounded(t), found.Sample[:1])
	require.ErrorContains(t, err, "it is not SCHEDULED")

	few, err := l.Schedule(bounded(t), 3, ahead, 20, func(int) {})
	require.NoError(t, err)
	require.Len(t, few.Sample, 3)
}

func TestTasksThatAreDueWhenTheyAreAcceptedAreAnError(t *testing.T) {
	l := under(t, &fake{state: succeeded})
	_, err := l.Schedule(bounded(t), 3, load.Ahead{First: time.Now().Add(-time.Second)}, 1, func(int) {})
	require.ErrorContains(t, err, "due by then")
}

func TestWaitsForALaterTimeEndWithTheirContext(t *testing.T) {
	l := under(t, &fake{state: succeeded})
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("enough"))
	defer cancel()
	_, err := l.Lateness(ctx, time.Second)
	require.Error(t, err)
}
