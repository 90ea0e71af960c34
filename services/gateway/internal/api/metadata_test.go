package api

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// usual is what any gRPC client's call brings.
var usual = metadata.MD{
	":authority": {"localhost:7070"}, "content-type": {"application/grpc"}, "user-agent": {"grpc-go/1.85.0"},
	"traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "grpc-accept-encoding": {"gzip"},
}

func called(t testing.TB, md metadata.MD) context.Context {
	t.Helper()
	return metadata.NewIncomingContext(t.Context(), metadata.Join(usual, md))
}

func TestCallerMetadata(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		brought metadata.MD
		want    map[string][][]byte
	}{
		"nothing":           {metadata.MD{}, nil},
		"what never leaves": {metadata.MD{"authorization": {"Bearer x"}, "warren-mode": {"async"}, "proxy-x": {"y"}, "cookie": {"z"}}, nil},
		"text":              {metadata.MD{"x-request-id": {"7"}, "authorization": {"Bearer x"}}, map[string][][]byte{"x-request-id": {[]byte("7")}}},
		"several values":    {metadata.Pairs("x", "1", "X", "", "x", "2"), map[string][][]byte{"x": {[]byte("1"), {}, []byte("2")}}},
		"raw bytes":         {metadata.MD{"x-bin": {"\x00\xff"}}, map[string][][]byte{"x-bin": {{0, 0xff}}}},
	} {
		got, err := callerMetadata(called(t, c.brought))
		require.NoError(t, err)
		require.Equal(t, c.want, got, name)
	}
	got, err := callerMetadata(t.Context())
	require.NoError(t, err)
	require.Nil(t, got, "no call at all")
}

func TestCallerMetadataIsBounded(t *testing.T) {
	t.Parallel()
	many := func(values int) metadata.MD {
		md := metadata.MD{}
		for i := range values {
			md[fmt.Sprintf("k%03d", i/2)] = append(md[fmt.Sprintf("k%03d", i/2)], "")
		}
		return md
	}
	for name, c := range map[string]struct {
		brought metadata.MD
		// size is that which is too large, 0 for none.
		size    int
		largest string
	}{
		"the limit":         {metadata.MD{"x": {strings.Repeat("v", task.MaxMetadata-1)}}, 0, ""},
		"one byte more":     {metadata.MD{"x": {strings.Repeat("v", task.MaxMetadata)}}, task.MaxMetadata + 1, "x"},
		"its key counts":    {metadata.MD{"key": {strings.Repeat("v", task.MaxMetadata-2)}}, task.MaxMetadata + 1, "key"},
		"the largest":       {metadata.MD{"a": {"1"}, "b": {strings.Repeat("v", 9000), "1"}, "c": {strings.Repeat("v", 8999), "1"}}, 18007, "b"},
		"the first of many": {metadata.MD{"b": {strings.Repeat("v", 9000)}, "a": {strings.Repeat("v", 9000)}}, 18002, "a"},
		"what stays is not": {metadata.MD{"cookie": {strings.Repeat("v", 1<<20)}}, 0, ""},
		"as many values":    {many(maxMetadataValues), 0, ""},
		"a value more":      {many(maxMetadataValues + 1), 4 * (maxMetadataValues + 1), "k000"},
	} {
		_, err := callerMetadata(called(t, c.brought))
		if c.size == 0 {
			require.NoError(t, err, name)
			continue
		}
		requireReason(t, err, codes.InvalidArgument, invalidReason)
		require.Equal(t, []string{"metadata"}, fieldsOf(err))
		message := status.Convert(err).Message()
		for _, part := range []string{fmt.Sprintf("has %d bytes", c.size), "the limit is 16384 bytes", fmt.Sprintf("largest key is %q", c.largest)} {
			require.Contains(t, message, part, name)
		}
	}
}

// A call that brings nothing costs no more than gRPC's own copy of its metadata.
func TestMetadataThatIsNoneCostsNothing(t *testing.T) {
	ctx := called(t, nil)
	read := testing.AllocsPerRun(100, func() { _, _ = metadata.FromIncomingContext(ctx) })
	require.Equal(t, read, testing.AllocsPerRun(100, func() {
		if got, err := callerMetadata(ctx); got != nil || err != nil {
			t.Fatal("there is something")
		}
	}))
}

// All that a submission can bring besides its payload fits into the message's
// header.
func TestTheLargestSubmissionCanBePublished(t *testing.T) {
	t.Parallel()
	service, _, b := newBrokerService(t)
	r := request(t)
	r.Labels = map[string]string{}
	for i := range 32 {
		r.Labels[fmt.Sprintf("%063d", i)] = strings.Repeat("x", 256)
	}
	var delays []*durationpb.Duration
	for range 1000 {
		delays = append(delays, durationpb.New(24*time.Hour-1))
	}
	r.Timeout = durationpb.New(10*time.Minute - 1)
	r.Retry = &taskv1.RetryPolicy{
		MaxAttempts: 3, Budget: durationpb.New(24*time.Hour - 1),
		Backoff: &taskv1.Backoff{Kind: &taskv1.Backoff_List{List: &taskv1.DelayList{Delays: delays}}},
	}
	// Small keys with a value each are what takes the most besides its bytes.
	brought := metadata.MD{}
	const keySize = task.MaxMetadata / maxMetadataValues
	for i := range maxMetadataValues {
		brought[fmt.Sprintf("%0*d", keySize, i)] = []string{""}
	}
	brought[fmt.Sprintf("%0*d", keySize, 0)] = []string{strings.Repeat("v", task.MaxMetadata-keySize*maxMetadataValues)}
	md, err := callerMetadata(called(t, brought))
	require.NoError(t, err)
	require.Len(t, md, maxMetadataValues)

	taskType, ok := service.cfg.Catalogue.Type(typeDelay)
	require.True(t, ok)
	sub, err := service.submission(taskType, r, time.Now(), time.Time{})
	require.NoError(t, err)
	sub.message.Metadata = md
	service.cfg.Publisher.PublishTasks(t.Context(), []*broker.TaskMessage{sub.message}, func(_ int, err error) { require.NoError(t, err) })
	require.Len(t, b.Drain(t, names.Work(typeDelay)), 1)
}

// entries are the keys and values of metadata as it is shown.
func entries(shown []*taskv1.MetadataEntry) map[string]string {
	out := map[string]string{}
	for _, e := range shown {
		out[e.Key] = strings.Join(e.Values, ",")
	}
	return out
}

// answered makes the end of an attempt whose call answered with metadata.
func answered(id string, delivery int64, phase task.Phase) task.Event {
	e := event(id, int(delivery), delivery, phase)
	e.Headers = task.Metadata{"x-attempt": {fmt.Sprint(delivery)}, "x-raw-bin": {"\xff"}}
	e.Trailers = task.Metadata{"x-end": {fmt.Sprint(phase)}}
	switch phase {
	case task.PhaseRetrying:
		e.NextAttempt, e.NextAttemptTime = e.Key.Attempt+1, e.Time
	case task.PhaseSucceeded:
		e.Message = []byte{}
	}
	if phase != task.PhaseSucceeded {
		e.Failure = &task.Failure{Code: 14}
	}
	return e
}

func headersOf(delivery int64) map[string]string {
	return map[string]string{"x-attempt": fmt.Sprint(delivery), "x-raw-bin": "/w"}
}

func trailersOf(phase task.Phase) map[string]string {
	return map[string]string{"x-end": fmt.Sprint(phase)}
}

// A task shows what the call answered that ended it, in the FULL view.
func TestATaskShowsWhatItsLastCallAnswered(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	id := task.NewID()
	requireShown := func(headers, trailers map[string]string) {
		t.Helper()
		for _, view := range []taskv1.TaskView{taskv1.TaskView_TASK_VIEW_BASIC, taskv1.TaskView_TASK_VIEW_FULL} {
			got, err := service.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: id, View: view})
			require.NoError(t, err)
			require.Equal(t, names.Work(typeDelay), got.Task.Queue)
			if view == taskv1.TaskView_TASK_VIEW_BASIC {
				require.Empty(t, got.Task.ResponseHeaders)
				require.Empty(t, got.Task.ResponseTrailers)
				continue
			}
			require.Equal(t, headers, entries(got.Task.ResponseHeaders))
			require.Equal(t, trailers, entries(got.Task.ResponseTrailers))
			require.Equal(t, got.Task.State == taskv1.TaskState_TASK_STATE_SUCCEEDED, got.Task.Result != nil)
		}
	}
	none := map[string]string{}
	apply(t, s, event(id, 1, 0, task.PhaseQueued), event(id, 1, 1, task.PhaseStarted), answered(id, 1, task.PhaseRetrying))
	requireShown(none, none) // not the end
	apply(t, s, event(id, 2, 2, task.PhaseStarted), answered(id, 2, task.PhaseDeadLettered), event(id, 9, 9, task.PhaseLost))
	requireShown(headersOf(2), trailersOf(task.PhaseDeadLettered))
	apply(t, s, event(id, 3, 3, task.PhaseStarted), answered(id, 3, task.PhaseSucceeded))
	requireShown(headersOf(3), trailersOf(task.PhaseSucceeded))

	replayed := event(id, 1, 0, task.PhaseQueued)
	replayed.Key.Run = 2
	apply(t, s, replayed)
	requireShown(none, none)
}

func TestAttemptsShowWhatTheirCallsAnswered(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	id := task.NewID()
	apply(t, s, event(id, 1, 1, task.PhaseStarted), answered(id, 1, task.PhaseRetrying),
		event(id, 2, 2, task.PhaseStarted), answered(id, 2, task.PhaseSucceeded), event(id, 3, 3, task.PhaseStarted))
	got, err := service.ListTaskAttempts(t.Context(), &taskv1.ListTaskAttemptsRequest{TaskId: id})
	require.NoError(t, err)
	require.Len(t, got.Attempts, 3)
	for i, phase := range []task.Phase{task.PhaseRetrying, task.PhaseSucceeded} {
		require.Equal(t, headersOf(int64(i+1)), entries(got.Attempts[i].ResponseHeaders))
		require.Equal(t, trailersOf(phase), entries(got.Attempts[i].ResponseTrailers))
	}
	require.Empty(t, got.Attempts[2].ResponseHeaders)
}

// A page of attempts stays below what gRPC's clients take, however much their
// calls answered.
func TestPagesOfAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	id := task.NewID()
	const attempts = 200
	for i := int64(1); i <= attempts; i++ {
		e := answered(id, i, task.PhaseRetrying)
		e.Headers = task.Metadata{"x-bin": {strings.Repeat("\xff", task.MaxResponseMetadata)}}
		e.Trailers = maps.Clone(e.Headers)
		apply(t, s, event(id, int(i), i, task.PhaseStarted), e)
	}
	var deliveries []int64
	r := &taskv1.ListTaskAttemptsRequest{TaskId: id, PageSize: maxPage}
	for {
		page, err := service.ListTaskAttempts(t.Context(), r)
		require.NoError(t, err)
		require.NotEmpty(t, page.Attempts)
		require.Less(t, len(page.Attempts), attempts)
		for _, a := range page.Attempts {
			deliveries = append(deliveries, a.Delivery)
		}
		if r.PageToken = page.NextPageToken; r.PageToken == "" {
			break
		}
	}
	require.Len(t, deliveries, attempts)
	require.IsIncreasing(t, deliveries)
}

func TestAWatchShowsWhatCallsAnswered(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	id := task.NewID()
	apply(t, s, event(id, 1, 0, task.PhaseQueued), event(id, 1, 1, task.PhaseStarted), answered(id, 1, task.PhaseRetrying),
		event(id, 2, 2, task.PhaseStarted), answered(id, 2, task.PhaseSucceeded))
	for _, view := range []taskv1.TaskView{taskv1.TaskView_TASK_VIEW_BASIC, taskv1.TaskView_TASK_VIEW_FULL} {
		events := watched(t, service, s, id, view)
		require.Len(t, events, 5)
		if view == taskv1.TaskView_TASK_VIEW_BASIC {
			require.Empty(t, events[2].ResponseHeaders)
			require.Empty(t, events[4].ResponseTrailers)
			continue
		}
		require.Empty(t, events[1].ResponseHeaders)
		require.Equal(t, headersOf(1), entries(events[2].ResponseHeaders))
		require.Equal(t, trailersOf(task.PhaseRetrying), entries(events[2].ResponseTrailers))
		require.Equal(t, headersOf(2), entries(events[4].ResponseHeaders))
	}
}

// watched gives the events of a task that has ended.
func watched(t testing.TB, service *TaskService, s store.Store, id string, view taskv1.TaskView) []*taskv1.TaskEvent {
	t.Helper()
	var events []*taskv1.TaskEvent
	w := &watcher{s: service, view: view, send: func(r *taskv1.WatchTaskResponse) error {
		events = append(events, r.GetEvent())
		return nil
	}}
	known, err := s.Task(t.Context(), id)
	require.NoError(t, err)
	require.True(t, known.State.Terminal())
	require.NoError(t, w.begin(t.Context(), &taskv1.WatchTaskRequest{TaskId: id, View: view, ResumeToken: resumeToken(id, 0)}))
	ended, err := w.catchUp(t.Context())
	require.NoError(t, err)
	require.True(t, ended)
	return events
}
