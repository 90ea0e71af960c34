package e2e

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// Size of the fault.
const (
	killedTasks       = 2000
	killedConcurrency = 64
	// killedAfter is how many tasks have begun when the target is killed.
	killedAfter = 400
	// killedDelay is what each task takes, so that as many are in flight as may be.
	killedDelay = 100 * time.Millisecond
)

// TestFaultTargetKilled: a target that is killed under load, and stays away for a
// while, loses nothing. An attempt is spent by the tasks that were in flight at
// that moment and by no other.
func TestFaultTargetKilled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		target target
		away   time.Duration
	}{{pythonTarget, 20 * time.Second}, {nodeTarget, 3 * time.Second}, {goTarget, 3 * time.Second}} {
		t.Run(c.target.name, func(t *testing.T) {
			t.Parallel()
			f := forward(t, c.target, []string{"--concurrency", strconv.Itoa(killedConcurrency)})
			f.awaitReady(t, typeDelay)
			ids, killed := f.killUnderLoad(t, c.away)
			f.checkKilled(t, ids, killed)
		})
	}
}

// killUnderLoad submits tasks, kills the target when some have begun, and starts
// it again after a while.
func (f *forwarding) killUnderLoad(t *testing.T, away time.Duration) (ids []string, killed time.Time) {
	t.Helper()
	submitted := make(chan []string, 1)
	var submitting sync.WaitGroup
	defer submitting.Wait()
	submitting.Go(func() {
		submitted <- f.submitMany(t, killedTasks, func(int) *taskv1.SubmitTaskRequest {
			return &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(killedDelay))}
		})
	})
	brokertest.Eventually(t, 30*time.Second, func() bool { return f.recorder.tasks() >= killedAfter })
	f.server.kill()
	killed = time.Now()
	// What the target wrote before it died is on its way no longer.
	begun := 0
	brokertest.Eventually(t, 5*time.Second, func() bool {
		before := begun
		begun = f.recorder.all()
		return begun == before
	})
	require.Less(t, begun, killedTasks, "the load was over too soon")
	require.NoError(t, wait(context.WithoutCancel(t.Context()), time.Until(killed.Add(away))))
	require.Equal(t, begun, f.recorder.all(), "nothing ran while the target was away")
	f.back(t)
	return <-submitted, killed
}

// checkKilled looks at what became of every task.
func (f *forwarding) checkKilled(t *testing.T, ids []string, killed time.Time) {
	t.Helper()
	spent, returned := 0, 0
	for _, id := range ids {
		done := f.await(t, id)
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, done.State, "%v", done.Failure)
		starts := f.recorder.of(id)
		var failed *taskv1.TaskAttempt
		for _, a := range f.attempts(t, id) {
			switch a.Outcome {
			case taskv1.AttemptOutcome_ATTEMPT_OUTCOME_RELEASED:
				returned++
				require.NotEmpty(t, a.Decision)
			case taskv1.AttemptOutcome_ATTEMPT_OUTCOME_FAILED:
				require.Nil(t, failed, "one kill spends one attempt")
				failed = a
			default:
				require.Equal(t, taskv1.AttemptOutcome_ATTEMPT_OUTCOME_SUCCEEDED, a.Outcome)
			}
			require.False(t, a.Extra, "nothing was executed that was not accounted for")
		}
		if failed == nil {
			require.EqualValues(t, 1, done.Attempt)
			require.Equal(t, []start{{1, 1}}, starts)
			continue
		}
		spent++
		require.EqualValues(t, codes.Unavailable, failed.Failure.Code)
		require.WithinRange(t, failed.StartTime.AsTime(), killed.Add(-2*time.Second), killed.Add(time.Second), "it was in flight when the target was killed")
		require.EqualValues(t, 2, done.Attempt)
		require.Equal(t, start{1, 2}, starts[len(starts)-1])
		// Its first call may have been on its way when the target died.
		require.Subset(t, []start{{1, 1}, {1, 2}}, starts)
		require.LessOrEqual(t, len(starts), 2)
	}
	require.Positive(t, spent, "nothing was in flight")
	require.LessOrEqual(t, spent, killedConcurrency)
	// A worker that went on taking tasks would have returned them over and over.
	require.LessOrEqual(t, returned, 4*killedConcurrency)
	t.Logf("%d tasks; %d in flight at the kill spent an attempt, %d were returned unspent", len(ids), spent, returned)
}
