package api

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

// watching is one call of WatchTasks.
type watching struct {
	grpc.ServerStreamingServer[taskv1.WatchTasksResponse]
	context  func() context.Context
	messages chan *taskv1.WatchTasksResponse
	ended    chan error
}

func (w *watching) Context() context.Context { return w.context() }

func (w *watching) Send(m *taskv1.WatchTasksResponse) error {
	select {
	case w.messages <- m:
		return nil
	case <-w.Context().Done():
		return w.Context().Err()
	}
}

// watchedBy is a task service of a store, in the bubble where it is called.
func watchedBy(s store.Store) *TaskService {
	cfg := Config{Store: s, Hub: watch.NewHub()}
	return &TaskService{stopping: make(chan struct{}), cfg: cfg, metrics: newMetrics(&cfg)}
}

// watchTasks calls WatchTasks; the call ends with the test.
func watchTasks(t testing.TB, s *TaskService, r *taskv1.WatchTasksRequest) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watching{context: func() context.Context { return ctx }, messages: make(chan *taskv1.WatchTasksResponse), ended: make(chan error, 1)}
	go func() {
		defer close(w.ended)
		w.ended <- s.WatchTasks(r, w)
	}()
	t.Cleanup(func() {
		cancel()
		for range w.ended {
		}
	})
	return w
}

// next is the next message.
func (w *watching) next(t testing.TB) *taskv1.WatchTasksResponse {
	t.Helper()
	select {
	case m := <-w.messages:
		require.NotEmpty(t, m.ResumeToken)
		require.LessOrEqual(t, len(m.ResumeToken), 256, "as the request's rules say")
		return m
	case err := <-w.ended:
		t.Fatalf("the watch has ended: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
	}
	return nil
}

// nextEvents are the next messages that have events, as texts.
func (w *watching) nextEvents(t testing.TB, n int) (names []string, last string) {
	t.Helper()
	for len(names) < n {
		if m := w.next(t); m.Event != nil {
			names, last = append(names, fmt.Sprint(m.Task.TaskId, " ", m.Event.Number)), m.ResumeToken
		}
	}
	return names, last
}

func (w *watching) requireEnd(t testing.TB, code codes.Code, reason taskv1.ErrorReason) {
	t.Helper()
	select {
	case m := <-w.messages:
		t.Fatalf("a message came: %v", m)
	case err := <-w.ended:
		requireReason(t, err, code, reason)
	case <-time.After(20 * time.Second):
		t.Fatal("the watch did not end")
	}
}

// project applies events and wakes watchers, as the projection does.
func project(t testing.TB, s *TaskService, events ...task.Event) {
	t.Helper()
	changes, err := s.cfg.Store.Apply(t.Context(), events)
	require.NoError(t, err)
	for _, c := range changes {
		s.cfg.Hub.Wake(c.TaskID)
	}
}

func TestWatchTasksShowsEachEvent(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	apply(t, s, labelled(task.NewID(), 0))
	w := watchTasks(t, service, &taskv1.WatchTasksRequest{})
	begun := w.next(t)
	require.Nil(t, begun.Task, "from now on")
	require.Nil(t, begun.Event)

	id := task.NewID()
	queued, end := labelled(id, 1), event(id, 1, 1, task.PhaseSucceeded)
	queued.Payload.Bytes, end.Message = []byte("payload"), []byte("result")
	project(t, service, queued)
	first := w.next(t)
	require.Equal(t, taskv1.EventKind_EVENT_KIND_QUEUED, first.Event.Kind)
	require.Equal(t, "warren.work."+typeDelay, first.Task.Queue)
	require.Nil(t, first.Task.Payload, "BASIC")
	project(t, service, event(id, 1, 1, task.PhaseStarted), end)
	got, last := w.nextEvents(t, 2)
	require.Equal(t, []string{id + " 2", id + " 3"}, got)

	// Resumed, it begins with its token, and goes on after it.
	again := watchTasks(t, service, &taskv1.WatchTasksRequest{ResumeToken: first.ResumeToken, View: full})
	require.Equal(t, first.ResumeToken, again.next(t).ResumeToken)
	started, ended := again.next(t), again.next(t)
	require.EqualValues(t, 2, started.Event.Number)
	require.Equal(t, taskv1.TaskState_TASK_STATE_RUNNING, started.Event.State)
	require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, started.Task.State, "as of now")
	require.Equal(t, "result", string(ended.Event.Result.Value))
	for _, m := range []*taskv1.WatchTasksResponse{started, ended} {
		require.Nil(t, m.Task.Payload, "the task is in BASIC view beside each event")
		require.Nil(t, m.Task.Result)
	}
	require.Equal(t, last, ended.ResumeToken)
}

// However large bodies are, every message can be received with gRPC's defaults.
func TestWatchTasksLeavesOutWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	apply(t, s, labelled(task.NewID(), 0))
	begun := watchTasks(t, service, &taskv1.WatchTasksRequest{}).next(t)
	events := func(size int) []task.Event {
		id := task.NewID()
		queued, message, end := labelled(id, 1), event(id, 1, 1, task.PhaseMessage), event(id, 1, 1, task.PhaseSucceeded)
		queued.Payload.Bytes, message.Message, end.Message = make([]byte, 4<<20), make([]byte, size), make([]byte, size)
		message.Key.Sequence = 1
		end.Headers = task.Metadata{"k": {strings.Repeat("v", task.MaxMetadata)}}
		return []task.Event{queued, message, end}
	}
	for _, size := range []int{maxEventBody, maxEventBody + 1} {
		apply(t, s, events(size)...)
	}
	w := watchTasks(t, service, &taskv1.WatchTasksRequest{ResumeToken: begun.ResumeToken, View: full})
	var got []*taskv1.WatchTasksResponse
	for len(got) < 6 {
		if m := w.next(t); m.Event != nil {
			require.LessOrEqual(t, proto.Size(m), maxListBytes)
			got = append(got, m)
		}
	}
	require.Equal(t, maxEventBody, len(got[1].Event.Message.Value))
	require.Equal(t, maxEventBody, len(got[2].Event.Result.Value))
	require.Equal(t, taskv1.EventKind_EVENT_KIND_MESSAGE, got[4].Event.Kind)
	require.False(t, got[4].Event.Message != nil, "it is left out")
	require.Equal(t, taskv1.EventKind_EVENT_KIND_SUCCEEDED, got[5].Event.Kind)
	require.False(t, got[5].Event.Result != nil, "it is left out")
	require.NotEmpty(t, got[5].Event.ResponseHeaders, "all else is there")
}

func TestWatchTasksFiltersAndCatchesUp(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	begun := watchTasks(t, service, &taskv1.WatchTasksRequest{}).next(t)
	var events []task.Event
	var want, all []string
	for n := range 1000 {
		id := task.NewID()
		events = append(events, labelled(id, n%3))
		if all = append(all, id+" 1"); n%3 == 1 {
			want = append(want, id+" 1")
		}
	}
	apply(t, s, events...)
	w := watchTasks(t, service, &taskv1.WatchTasksRequest{ResumeToken: begun.ResumeToken, Filter: `labels.n = "1" AND state = QUEUED`})
	got, middle := w.nextEvents(t, 150)
	rest, _ := w.nextEvents(t, len(want)-150)
	require.Equal(t, want, append(got, rest...))
	// A token is good for any filter.
	got, _ = watchTasks(t, service, &taskv1.WatchTasksRequest{ResumeToken: middle}).nextEvents(t, 500)
	for i, name := range all {
		if name == want[149] {
			require.Equal(t, all[i+1:i+501], got)
		}
	}
}

func TestWatchTasksRefusesWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	other, _ := newService(t, &fakes{})
	apply(t, s, labelled(task.NewID(), 0))
	token := watchTasks(t, service, &taskv1.WatchTasksRequest{}).next(t).ResumeToken
	p, err := parseFeedToken(token)
	require.NoError(t, err)
	p.Row++
	const invalid = taskv1.ErrorReason_ERROR_REASON_RESUME_TOKEN_INVALID
	for name, bad := range map[string]string{
		"garbage": "?", "more": token + "AAAA", "a task's": resumeToken(task.NewID(), 1), "in the future": feedToken(p),
	} {
		t.Run(name, func(t *testing.T) {
			watchTasks(t, service, &taskv1.WatchTasksRequest{ResumeToken: bad}).requireEnd(t, codes.InvalidArgument, invalid)
		})
	}
	watchTasks(t, other, &taskv1.WatchTasksRequest{ResumeToken: token}).requireEnd(t, codes.InvalidArgument, invalid)
	watchTasks(t, service, &taskv1.WatchTasksRequest{Filter: `colour = "red"`}).
		requireEnd(t, codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_FILTER_INVALID)
}

func TestWatchTasksSaysThatATokenIsTooOld(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	old := watchTasks(t, service, &taskv1.WatchTasksRequest{}).next(t).ResumeToken
	for range 3 {
		apply(t, s, labelled(task.NewID(), 0))
	}
	n, err := s.TrimFeed(t.Context(), time.Now().Add(time.Hour), 1)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	watchTasks(t, service, &taskv1.WatchTasksRequest{ResumeToken: old}).
		requireEnd(t, codes.OutOfRange, taskv1.ErrorReason_ERROR_REASON_RESUME_TOKEN_EXPIRED)
}

func TestStopEndsWatchesOfTasks(t *testing.T) {
	t.Parallel()
	service, _ := newService(t, &fakes{})
	w := watchTasks(t, service, &taskv1.WatchTasksRequest{})
	w.next(t)
	service.Stop()
	w.requireEnd(t, codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN)
}

// scriptedFeed has events of which none matches.
type scriptedFeed struct {
	store.Store
	looks int
	more  bool
	err   error
}

func (f *scriptedFeed) FeedEnd(context.Context) (store.FeedPosition, error) {
	return store.FeedPosition{Row: 1}, f.err
}

func (f *scriptedFeed) Feed(_ context.Context, q store.FeedQuery) (store.FeedPage, error) {
	f.looks++
	q.From.Row++
	return store.FeedPage{Next: q.From, More: f.more}, f.err
}

// While nothing matches, tokens show how far the watch has come.
func TestWatchTasksSendsHeartbeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &scriptedFeed{}
		service := watchedBy(f)
		w := watchTasks(t, service, &taskv1.WatchTasksRequest{})
		w.next(t)
		begin, row := time.Now(), int64(1)
		for beat := 1; beat <= 3; beat++ {
			m := w.next(t)
			require.Nil(t, m.Event)
			require.InDelta(t, time.Duration(beat)*heartbeat, time.Since(begin), float64(time.Second))
			p, err := parseFeedToken(m.ResumeToken)
			require.NoError(t, err)
			require.Greater(t, p.Row, row)
			row = p.Row
		}
		require.LessOrEqual(t, f.looks, 10, "once in %s when not woken", recheck)

		// Many wake-ups are few looks.
		f.looks = 0
		for range 1000 {
			service.cfg.Hub.Wake("x")
			<-time.After(100 * time.Microsecond)
		}
		synctest.Wait()
		require.LessOrEqual(t, f.looks, 25)
		require.Greater(t, f.looks, 10)
		service.Stop()
		requireReason(t, <-w.ended, codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN)
	})
}

// One that has much to look at ends too.
func TestStopEndsABusyWatchOfTasks(t *testing.T) {
	t.Parallel()
	f := &scriptedFeed{more: true}
	service := watchedBy(f)
	w := watchTasks(t, service, &taskv1.WatchTasksRequest{})
	w.next(t)
	service.Stop()
	w.requireEnd(t, codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN)
}

func TestWatchTasksWithoutAStore(t *testing.T) {
	t.Parallel()
	f := &scriptedFeed{err: fmt.Errorf("%w: locked", store.ErrUnavailable)}
	service := watchedBy(f)
	for _, token := range []string{"", feedToken(store.FeedPosition{Row: 1})} {
		watchTasks(t, service, &taskv1.WatchTasksRequest{ResumeToken: token}).
			requireEnd(t, codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE)
	}
}

func FuzzFeedToken(f *testing.F) {
	f.Add(feedToken(store.FeedPosition{}))
	f.Add(feedToken(store.FeedPosition{Store: [8]byte{1, 2}, Row: math.MaxInt64, Index: math.MaxInt32}))
	f.Add("?")
	f.Fuzz(func(t *testing.T, token string) {
		p, err := parseFeedToken(token)
		if err != nil {
			require.Equal(t, codes.InvalidArgument, status.Code(err))
			return
		}
		require.GreaterOrEqual(t, p.Row, int64(0))
		require.GreaterOrEqual(t, p.Index, 0)
		again, err := parseFeedToken(feedToken(p))
		require.NoError(t, err)
		require.Equal(t, p, again)
	})
}
