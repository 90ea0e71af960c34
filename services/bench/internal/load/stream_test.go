package load_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/bench/internal/load"
)

func TestStreamSubmitsEachTask(t *testing.T) {
	for _, n := range []int{2, 1001} {
		f := &fake{state: succeeded}
		rates, err := under(t, f).Stream(bounded(t), n)
		require.NoError(t, err)
		require.Equal(t, n, f.tasks)
		require.LessOrEqual(t, f.longest, load.Streams)
		require.Positive(t, rates.Accepted)
		require.GreaterOrEqual(t, rates.Done, rates.Accepted)
	}
}

func TestAStreamIsNoBetterThanItsAnswers(t *testing.T) {
	for want, answer := range map[string]func(*taskv1.SubmitTasksResponse) (*taskv1.SubmitTasksResponse, error){
		"queue full": func(r *taskv1.SubmitTasksResponse) (*taskv1.SubmitTasksResponse, error) {
			full := &rpcstatus.Status{Code: int32(codes.ResourceExhausted), Message: "queue full"}
			r.Result = &taskv1.SubmitTasksResponse_Error{Error: full}
			return r, nil
		},
		"answer 8 came in the place of answer 7": func(r *taskv1.SubmitTasksResponse) (*taskv1.SubmitTasksResponse, error) {
			if r.GetNumber() == 7 {
				r.Number++
			}
			return r, nil
		},
		"ended after 99 answers of 1000": func(r *taskv1.SubmitTasksResponse) (*taskv1.SubmitTasksResponse, error) {
			if r.GetNumber() == 100 {
				return nil, nil
			}
			return r, nil
		},
		"shutting down": func(r *taskv1.SubmitTasksResponse) (*taskv1.SubmitTasksResponse, error) {
			if r.GetNumber() == 100 {
				return nil, status.Error(codes.Unavailable, "shutting down")
			}
			return r, nil
		},
	} {
		_, err := under(t, &fake{state: succeeded, stream: answer}).Stream(bounded(t), 4000)
		require.ErrorContains(t, err, want)
		require.False(t, load.Unimplemented(err))
	}
	_, err := under(t, &fake{stream: func(*taskv1.SubmitTasksResponse) (*taskv1.SubmitTasksResponse, error) {
		return nil, status.Error(codes.Unimplemented, "not yet")
	}}).Stream(bounded(t), 4000)
	require.True(t, load.Unimplemented(err), err)
}
