package admin

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/services/gateway/internal/control"
)

const (
	live    = adminv1.WorkerState_WORKER_STATE_LIVE
	silent  = adminv1.WorkerState_WORKER_STATE_SILENT
	hasGone = adminv1.WorkerState_WORKER_STATE_GONE
)

func TestWorkersComeInPages(t *testing.T) {
	t.Parallel()
	f, s := newOperator(t)
	for n := 9; n > 0; n-- {
		state, types := live, []string{typeDelay}
		if n%3 == 0 {
			state = hasGone
		}
		if n == 5 {
			types = []string{"acme.v1.Other.Do"}
		}
		s.workers = append(s.workers, workerOf(n, state, types...))
	}
	list := func(r *adminv1.ListWorkersRequest) (ids []string) {
		t.Helper()
		for more := true; more; more = r.PageToken != "" {
			page, err := f.ListWorkers(t.Context(), r)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page.Workers), 4)
			for _, w := range page.Workers {
				ids = append(ids, w.WorkerId)
				require.Empty(t, w.RunningTasks)
			}
			r.PageToken = page.NextPageToken
		}
		return ids
	}
	want := func(numbers ...int) (ids []string) {
		for _, n := range numbers {
			ids = append(ids, workerID(n))
		}
		return ids
	}
	require.Equal(t, want(8, 7, 5, 4, 2, 1), list(&adminv1.ListWorkersRequest{PageSize: 4}))
	require.Equal(t, want(9, 8, 7, 6, 5, 4, 3, 2, 1), list(&adminv1.ListWorkersRequest{PageSize: 2, ShowGone: true}))
	for _, name := range spellings {
		require.Equal(t, want(8, 7, 4, 2, 1), list(&adminv1.ListWorkersRequest{PageSize: 3, TaskType: name}))
	}
	require.Empty(t, list(&adminv1.ListWorkersRequest{TaskType: "acme.v1.Nope.Nothing"}))

	page, err := f.ListWorkers(t.Context(), &adminv1.ListWorkersRequest{PageSize: 1})
	require.NoError(t, err)
	for _, r := range []*adminv1.ListWorkersRequest{
		{PageToken: page.NextPageToken, ShowGone: true}, {PageToken: page.NextPageToken, TaskType: typeDelay}, {PageToken: "?"},
	} {
		_, err := f.ListWorkers(t.Context(), r)
		requireReason(t, err, codes.InvalidArgument, badPageToken)
	}
}

func TestAWorkerIsShown(t *testing.T) {
	t.Parallel()
	f, s := newOperator(t)
	s.workers = []control.Worker{workerOf(1, live, typeDelay)}
	id := "0190A000-0000-7000-8000-000000000001"
	answer, err := f.GetWorker(t.Context(), &adminv1.GetWorkerRequest{WorkerId: id})
	require.NoError(t, err)
	w := answer.Worker
	require.Equal(t, workerID(1), w.WorkerId)
	require.Equal(t, "host", w.Host)
	require.EqualValues(t, 7, w.Pid)
	require.Equal(t, "v1", w.Version)
	require.Equal(t, "a note", w.Note)
	require.NotNil(t, w.LastSeenTime)
	require.Len(t, w.Types, 1)
	require.Len(t, w.RunningTasks, 1)
	require.EqualValues(t, 2, w.RunningTasks[0].Attempt)
	require.Equal(t, typeDelay, w.RunningTasks[0].TaskType)

	_, err = f.GetWorker(t.Context(), &adminv1.GetWorkerRequest{WorkerId: workerID(2)})
	requireReason(t, err, codes.NotFound, noWorker)
	s.unloaded = true
	_, err = f.GetWorker(t.Context(), &adminv1.GetWorkerRequest{WorkerId: workerID(2)})
	requireReason(t, err, codes.NotFound, noWorker)
	require.ErrorContains(t, err, "a moment ago")
}

func TestAWorkerIsDrained(t *testing.T) {
	t.Parallel()
	f, s := newOperator(t)
	s.workers = []control.Worker{workerOf(1, live, typeDelay)}
	drain := func(id string) error {
		answer, err := f.DrainWorker(t.Context(), &adminv1.DrainWorkerRequest{WorkerId: id, Reason: "an update"})
		if err == nil {
			require.Equal(t, workerID(1), answer.Worker.WorkerId)
		}
		return err
	}
	require.NoError(t, drain("0190A000-0000-7000-8000-000000000001"))
	require.Equal(t, []string{workerID(1) + " an update"}, s.drained)
	requireReason(t, drain(workerID(2)), codes.NotFound, noWorker)
	s.err = control.ErrNoWorker
	requireReason(t, drain(workerID(1)), codes.NotFound, noWorker)
	s.err = errors.New("no connection")
	requireReason(t, drain(workerID(1)), codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_NOT_SUBMITTED)
	s.err = context.Canceled
	require.ErrorIs(t, drain(workerID(1)), context.Canceled)
}
