package load_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/bench/internal/load"
)

const succeeded = taskv1.TaskState_TASK_STATE_SUCCEEDED

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestUnarySubmitsEachTask(t *testing.T) {
	f := &fake{state: succeeded}
	rates, err := under(t, f).Unary(bounded(t), 777)
	require.NoError(t, err)
	require.Equal(t, 777, f.tasks)
	require.LessOrEqual(t, f.longest, load.Callers)
	require.Positive(t, rates.Accepted)
	require.GreaterOrEqual(t, rates.Done, rates.Accepted)
}

func TestBulkSubmitsEachTask(t *testing.T) {
	f := &fake{state: succeeded}
	_, err := under(t, f).Bulk(bounded(t), 2500)
	require.NoError(t, err)
	require.Equal(t, 2500, f.tasks)
	slices.Sort(f.batches)
	require.Equal(t, []int{500, 1000, 1000}, f.batches)
}

func TestAStoreThatIsBehindIsAskedAgain(t *testing.T) {
	f := &fake{state: succeeded, behind: 2}
	l := under(t, f)
	_, err := l.Unary(bounded(t), 10)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"task-10": 3}, f.asked)
	_, err = l.Latencies(bounded(t), 10*time.Millisecond)
	require.NoError(t, err)
	require.Equal(t, 3, f.asked["task-11"])
}

func TestATaskThatDoesNotSucceedIsAnError(t *testing.T) {
	f := &fake{state: taskv1.TaskState_TASK_STATE_DEAD_LETTERED}
	l := under(t, f)
	_, err := l.Unary(bounded(t), 10)
	require.ErrorContains(t, err, "DEAD_LETTERED")
	_, err = l.Latencies(bounded(t), 10*time.Millisecond)
	require.ErrorContains(t, err, "the watch ended before the task")
}

func TestLatenciesAreInTheirOrder(t *testing.T) {
	f := &fake{state: succeeded}
	before := time.Now()
	found, err := under(t, f).Latencies(bounded(t), 200*time.Millisecond)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(before), 190*time.Millisecond, "at the rate")
	require.Len(t, found, 20)
	for _, l := range found {
		require.Positive(t, l.Started)
		require.Less(t, l.Started, l.Seen)
		require.Less(t, l.Accepted, l.Seen)
	}
}

func TestABatchIsNoBetterThanItsTasks(t *testing.T) {
	answers := map[string]func(*taskv1.BatchSubmitTasksRequest) (*taskv1.BatchSubmitTasksResponse, error){
		"queue full": func(r *taskv1.BatchSubmitTasksRequest) (*taskv1.BatchSubmitTasksResponse, error) {
			full := &rpcstatus.Status{Code: int32(codes.ResourceExhausted), Message: "queue full"}
			all := make([]*taskv1.BatchSubmitTasksResult, len(r.GetRequests()))
			for i := range all {
				all[i] = &taskv1.BatchSubmitTasksResult{Result: &taskv1.BatchSubmitTasksResult_Error{Error: full}}
			}
			return &taskv1.BatchSubmitTasksResponse{Results: all}, nil
		},
		"answered with 0 results": func(*taskv1.BatchSubmitTasksRequest) (*taskv1.BatchSubmitTasksResponse, error) {
			return &taskv1.BatchSubmitTasksResponse{}, nil
		},
	}
	for want, answer := range answers {
		_, err := under(t, &fake{state: succeeded, batch: answer}).Bulk(bounded(t), 10)
		require.ErrorContains(t, err, want)
		require.False(t, load.Unimplemented(err))
	}
	_, err := under(t, &fake{batch: func(*taskv1.BatchSubmitTasksRequest) (*taskv1.BatchSubmitTasksResponse, error) {
		return nil, status.Error(codes.Unimplemented, "not yet")
	}}).Bulk(bounded(t), 10)
	require.True(t, load.Unimplemented(err))
}

func TestLoadEndsWithItsContext(t *testing.T) {
	f := &fake{state: succeeded, behind: 1 << 30}
	l := under(t, f)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errors.New("enough"))
	defer cancel()
	_, err := l.Unary(ctx, 10)
	require.Error(t, err)
	_, err = l.Latencies(ctx, time.Hour)
	require.Error(t, err)
}
