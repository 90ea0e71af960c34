package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// Size of the list.
const (
	listTasks   = 100_000
	listBatch   = 1000
	listCallers = 4
	listPage    = 500
	// listMeanwhile tasks come in while the pages are read.
	listMeanwhile = 1000
	// listTrace is the trace that one of the batches belongs to.
	listTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
)

// TestListOfAHundredThousand: every task is on one page, whatever comes in while
// the pages are read, and filters find what they ask for among so many.
func TestListOfAHundredThousand(t *testing.T) {
	p, _ := onVHost(t)
	w := p.startWorker(t)
	p.awaitReady(t, typeDelay)
	p.awaitReady(t, typeFail)
	tasks := p.endSome(t)
	w.terminate(t, 15*time.Second)
	begin := time.Now()
	tasks = append(tasks, p.fillList(t, listTasks-len(tasks))...)
	t.Logf("submitted and in the store after %.1f s", time.Since(begin).Seconds())
	newestFirst(tasks)

	t.Run("pages", func(t *testing.T) { p.pageThrough(t, tasks) })
	t.Run("filters", func(t *testing.T) { p.filterList(t, tasks) })
	t.Run("bad requests", func(t *testing.T) { p.refuseLists(t) })
}

// endSome submits tasks that end: 20 succeed, 5 become dead letters.
func (p *platform) endSome(t testing.TB) []*taskv1.Task {
	var tasks []*taskv1.Task
	for range 20 {
		tasks = append(tasks, p.ask(t, typeDelay, delay(0), labelled("ended")))
	}
	for range 5 {
		tasks = append(tasks, p.ask(t, typeFail, fail(codes.NotFound, "no such thing"), labelled("ended")))
	}
	for i := range tasks {
		tasks[i] = p.await(t, tasks[i].TaskId)
	}
	return tasks
}

func labelled(customer string) func(*taskv1.SubmitTaskRequest) {
	return func(r *taskv1.SubmitTaskRequest) { r.Labels = map[string]string{"customer": customer} }
}

// fillList submits n tasks in batches, and waits until the store has them.
func (p *platform) fillList(t testing.TB, n int) []*taskv1.Task {
	payloads := map[string]*anypb.Any{typeDelay: payload(t, delay(0)), typeFail: payload(t, &demov1.FailRequest{})}
	batches := make([][]*taskv1.Task, (n+listBatch-1)/listBatch)
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(listCallers)
	for b := range batches {
		g.Go(func() (err error) {
			taskType := typeDelay
			if b%20 == 7 {
				taskType = typeFail
			}
			var requests []*taskv1.SubmitTaskRequest
			for i := range min(listBatch, n-b*listBatch) {
				requests = append(requests, &taskv1.SubmitTaskRequest{
					Type: taskType, Payload: payloads[taskType], Labels: map[string]string{"customer": fmt.Sprint("c", i%10), "batch": fmt.Sprint(b)},
				})
			}
			call := ctx
			if b == 42 {
				call = metadata.AppendToOutgoingContext(ctx, "traceparent", "00-"+listTrace+"-00f067aa0ba902b7-01")
			}
			batches[b], err = p.submitAll(call, requests)
			return err
		})
	}
	require.NoError(t, g.Wait())
	for _, tasks := range batches {
		p.awaitStored(t, tasks[len(tasks)-1].TaskId)
	}
	return slices.Concat(batches...)
}

// submitAll submits a batch, all of which must be accepted, and gives the tasks
// with their labels, which the answers to batches leave out.
func (p *platform) submitAll(ctx context.Context, requests []*taskv1.SubmitTaskRequest) ([]*taskv1.Task, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, err := p.tasks.BatchSubmitTasks(ctx, &taskv1.BatchSubmitTasksRequest{Requests: requests})
	if err != nil {
		return nil, err
	}
	if len(r.Results) != len(requests) {
		return nil, fmt.Errorf("%d results for %d requests", len(r.Results), len(requests))
	}
	tasks := make([]*taskv1.Task, len(requests))
	for i, result := range r.Results {
		if tasks[i] = result.GetResponse().GetTask(); tasks[i] == nil {
			return nil, fmt.Errorf("request %d: %w", i, status.FromProto(result.GetError()).Err())
		}
		tasks[i].Labels = requests[i].Labels
	}
	return tasks, nil
}

// awaitStored waits until the store has a task, and so whatever was told before.
func (p *platform) awaitStored(t testing.TB, id string) {
	brokertest.Eventually(t, 60*time.Second, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := p.tasks.GetTask(ctx, &taskv1.GetTaskRequest{TaskId: id})
		return err
	})
}

func newestFirst(tasks []*taskv1.Task) {
	slices.SortFunc(tasks, func(a, b *taskv1.Task) int { return strings.Compare(b.TaskId, a.TaskId) })
}

// pageThrough reads all pages, and submits others in between.
func (p *platform) pageThrough(t *testing.T, tasks []*taskv1.Task) {
	const pages = listTasks / listPage
	submitted := 0
	var slowest time.Duration
	begin := time.Now()
	last := begin
	got := p.listAll(t, "", func() {
		slowest = max(slowest, time.Since(last))
		var requests []*taskv1.SubmitTaskRequest
		for range min(listMeanwhile/pages+1, listMeanwhile-submitted) {
			r := &taskv1.SubmitTaskRequest{Type: typeDelay, Payload: payload(t, delay(0))}
			labelled("meanwhile")(r)
			requests = append(requests, r)
		}
		if len(requests) > 0 {
			_, err := p.submitAll(t.Context(), requests)
			require.NoError(t, err)
			submitted += len(requests)
		}
		last = time.Now()
	})
	t.Logf("%d tasks in %.1f s, the slowest page in %s", len(got), time.Since(begin).Seconds(), slowest)
	require.Equal(t, listMeanwhile, submitted)
	requireIDs(t, idsOf(tasks, nil), idsOf(got, nil))

	brokertest.Eventually(t, 30*time.Second, func() error {
		r, err := p.tasks.ListTasks(t.Context(), &taskv1.ListTasksRequest{Filter: `labels.customer = meanwhile`, PageSize: listPage})
		if n := len(r.GetTasks()); err != nil || n < listPage || r.Tasks[0].TaskId <= tasks[0].TaskId {
			return fmt.Errorf("%d tasks that came in meanwhile, error %w", n, err)
		}
		return nil
	})
}

// listAll reads all pages of a filter, and calls between after each.
func (p *platform) listAll(t testing.TB, filter string, between func()) (tasks []*taskv1.Task) {
	t.Helper()
	r := &taskv1.ListTasksRequest{Filter: filter, PageSize: listPage}
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		page, err := p.tasks.ListTasks(ctx, r)
		cancel()
		require.NoError(t, err)
		tasks = append(tasks, page.Tasks...)
		require.LessOrEqual(t, len(page.Tasks), listPage)
		if between(); page.NextPageToken == "" {
			return tasks
		}
		require.NotEqual(t, r.PageToken, page.NextPageToken, "a page that does not move on")
		r.PageToken = page.NextPageToken
	}
}

// idsOf are the ids of those tasks that are wanted, all for nil.
func idsOf(tasks []*taskv1.Task, wanted func(*taskv1.Task) bool) (ids []string) {
	for _, task := range tasks {
		if wanted == nil || wanted(task) {
			ids = append(ids, task.TaskId)
		}
	}
	return ids
}

// requireIDs demands the same ids in the same order, and shows the first others.
func requireIDs(t testing.TB, want, got []string) {
	t.Helper()
	for i := range min(len(want), len(got)) {
		require.Equal(t, want[i], got[i], "number %d of %d, which should be %d", i, len(got), len(want))
	}
	require.Len(t, got, len(want))
}

// filterList asks for parts of the tasks, given newest first.
func (p *platform) filterList(t *testing.T, tasks []*taskv1.Task) {
	created := func(i int) time.Time { return tasks[i].CreateTime.AsTime() }
	from, until := created(40_000), created(37_000)
	text := func(at time.Time) string { return `"` + at.Format(time.RFC3339Nano) + `"` }
	customer := func(task *taskv1.Task, want string) bool { return task.Labels["customer"] == want }
	queued := func(task *taskv1.Task) bool { return task.State == taskv1.TaskState_TASK_STATE_QUEUED }
	dead := func(task *taskv1.Task) bool { return task.State == taskv1.TaskState_TASK_STATE_DEAD_LETTERED }
	chosen := tasks[60_123]
	for filter, wanted := range map[string]func(*taskv1.Task) bool{
		`type = ` + typeFail: func(task *taskv1.Task) bool { return task.Type == typeFail },
		`queue = "warren.work.` + typeFail + `" AND state = QUEUED`: func(task *taskv1.Task) bool { return task.Type == typeFail && queued(task) },
		`state = SUCCEEDED`:                                       func(task *taskv1.Task) bool { return task.State == taskv1.TaskState_TASK_STATE_SUCCEEDED },
		`state = DEAD_LETTERED`:                                   dead,
		`cause = PERMANENT_FAILURE AND code = NOT_FOUND`:          dead,
		`attempt.code = NOT_FOUND`:                                dead,
		`state = RUNNING`:                                         func(*taskv1.Task) bool { return false },
		`-state = QUEUED`:                                         func(task *taskv1.Task) bool { return !queued(task) },
		`labels.customer = c3`:                                    func(task *taskv1.Task) bool { return customer(task, "c3") },
		`labels.customer = c3 AND labels.batch = "8"`:             func(task *taskv1.Task) bool { return customer(task, "c3") && task.Labels["batch"] == "8" },
		`labels.batch = "8" OR labels.customer = ended`:           func(task *taskv1.Task) bool { return task.Labels["batch"] == "8" || customer(task, "ended") },
		`trace_id = "` + listTrace + `"`:                          func(task *taskv1.Task) bool { return task.TraceId == listTrace },
		`trace_id = "` + listTrace + `" AND labels.customer = c5`: func(task *taskv1.Task) bool { return task.TraceId == listTrace && customer(task, "c5") },
		`task_id = "` + strings.ToUpper(chosen.TaskId) + `"`:      func(task *taskv1.Task) bool { return task == chosen },
		`create_time >= ` + text(from) + ` AND create_time < ` + text(until): func(task *taskv1.Task) bool {
			at := task.CreateTime.AsTime()
			return !at.Before(from) && at.Before(until)
		},
	} {
		want := idsOf(tasks, wanted)
		begin := time.Now()
		got := p.listAll(t, filter, func() {})
		t.Logf("%6d tasks in %5d ms: %s", len(got), time.Since(begin).Milliseconds(), filter)
		require.True(t, len(want) > 0 || filter == `state = RUNNING`, "%s says nothing", filter)
		requireIDs(t, want, idsOf(got, nil))
	}
	require.Len(t, idsOf(tasks, func(task *taskv1.Task) bool { return task.TraceId == listTrace }), listBatch)
}

// refuseLists asks for what is no list.
func (p *platform) refuseLists(t *testing.T) {
	list := func(r *taskv1.ListTasksRequest) (*taskv1.ListTasksResponse, error) {
		return p.tasks.ListTasks(t.Context(), r)
	}
	first, err := list(&taskv1.ListTasksRequest{Filter: `state = QUEUED`, PageSize: 10})
	require.NoError(t, err)
	require.Len(t, first.Tasks, 10)
	token := first.NextPageToken
	for name, bad := range map[string]struct {
		request       *taskv1.ListTasksRequest
		reason, field string
	}{
		"unknown field":        {&taskv1.ListTasksRequest{Filter: `colour = "red"`}, "FILTER_INVALID", "filter"},
		"unknown state":        {&taskv1.ListTasksRequest{Filter: `state = BROKEN`}, "FILTER_INVALID", "filter"},
		"no filter at all":     {&taskv1.ListTasksRequest{Filter: `((`}, "FILTER_INVALID", "filter"},
		"time of no kind":      {&taskv1.ListTasksRequest{Filter: `create_time > "yesterday"`}, "FILTER_INVALID", "filter"},
		"token of nothing":     {&taskv1.ListTasksRequest{PageToken: "nonsense"}, "PAGE_TOKEN_INVALID", "page_token"},
		"token of a filter":    {&taskv1.ListTasksRequest{Filter: `state = RUNNING`, PageToken: token}, "PAGE_TOKEN_INVALID", "page_token"},
		"token of no filter":   {&taskv1.ListTasksRequest{PageToken: token}, "PAGE_TOKEN_INVALID", "page_token"},
		"token of a view":      {&taskv1.ListTasksRequest{Filter: `state = QUEUED`, PageToken: token, View: taskv1.TaskView_TASK_VIEW_FULL}, "PAGE_TOKEN_INVALID", "page_token"},
		"token to resume with": {&taskv1.ListTasksRequest{PageToken: first.Tasks[0].ResumeToken}, "PAGE_TOKEN_INVALID", "page_token"},
		"negative size":        {&taskv1.ListTasksRequest{PageSize: -1}, "INVALID_REQUEST", "page_size"},
	} {
		_, err := list(bad.request)
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%s: %v", name, err)
		requireReason(t, err, bad.reason)
		require.Equal(t, bad.field, badField(t, err), name)
	}
	next, err := list(&taskv1.ListTasksRequest{Filter: `state = QUEUED`, PageSize: 3, PageToken: token})
	require.NoError(t, err, "another page size goes on")
	require.Len(t, next.Tasks, 3)
	require.Less(t, next.Tasks[0].TaskId, first.Tasks[9].TaskId)
}
