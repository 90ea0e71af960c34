package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

func batchGet(t testing.TB, s *TaskService, ids ...string) *taskv1.BatchGetTasksResponse {
	t.Helper()
	r, err := s.BatchGetTasks(t.Context(), &taskv1.BatchGetTasksRequest{TaskIds: ids})
	require.NoError(t, err)
	return r
}

func idsOf(r *taskv1.BatchGetTasksResponse) []string {
	ids := []string{}
	for _, m := range r.Tasks {
		ids = append(ids, m.TaskId)
	}
	return ids
}

func TestBatchGetShowsTasksAsGetTaskDoes(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	ids := listed(t, s, 4)
	apply(t, s, event(ids[0], 1, 1, task.PhaseStarted), event(ids[1], 1, 1, task.PhaseDeadLettered))
	unknown := strings.ToUpper(task.NewID())
	got := batchGet(t, service, ids[2], unknown, ids[0], strings.ToUpper(ids[1]), ids[2], strings.ToLower(unknown), ids[1])
	require.Equal(t, []string{ids[2], ids[0], ids[1]}, idsOf(got))
	require.Equal(t, []string{unknown}, got.MissingTaskIds)
	require.Empty(t, got.UnreadTaskIds)
	for _, m := range got.Tasks {
		one, err := service.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: m.TaskId})
		require.NoError(t, err)
		require.True(t, proto.Equal(one.Task, m), "%v\n%v", one.Task, m)
	}
}

// As GetTask does, it waits for the status queue before it says that a task is unknown:
// once for all of them, and not at all when they are there.
func TestBatchGetSaysUnknownOnlyWhenTheStoreHasCaughtUp(t *testing.T) {
	t.Parallel()
	f := &fakes{}
	service, s := newService(t, f)
	there, coming, unknown := task.NewID(), task.NewID(), task.NewID()
	apply(t, s, event(there, 1, 0, task.PhaseQueued))
	f.catchUp = func(context.Context) error { panic("not asked for what is there") }
	require.Equal(t, []string{there}, idsOf(batchGet(t, service, there)))

	f.catchUp = func(context.Context) error { return fmt.Errorf("wait: %w", projection.ErrBehind) }
	_, err := service.BatchGetTasks(t.Context(), &taskv1.BatchGetTasksRequest{TaskIds: []string{there, coming, unknown}})
	requireReason(t, err, codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_PROJECTION_BEHIND)
	require.Contains(t, status.Convert(err).Message(), coming)

	f.catchUp = func(context.Context) error { return context.Canceled }
	_, err = service.BatchGetTasks(t.Context(), &taskv1.BatchGetTasksRequest{TaskIds: []string{unknown}})
	require.ErrorIs(t, err, context.Canceled)

	waits := 0
	f.catchUp = func(context.Context) error {
		waits++
		apply(t, s, event(coming, 1, 0, task.PhaseQueued))
		return nil
	}
	got := batchGet(t, service, coming, unknown, there)
	require.Equal(t, []string{coming, there}, idsOf(got))
	require.Equal(t, []string{unknown}, got.MissingTaskIds)
	require.Equal(t, 1, waits)
}

// An answer is never more than what clients receive by default, and who asks for the
// rest gets on.
func TestBatchGetLeavesOutWhatWouldBeTooMuch(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	var ids []string
	var events []task.Event
	for i := range 1000 {
		e := labelled(task.NewID(), i)
		e.Head.Labels["padding"] = strings.Repeat("x", 10<<10)
		if i == 500 {
			e.Head.Labels["padding"] = strings.Repeat("x", 5<<20)
		}
		events, ids = append(events, e), append(ids, e.TaskID)
	}
	for batch := range slices.Chunk(events, 100) {
		apply(t, s, batch...)
	}
	var shown []string
	unknown := task.NewID()
	calls := 0
	for left := append([]string{unknown}, ids...); len(left) > 0; calls++ {
		got := batchGet(t, service, left...)
		if len(got.Tasks) > 1 {
			require.Less(t, proto.Size(got), 4<<20)
		}
		require.NotEmpty(t, got.Tasks)
		if calls == 0 {
			require.Equal(t, []string{unknown}, got.MissingTaskIds)
		}
		for _, m := range got.Tasks {
			shown = append(shown, m.TaskId)
		}
		left = got.UnreadTaskIds
	}
	slices.Sort(shown)
	slices.Sort(ids)
	require.Equal(t, ids, shown)
	require.Less(t, calls, 8)
}

// brokenBatch answers reads of many tasks with an error.
type brokenBatch struct {
	store.Store
	err error
}

func (s brokenBatch) Tasks(context.Context, []string) ([]task.Task, error) { return nil, s.err }

func TestBatchGetTellsThatTheStoreIsAway(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		code   codes.Code
		reason taskv1.ErrorReason
	}{
		{fmt.Errorf("%w: locked", store.ErrUnavailable), codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE},
		{errors.New("secret"), codes.Internal, taskv1.ErrorReason_ERROR_REASON_INTERNAL},
	} {
		service, _ := newService(t, &fakes{}, func(cfg *Config) { cfg.Store = brokenBatch{err: c.err} })
		_, err := service.BatchGetTasks(t.Context(), &taskv1.BatchGetTasksRequest{TaskIds: []string{task.NewID()}})
		requireReason(t, err, c.code, c.reason)
		require.NotContains(t, status.Convert(err).Message(), "secret")
	}
}

// BenchmarkBatchGet shows 500 tasks of 10,000.
func BenchmarkBatchGet(b *testing.B) {
	service, s := newService(b, &fakes{})
	ids := listed(b, s, 10_000)
	began := time.Now()
	for b.Loop() {
		require.Len(b, batchGet(b, service, ids[2000:2500]...).Tasks, 500)
	}
	b.ReportMetric(float64(time.Since(began).Microseconds())/1000/float64(b.N), "ms/call")
}
