package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
)

// Size of the load that is watched.
const (
	watchTasks      = 600
	watchSubmitters = 6
	watchSpan       = 8 * time.Second
	watchKills      = 2
)

// TestWatchTasksSeesEveryEventOnce: streams with filters, cut off at random and
// resumed by token, show every event that matches once, those of each task in the
// order of their numbers, while the gateway is killed.
func TestWatchTasksSeesEveryEventOnce(t *testing.T) {
	t.Parallel()
	p, b := onVHost(t)
	p.startWorker(t, "--concurrency", "16")
	for _, taskType := range []string{typeDelay, typeFail, typeStream} {
		p.awaitReady(t, taskType)
	}
	everything := &feedObserver{wanted: func(*taskv1.Task, *taskv1.TaskEvent) bool { return true }}
	observers := []*feedObserver{
		everything,
		{filter: `labels.customer = c1`, wanted: func(task *taskv1.Task, _ *taskv1.TaskEvent) bool { return task.Labels["customer"] == "c1" }},
		{filter: `labels.customer = c1 AND state = DEAD_LETTERED`, wanted: func(task *taskv1.Task, e *taskv1.TaskEvent) bool {
			return task.Labels["customer"] == "c1" && e.State == taskv1.TaskState_TASK_STATE_DEAD_LETTERED
		}},
		{filter: `type = ` + typeFail + ` AND state = RETRYING`, wanted: func(task *taskv1.Task, e *taskv1.TaskEvent) bool {
			return task.Type == typeFail && e.State == taskv1.TaskState_TASK_STATE_RETRYING
		}},
	}
	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	for i, o := range observers {
		o.rand = rand.New(rand.NewPCG(uint64(*baseSeed), uint64(i)))
		o.seen = map[string][]*taskv1.TaskEvent{}
		watching.Go(func() { o.run(ctx, p.tasks) })
		brokertest.Eventually(t, 10*time.Second, o.begun)
	}

	load := p.startWatchLoad(t)
	p.killGatewayUnder(t, watchKills, watchSpan)
	accepted := load.wait(t)
	p.awaitHealth(t, "warren.store", true, 20*time.Second)
	known := p.endAll(t, b)
	// What comes last, and matches every filter: all that is due was seen once it was.
	last := p.ask(t, typeFail, fail(codes.Unavailable, "last"), func(r *taskv1.SubmitTaskRequest) {
		labelled("c1")(r)
		r.Retry = quickly(2)
	})
	accepted[last.TaskId], known[last.TaskId] = last, p.await(t, last.TaskId)
	events := p.eventsOf(t, last)
	for _, o := range observers {
		brokertest.Eventually(t, 20*time.Second, func() error { return o.reached(last, events) })
	}
	stop()
	watching.Wait()

	p.compareWithWatchTask(t, everything, accepted, known)
	for _, o := range observers {
		require.Empty(t, o.problems, "the watch of %q", o.filter)
		require.Positive(t, o.cuts, "the watch of %q was never cut off", o.filter)
		require.Positive(t, o.lost, "the watch of %q never lost its gateway", o.filter)
		want, n := o.selection(everything, known)
		require.Positive(t, n)
		require.Len(t, o.seen, len(want), "tasks that the watch of %q saw", o.filter)
		for id, events := range want {
			requireEvents(t, events, o.seen[id], fmt.Sprintf("the watch of %q: task %s", o.filter, id))
		}
		t.Logf("%4d events of %3d tasks, %2d times cut off, %d times without a gateway: %q", n, len(want), o.cuts, o.lost, o.filter)
	}
	t.Logf("%d tasks accepted, %d known", len(accepted), len(known))
	p.refuseWatches(t, last)
}

// killGatewayUnder kills the gateway so often within the time, at random moments,
// and starts it again.
func (p *platform) killGatewayUnder(t *testing.T, times int, within time.Duration) {
	r := rand.New(rand.NewPCG(uint64(*baseSeed), 100))
	part := within / time.Duration(times+1)
	for range times {
		require.NoError(t, wait(t.Context(), part/2+time.Duration(r.Int64N(int64(part)))))
		p.gateway.kill()
		require.NoError(t, wait(t.Context(), time.Duration(r.Int64N(int64(500*time.Millisecond)))))
		p.startGateway(t)
	}
}

// watchLoad is tasks of every kind that are submitted meanwhile.
type watchLoad struct {
	p  *platform
	wg sync.WaitGroup

	mu       sync.Mutex
	accepted map[string]*taskv1.Task
}

func (p *platform) startWatchLoad(t *testing.T) *watchLoad {
	l := &watchLoad{p: p, accepted: map[string]*taskv1.Task{}}
	requests := make(chan *taskv1.SubmitTaskRequest)
	for range watchSubmitters {
		l.wg.Go(func() {
			for r := range requests {
				l.submit(t.Context(), r)
			}
		})
	}
	l.wg.Go(func() {
		defer close(requests)
		begin := time.Now()
		for i := range watchTasks {
			if wait(t.Context(), time.Until(begin.Add(watchSpan*time.Duration(i)/watchTasks))) != nil {
				return
			}
			requests <- watchedTask(t, i)
		}
	})
	return l
}

// watchedTask is one of five kinds, of one of three customers.
func watchedTask(t testing.TB, i int) *taskv1.SubmitTaskRequest {
	r := &taskv1.SubmitTaskRequest{}
	labelled(fmt.Sprint("c", i%3))(r)
	switch i % 5 {
	case 0:
		r.Type, r.Payload = typeDelay, payload(t, delay(20*time.Millisecond))
	case 1:
		r.Type, r.Payload = typeFail, payload(t, &demov1.FailRequest{Code: int32(codes.Unavailable), Message: "once", Reason: reasonOnce})
		r.Retry = quickly(3)
	case 2:
		r.Type, r.Payload = typeFail, payload(t, fail(codes.NotFound, "never"))
	case 3:
		r.Type, r.Payload = typeStream, payload(t, &demov1.ContactSheetRequest{Columns: 5, CellSize: 5})
	case 4:
		r.Type, r.Payload = typeFail, payload(t, fail(codes.Unavailable, "twice"))
		r.Retry = quickly(2)
	}
	return r
}

// submit submits until it is accepted. Of a call that fails the task may be
// carried out all the same, besides the one that is accepted in the end.
func (l *watchLoad) submit(ctx context.Context, r *taskv1.SubmitTaskRequest) {
	for ctx.Err() == nil {
		call, cancel := context.WithTimeout(ctx, 5*time.Second)
		answer, err := l.p.tasks.SubmitTask(call, r)
		cancel()
		if err == nil {
			l.mu.Lock()
			l.accepted[answer.Task.TaskId] = answer.Task
			l.mu.Unlock()
			return
		}
		_ = wait(ctx, 20*time.Millisecond)
	}
}

// wait waits until everything is accepted.
func (l *watchLoad) wait(t testing.TB) map[string]*taskv1.Task {
	l.wg.Wait()
	require.Len(t, l.accepted, watchTasks)
	return l.accepted
}

// endAll waits until all tasks that there are have ended, and gives them by their
// ids.
func (p *platform) endAll(t testing.TB, b brokertest.Broker) map[string]*taskv1.Task {
	var listed []*taskv1.Task
	brokertest.Eventually(t, 30*time.Second, func() error {
		for _, taskType := range []string{typeDelay, typeFail, typeStream} {
			if n := b.Queue(t, "warren.work."+taskType).Messages; n > 0 {
				return fmt.Errorf("%d tasks of %s have not ended", n, taskType)
			}
		}
		if listed = p.listAll(t, "", func() {}); len(listed) != p.recorder.tasks() {
			return fmt.Errorf("%d tasks are listed, %d were started", len(listed), p.recorder.tasks())
		}
		return nil
	})
	tasks := map[string]*taskv1.Task{}
	for _, task := range listed {
		tasks[task.TaskId] = p.await(t, task.TaskId)
	}
	return tasks
}

// compareWithWatchTask compares what a watch of everything saw with the watch of
// each task. What was carried out without having been accepted has no token to
// watch it from its beginning with: of these the numbers are compared.
func (p *platform) compareWithWatchTask(t *testing.T, everything *feedObserver, accepted, known map[string]*taskv1.Task) {
	for id := range accepted {
		require.Contains(t, known, id, "accepted, and not listed")
	}
	for id := range everything.seen {
		require.Contains(t, known, id, "seen, and not listed")
	}
	for id, task := range known {
		seen := everything.seen[id]
		require.Len(t, seen, int(task.Version), "events of %v", task)
		for i, e := range seen {
			require.EqualValues(t, i+1, e.Number, "%v", seen)
		}
		if accepted[id] != nil {
			requireEvents(t, p.eventsOf(t, accepted[id]), seen, "task "+id)
		}
	}
}

// eventsOf are all events of a task that has ended.
func (p *platform) eventsOf(t testing.TB, accepted *taskv1.Task) (events []*taskv1.TaskEvent) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stream, err := p.tasks.WatchTask(ctx, &taskv1.WatchTaskRequest{TaskId: accepted.TaskId, ResumeToken: accepted.ResumeToken})
	require.NoError(t, err)
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return events
		}
		require.NoError(t, err)
		if e := m.GetEvent(); e != nil {
			events = append(events, e)
		}
	}
}

func requireEvents(t testing.TB, want, got []*taskv1.TaskEvent, what string) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for i := range want {
		require.True(t, proto.Equal(want[i], got[i]), "%s: want %v\ngot %v", what, want[i], got[i])
	}
}

// refuseWatches asks for what is no watch.
func (p *platform) refuseWatches(t testing.TB, task *taskv1.Task) {
	page, err := p.tasks.ListTasks(t.Context(), &taskv1.ListTasksRequest{PageSize: 1})
	require.NoError(t, err)
	for name, bad := range map[string]struct {
		request       *taskv1.WatchTasksRequest
		reason, field string
	}{
		"token of nothing": {&taskv1.WatchTasksRequest{ResumeToken: "nonsense"}, "RESUME_TOKEN_INVALID", "resume_token"},
		"token of a task":  {&taskv1.WatchTasksRequest{ResumeToken: task.ResumeToken}, "RESUME_TOKEN_INVALID", "resume_token"},
		"token of a page":  {&taskv1.WatchTasksRequest{ResumeToken: page.NextPageToken}, "RESUME_TOKEN_INVALID", "resume_token"},
		"unknown field":    {&taskv1.WatchTasksRequest{Filter: `colour = red`}, "FILTER_INVALID", "filter"},
		"unknown state":    {&taskv1.WatchTasksRequest{Filter: `state = BROKEN`}, "FILTER_INVALID", "filter"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		stream, err := p.tasks.WatchTasks(ctx, bad.request)
		require.NoError(t, err)
		_, err = stream.Recv()
		cancel()
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%s: %v", name, err)
		requireReason(t, err, bad.reason)
		require.Equal(t, bad.field, badField(t, err), name)
	}
}

// feedObserver is the memory of a watch of many tasks.
type feedObserver struct {
	filter string
	// wanted says whether an event of a task matches the filter.
	wanted func(*taskv1.Task, *taskv1.TaskEvent) bool
	rand   *rand.Rand

	mu sync.Mutex
	// token resumes the watch.
	token string
	// seen are the events by their task's id.
	seen       map[string][]*taskv1.TaskEvent
	problems   []string
	cuts, lost int
}

// run watches until the context ends, and is cut off at random.
func (o *feedObserver) run(ctx context.Context, tasks taskv1.TaskServiceClient) {
	for ctx.Err() == nil {
		cut, cancel := context.WithCancel(ctx)
		timer := time.AfterFunc(time.Duration(o.rand.Int64N(int64(700*time.Millisecond))), cancel)
		err := o.follow(cut, tasks)
		timer.Stop()
		cancel()
		o.mu.Lock()
		switch status.Code(err) {
		case codes.Canceled:
			o.cuts++
		case codes.Unavailable:
			o.lost++
		default:
			o.problems = append(o.problems, fmt.Sprintf("the stream ended: %v", err))
		}
		o.mu.Unlock()
		_ = wait(ctx, time.Duration(o.rand.Int64N(int64(20*time.Millisecond))))
	}
}

// follow goes on with the watch until it is cut off.
func (o *feedObserver) follow(ctx context.Context, tasks taskv1.TaskServiceClient) error {
	stream, err := tasks.WatchTasks(ctx, &taskv1.WatchTasksRequest{Filter: o.filter, ResumeToken: o.token})
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		o.take(m, first)
	}
}

// take remembers a message, and what is wrong with it.
func (o *feedObserver) take(m *taskv1.WatchTasksResponse, first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	task, e := m.GetTask(), m.GetEvent()
	switch seen := o.seen[task.GetTaskId()]; {
	case m.GetResumeToken() == "":
		o.problems = append(o.problems, fmt.Sprintf("no resume token: %v", m))
	case first && (task != nil || e != nil):
		o.problems = append(o.problems, fmt.Sprintf("the first message is more than a token: %v", m))
	case task == nil && e == nil:
	case task == nil || e == nil || task.Version < e.Number || !o.wanted(task, e):
		o.problems = append(o.problems, fmt.Sprintf("does not match: %v", m))
	case len(seen) > 0 && seen[len(seen)-1].Number >= e.Number:
		o.problems = append(o.problems, fmt.Sprintf("%s: number %d came after %d", task.TaskId, e.Number, seen[len(seen)-1].Number))
	default:
		o.seen[task.TaskId] = append(seen, e)
	}
	o.token = m.GetResumeToken()
}

// begun says whether the watch has a place to go on from.
func (o *feedObserver) begun() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.token != ""
}

// reached says whether those of a task's events that match were seen.
func (o *feedObserver) reached(task *taskv1.Task, events []*taskv1.TaskEvent) error {
	due := 0
	for _, e := range events {
		if o.wanted(task, e) {
			due++
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if seen := o.seen[task.TaskId]; len(seen) < due {
		return fmt.Errorf("the watch of %q has seen %d of %d events, and problems %v", o.filter, len(seen), due, o.problems)
	}
	return nil
}

// selection is what the watch has to see, and of how many events that is.
func (o *feedObserver) selection(everything *feedObserver, known map[string]*taskv1.Task) (want map[string][]*taskv1.TaskEvent, n int) {
	want = map[string][]*taskv1.TaskEvent{}
	for id, events := range everything.seen {
		for _, e := range events {
			if o.wanted(known[id], e) {
				want[id] = append(want[id], e)
				n++
			}
		}
	}
	return want, n
}
