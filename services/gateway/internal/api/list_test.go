package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

const full = taskv1.TaskView_TASK_VIEW_FULL

// listAll reads all pages of a request.
func listAll(t testing.TB, s *TaskService, r *taskv1.ListTasksRequest) (ids []string, pages int) {
	t.Helper()
	for {
		page, err := s.ListTasks(t.Context(), r)
		require.NoError(t, err)
		require.Less(t, proto.Size(page), 4<<20, "what clients receive by default")
		pages++
		for _, m := range page.Tasks {
			ids = append(ids, m.TaskId)
		}
		if r.PageToken = page.NextPageToken; r.PageToken == "" {
			return ids, pages
		}
	}
}

// labelled is the first event of a task with a label of its number.
func labelled(id string, n int) task.Event {
	e := event(id, 1, 0, task.PhaseQueued)
	e.Head = &task.Head{CreateTime: time.UnixMicro(1e15).UTC(), Priority: task.PriorityNormal, Labels: map[string]string{"n": fmt.Sprint(n)}}
	return e
}

// listed applies so many tasks and returns their ids, the newest first.
func listed(t testing.TB, s store.Store, n int) []string {
	t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = task.NewID()
	}
	slices.Sort(ids)
	var events []task.Event
	for i, id := range ids {
		events = append(events, labelled(id, i))
	}
	apply(t, s, events...)
	slices.Reverse(ids)
	return ids
}

func TestListPages(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	ids := listed(t, s, 620)
	for size, want := range map[int32]int{0: 13, 100: 7, 100_000: 2} {
		got, pages := listAll(t, service, &taskv1.ListTasksRequest{PageSize: size})
		require.Equal(t, ids, got)
		require.Equal(t, want, pages, "page size %d", size)
	}
	got, _ := listAll(t, service, &taskv1.ListTasksRequest{Filter: `labels.n = "7" OR labels.n = "9"`, PageSize: 1})
	require.Equal(t, []string{ids[610], ids[612]}, got)
	got, _ = listAll(t, service, &taskv1.ListTasksRequest{Filter: `queue = "warren.work.` + typeDelay + `" AND labels.n = "7"`})
	require.Equal(t, []string{ids[612]}, got)
	got, pages := listAll(t, service, &taskv1.ListTasksRequest{Filter: `state = DEAD_LETTERED`})
	require.Empty(t, got)
	require.Equal(t, 1, pages)
}

func TestListPageTokensAreBoundToTheirRequest(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	ids := listed(t, s, 3)
	page, err := service.ListTasks(t.Context(), &taskv1.ListTasksRequest{PageSize: 1})
	require.NoError(t, err)
	token := page.NextPageToken
	for _, r := range []*taskv1.ListTasksRequest{
		{PageToken: token, Filter: `state = QUEUED`}, {PageToken: token, View: full}, {PageToken: "?"}, {PageToken: token + "AAAA"},
		{PageToken: token[:4]}, {PageToken: resumeToken(ids[0], 1)}, {PageToken: base64.RawURLEncoding.EncodeToString(nil) + "A"},
	} {
		_, err := service.ListTasks(t.Context(), r)
		requireReason(t, err, codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID)
	}
	got, _ := listAll(t, service, &taskv1.ListTasksRequest{PageToken: token, PageSize: 7, View: taskv1.TaskView_TASK_VIEW_BASIC})
	require.Equal(t, ids[1:], got)
	require.Empty(t, listToken(&taskv1.ListTasksRequest{}, "x"))
}

func TestListRefusesWhatIsNoFilter(t *testing.T) {
	t.Parallel()
	service, _ := newService(t, &fakes{})
	for text, want := range map[string]string{
		`colour = "red"`:    `there is no field "colour"; fields are attempt, attempt.code, attempt.trace_id, attempt.worker_id, cause, code, create_time,`,
		`state = BROKEN`:    `values are SCHEDULED, QUEUED, RUNNING, RETRYING, SUCCEEDED, CANCELLED, DEAD_LETTERED`,
		`priority = "NONE"`: `LOW, NORMAL, HIGH, CRITICAL`,
	} {
		_, err := service.ListTasks(t.Context(), &taskv1.ListTasksRequest{Filter: text})
		requireReason(t, err, codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_FILTER_INVALID)
		require.ErrorContains(t, err, want)
	}
}

func TestListViews(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	id := task.NewID()
	queued, end := event(id, 1, 0, task.PhaseQueued), event(id, 1, 1, task.PhaseSucceeded)
	queued.Payload.Bytes, queued.Payload.Size, end.Message = []byte("payload"), 7, []byte("result")
	apply(t, s, queued, event(id, 1, 1, task.PhaseStarted), end)
	page, err := service.ListTasks(t.Context(), &taskv1.ListTasksRequest{})
	require.NoError(t, err)
	require.Nil(t, page.Tasks[0].Payload)
	page, err = service.ListTasks(t.Context(), &taskv1.ListTasksRequest{View: full})
	require.NoError(t, err)
	got, err := service.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: id, View: full})
	require.NoError(t, err)
	require.True(t, proto.Equal(got.Task, page.Tasks[0]))
	require.Equal(t, "payload", string(page.Tasks[0].Payload.Value))
	require.Equal(t, "result", string(page.Tasks[0].Result.Value))
}

func TestListPagesFitIntoWhatClientsReceive(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	var ids []string
	for range 10 {
		id := task.NewID()
		e := event(id, 1, 0, task.PhaseQueued)
		e.Payload.Bytes = make([]byte, 1<<20)
		apply(t, s, e)
		ids = append(ids, id)
	}
	slices.Sort(ids)
	slices.Reverse(ids)
	got, pages := listAll(t, service, &taskv1.ListTasksRequest{View: full, PageSize: 500})
	require.Equal(t, ids, got)
	require.Equal(t, 4, pages)
	got, pages = listAll(t, service, &taskv1.ListTasksRequest{PageSize: 500})
	require.Equal(t, ids, got)
	require.Equal(t, 1, pages)
}

// purging forgets bodies between a list and what is shown of it.
type purging struct {
	store.Store
	gone string
}

func (p *purging) Body(ctx context.Context, id string, number int64) ([]byte, error) {
	if id == p.gone {
		return nil, store.ErrNotFound
	}
	return p.Store.Body(ctx, id, number)
}

func TestListPassesOverWhatIsPurgedMeanwhile(t *testing.T) {
	t.Parallel()
	p := &purging{}
	service, s := newService(t, &fakes{}, func(cfg *Config) {
		p.Store = cfg.Store
		cfg.Store = p
	})
	ids := listed(t, s, 3)
	p.gone = ids[1]
	got, _ := listAll(t, service, &taskv1.ListTasksRequest{View: full})
	require.Equal(t, []string{ids[0], ids[2]}, got)
}

// timedStore notes how long it may search.
type timedStore struct {
	store.Store
	asked store.Query
	err   error
}

func (s *timedStore) List(_ context.Context, q store.Query) (store.Page, error) {
	s.asked = q
	return store.Page{Next: task.NewID()}, s.err
}

func TestListIsBoundedInTime(t *testing.T) {
	t.Parallel()
	timed := &timedStore{}
	service, _ := newService(t, &fakes{}, func(cfg *Config) { cfg.Store = timed })
	page, err := service.ListTasks(t.Context(), &taskv1.ListTasksRequest{})
	require.NoError(t, err)
	require.Empty(t, page.Tasks)
	require.NotEmpty(t, page.NextPageToken, "an empty page need not be the last")
	require.InDelta(t, searchTime, timed.asked.Time, float64(100*time.Millisecond))
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err = service.ListTasks(ctx, &taskv1.ListTasksRequest{})
	require.NoError(t, err)
	require.LessOrEqual(t, timed.asked.Time, 400*time.Millisecond)

	timed.err = fmt.Errorf("%w: locked", store.ErrUnavailable)
	_, err = service.ListTasks(t.Context(), &taskv1.ListTasksRequest{})
	requireReason(t, err, codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE)
}

func FuzzListToken(f *testing.F) {
	f.Add("", listToken(&taskv1.ListTasksRequest{}, task.NewID()))
	f.Add("run = 1", "?")
	f.Fuzz(func(t *testing.T, text, token string) {
		id, err := parseListToken(&taskv1.ListTasksRequest{Filter: text, PageToken: token})
		if err != nil {
			require.Equal(t, codes.InvalidArgument, status.Code(err))
			return
		}
		if token != "" {
			r := &taskv1.ListTasksRequest{Filter: text}
			r.PageToken = listToken(r, id)
			again, err := parseListToken(r)
			require.NoError(t, err)
			require.Equal(t, id, again)
		}
	})
}
