package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	demov1 "github.com/warrenmq/warren/gen/demo/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/projection"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
	"github.com/warrenmq/warren/services/gateway/internal/tasktypes"
	"github.com/warrenmq/warren/services/gateway/internal/watch"
)

const typeDelay = "demo.v1.FaultService.Delay"

func reasonOf(t testing.TB, err error) taskv1.ErrorReason {
	t.Helper()
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			reason, known := taskv1.ErrorReason_value["ERROR_REASON_"+info.Reason]
			require.True(t, known, info.Reason)
			return taskv1.ErrorReason(reason)
		}
	}
	t.Fatalf("no ErrorInfo in %v", err)
	return 0
}

// fakes stand for what a task service needs of the broker and the projection.
type fakes struct {
	published []*broker.TaskMessage
	errs      []error
	notReady  error
	writeErr  error
	declared  int
	// declareErr is what declaring a queue answers.
	declareErr error
	catchUp    func(context.Context) error
	// dead are the dead letters, deadErr what publishing one answers.
	dead    []broker.Death
	deadErr error
	// full says that a queue has no room, atLimit that its sample is at the limit.
	full, atLimit bool
	// entered and left count submissions to queues, limits are theirs.
	entered, left int
	limits        []int64
	leftPublished []bool
}

func (f *fakes) AwaitReady(context.Context) error { return f.notReady }

func (f *fakes) Ready() error { return f.notReady }

func (f *fakes) PublishTasks(_ context.Context, ms []*broker.TaskMessage, outcome func(int, error), checks ...broker.Check) {
	for i, m := range ms {
		if i < len(checks) && checks[i] != nil {
			if err := checks[i](); err != nil {
				outcome(i, fmt.Errorf("%w: %w", broker.ErrNotSent, err))
				continue
			}
		}
		f.published = append(f.published, m)
		var err error
		if len(f.errs) > 0 {
			err, f.errs = f.errs[0], f.errs[1:]
		}
		outcome(i, err)
	}
}

func (f *fakes) PublishDead(_ context.Context, m *broker.TaskMessage, death broker.Death, _ ...broker.Check) error {
	f.published, f.dead = append(f.published, m), append(f.dead, death)
	return f.deadErr
}

func (f *fakes) Enter(taskType string, limit int64) (func(bool), bool) {
	f.limits = append(f.limits, limit)
	if f.full {
		return nil, false
	}
	f.entered++
	return func(published bool) {
		f.left++
		f.leftPublished = append(f.leftPublished, published)
	}, true
}

func (f *fakes) AtLimit(string, int64) bool { return f.atLimit }

// Write fails: a receipt can't be had without a broker.
func (f *fakes) Write(context.Context, *task.Event) (*broker.Receipt, error) {
	return nil, f.writeErr
}

func (f *fakes) CatchUp(ctx context.Context) error { return f.catchUp(ctx) }

// brokenStore answers reads with an error.
type brokenStore struct {
	store.Store
	err error
}

func (s *brokenStore) Task(context.Context, string) (task.Task, error) { return task.Task{}, s.err }

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func newService(t testing.TB, f *fakes, edit ...func(*Config)) (*TaskService, store.Store) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	a, err := catalogue.Collect(nil, "demo.v1.FaultService")
	require.NoError(t, err)
	bundle, err := catalogue.Build(a, catalogue.Limits{})
	require.NoError(t, err)
	types := catalogue.New()
	_, err = types.Put(bundle, time.Now())
	require.NoError(t, err)
	if f.catchUp == nil {
		f.catchUp = func(context.Context) error { return nil }
	}
	cfg := Config{
		Names: broker.Names{Namespace: "warren"}, Catalogue: types, CatalogueLoaded: func() bool { return true }, Publisher: f, Status: f, Store: s,
		Types: tasktypes.New(types, s, quiet()), Depth: f, Control: &cancels{store: s},
		Hub: watch.NewHub(), Projection: f, MaxPayloadBytes: 1000, TracerProvider: noop.NewTracerProvider(),
		Redeclare: func(_ context.Context, taskType string) error {
			require.Equal(t, typeDelay, taskType)
			f.declared++
			return f.declareErr
		},
		Logger: quiet(),
	}
	for _, e := range edit {
		e(&cfg)
	}
	return NewTaskService(cfg), cfg.Store
}

func event(id string, attempt int, delivery int64, phase task.Phase) task.Event {
	e := task.Event{
		TaskID: id, Type: typeDelay, Time: time.UnixMicro(1e15 + delivery).UTC(), WorkerID: "w",
		Key: task.Key{Run: 1, Attempt: attempt, Delivery: delivery, Phase: phase, Copy: task.Copy{1}},
	}
	if phase == task.PhaseQueued {
		e.Payload = &task.Payload{Bytes: []byte{}, SHA256: []byte{1}}
	}
	return e
}

func apply(t testing.TB, s store.Store, events ...task.Event) {
	t.Helper()
	_, err := s.Apply(t.Context(), events)
	require.NoError(t, err)
}

func TestBeforeDeadline(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ caller, atMost, want time.Duration }{
		{0, time.Minute, time.Minute}, // no deadline
		{10 * time.Second, time.Minute, 10*time.Second - answerTime},
		{10 * time.Second, 5 * time.Second, 5 * time.Second},
		{10 * time.Second, 10 * time.Second, 10*time.Second - answerTime},
		{500 * time.Millisecond, time.Minute, 400 * time.Millisecond},
		{100 * time.Millisecond, time.Minute, 80 * time.Millisecond}, // short ones keep a fifth
	} {
		t.Run(fmt.Sprint(c.caller, c.atMost), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if c.caller > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.caller)
					defer cancel()
				}
				bounded, cancel := beforeDeadline(ctx, c.atMost)
				defer cancel()
				begin := time.Now()
				<-bounded.Done()
				require.Equal(t, c.want, time.Since(begin))
				require.NoError(t, ctx.Err(), "there is time to answer")
			})
		})
	}
	over, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	bounded, cancelBounded := beforeDeadline(over, time.Minute)
	defer cancelBounded()
	require.ErrorIs(t, bounded.Err(), context.DeadlineExceeded)
}

func TestUnknownIsSaidOnlyWhenTheStoreHasCaughtUp(t *testing.T) {
	t.Parallel()
	id := task.NewID()
	var s store.Store
	caughtUp := 0
	f := &fakes{}
	service, s := newService(t, f)
	get := func() error {
		_, err := service.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: id})
		return err
	}
	f.catchUp = func(context.Context) error {
		caughtUp++
		return nil
	}
	requireReason(t, get(), codes.NotFound, taskv1.ErrorReason_ERROR_REASON_TASK_NOT_FOUND)
	require.Equal(t, 1, caughtUp)

	f.catchUp = func(context.Context) error { return fmt.Errorf("wait: %w", projection.ErrBehind) }
	requireReason(t, get(), codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_PROJECTION_BEHIND)

	f.catchUp = func(context.Context) error { return context.Canceled }
	require.ErrorIs(t, get(), context.Canceled)

	// It was in the status queue all the time.
	f.catchUp = func(context.Context) error {
		apply(t, s, event(id, 1, 0, task.PhaseQueued))
		return nil
	}
	require.NoError(t, get())
	f.catchUp = func(context.Context) error { panic("not asked for what is there") }
	require.NoError(t, get())
}

func TestStoreErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		code   codes.Code
		reason taskv1.ErrorReason
	}{
		"unavailable": {fmt.Errorf("%w: locked", store.ErrUnavailable), codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE},
		"fault":       {errors.New("secret"), codes.Internal, taskv1.ErrorReason_ERROR_REASON_INTERNAL},
	} {
		service, _ := newService(t, &fakes{}, func(cfg *Config) { cfg.Store = &brokenStore{err: c.err} })
		_, err := service.GetTask(t.Context(), &taskv1.GetTaskRequest{TaskId: task.NewID()})
		requireReason(t, err, c.code, c.reason)
		require.ErrorIs(t, err, c.err, "for the log: %s", name)
		require.NotContains(t, status.Convert(err).Message(), "secret")
	}
}

func TestAttemptsComeInPages(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	id := task.NewID()
	apply(t, s, event(id, 1, 0, task.PhaseQueued))
	const attempts = 5
	for i := int64(1); i <= attempts; i++ {
		apply(t, s, event(id, 1, i, task.PhaseStarted), event(id, 1, i, task.PhaseReleased))
	}
	for _, size := range []int32{1, 2, 3, 4, 6, 0} {
		var deliveries []int64
		r := &taskv1.ListTaskAttemptsRequest{TaskId: id, PageSize: size}
		for pages := 0; ; pages++ {
			require.LessOrEqual(t, pages, attempts)
			page, err := service.ListTaskAttempts(t.Context(), r)
			require.NoError(t, err)
			if size > 0 {
				require.LessOrEqual(t, len(page.Attempts), int(size))
			}
			for _, a := range page.Attempts {
				deliveries = append(deliveries, a.Delivery)
				require.Equal(t, taskv1.AttemptOutcome_ATTEMPT_OUTCOME_RELEASED, a.Outcome)
			}
			if r.PageToken = page.NextPageToken; r.PageToken == "" {
				break
			}
		}
		require.Equal(t, []int64{1, 2, 3, 4, 5}, deliveries, "page size %d", size)
	}
	_, err := service.ListTaskAttempts(t.Context(), &taskv1.ListTaskAttemptsRequest{TaskId: id, PageToken: pageToken(task.NewID(), task.Key{})})
	requireReason(t, err, codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID)
}

func TestWaitEndsWithTheTask(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	id := task.NewID()
	apply(t, s, event(id, 1, 0, task.PhaseQueued))
	answered := make(chan *taskv1.WaitTaskResponse, 1)
	go func() {
		// Ids are taken in capitals too; the hub knows them as the store does.
		r, err := service.WaitTask(t.Context(), &taskv1.WaitTaskRequest{TaskId: strings.ToUpper(id), Timeout: durationpb.New(time.Minute)})
		if err == nil {
			answered <- r
		}
	}()
	select {
	case <-answered:
		t.Fatal("the task has not ended")
	default:
	}
	apply(t, s, event(id, 1, 1, task.PhaseSucceeded))
	service.cfg.Hub.Wake(id)
	select {
	case r := <-answered:
		require.True(t, r.Done)
		require.Equal(t, taskv1.TaskState_TASK_STATE_SUCCEEDED, r.Task.State)
	case <-time.After(recheck - time.Second):
		t.Fatal("not woken")
	}
}

func TestWaitIsBounded(t *testing.T) {
	t.Parallel()
	service, s := newService(t, &fakes{})
	id := task.NewID()
	apply(t, s, event(id, 1, 0, task.PhaseQueued))
	r, err := service.WaitTask(t.Context(), &taskv1.WaitTaskRequest{TaskId: id, Timeout: durationpb.New(0)})
	require.NoError(t, err)
	require.False(t, r.Done)

	// The caller's deadline ends it too, early enough to answer.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	r, err = service.WaitTask(ctx, &taskv1.WaitTaskRequest{TaskId: id})
	require.NoError(t, err)
	require.False(t, r.Done)
	require.NoError(t, ctx.Err())

	service.Stop()
	_, err = service.WaitTask(t.Context(), &taskv1.WaitTaskRequest{TaskId: id})
	requireReason(t, err, codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN)
}

func request(t testing.TB) *taskv1.SubmitTaskRequest {
	t.Helper()
	payload, err := anypb.New(&demov1.DelayRequest{Delay: durationpb.New(time.Second)})
	require.NoError(t, err)
	return &taskv1.SubmitTaskRequest{Type: "demo.v1.FaultService/Delay", Payload: payload, Labels: map[string]string{"k": "v"}}
}

func TestSubmissionThatFails(t *testing.T) {
	t.Parallel()
	notSent, unknown := fmt.Errorf("%w: away", broker.ErrNotSent), fmt.Errorf("%w: away", broker.ErrUnknown)
	unroutable := fmt.Errorf("%w: gone", broker.ErrUnroutable)
	const notSubmitted, submissionUnknown = taskv1.ErrorReason_ERROR_REASON_NOT_SUBMITTED, taskv1.ErrorReason_ERROR_REASON_SUBMISSION_UNKNOWN
	for name, c := range map[string]struct {
		fakes     fakes
		reason    taskv1.ErrorReason
		published int
		declared  int
	}{
		"no broker":        {fakes{notReady: notSent}, notSubmitted, 0, 0},
		"not sent":         {fakes{errs: []error{notSent}}, notSubmitted, 1, 0},
		"unconfirmed":      {fakes{errs: []error{unknown}}, submissionUnknown, 1, 0},
		"no queue":         {fakes{errs: []error{unroutable, unroutable}}, notSubmitted, 2, 1},
		"no queue comes":   {fakes{errs: []error{unroutable}, declareErr: errors.New("no connection")}, notSubmitted, 1, 1},
		"queue came back":  {fakes{errs: []error{unroutable, unknown}}, submissionUnknown, 2, 1},
		"status not told":  {fakes{writeErr: broker.ErrWriterStopped}, submissionUnknown, 1, 0},
		"declared anew":    {fakes{errs: []error{unroutable}, writeErr: broker.ErrWriterStopped}, submissionUnknown, 2, 1},
		"error of no kind": {fakes{errs: []error{errors.New("?")}}, submissionUnknown, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := c.fakes
			service, _ := newService(t, &f)
			_, err := service.SubmitTask(t.Context(), request(t))
			requireReason(t, err, codes.Unavailable, c.reason)
			require.Len(t, f.published, c.published)
			require.Equal(t, c.declared, f.declared)
			require.Equal(t, f.entered, f.left, "who enters a queue leaves it")
			if c.reason == submissionUnknown {
				for _, d := range status.Convert(err).Details() {
					if info, ok := d.(*errdetails.ErrorInfo); ok {
						require.Equal(t, f.published[0].ID, info.Metadata["task_id"])
					}
				}
			}
			for _, m := range f.published {
				require.Equal(t, f.published[0], m, "it is the same message each time")
				require.Equal(t, typeDelay, m.Type, "by its one name")
				require.Equal(t, 1, m.Run)
				require.NotZero(t, m.Copy)
				require.Equal(t, task.PriorityNormal, m.Priority)
				require.Equal(t, map[string]string{"k": "v"}, m.Labels)
			}
		})
	}
}

func TestTypesAreUnknownOnlyOnceAllAreLoaded(t *testing.T) {
	t.Parallel()
	loaded := false
	service, _ := newService(t, &fakes{}, func(cfg *Config) { cfg.CatalogueLoaded = func() bool { return loaded } })
	r := request(t)
	r.Type = "acme.v1.Nope.Nothing"
	_, err := service.SubmitTask(t.Context(), r)
	requireReason(t, err, codes.Unavailable, taskv1.ErrorReason_ERROR_REASON_NOT_SUBMITTED)
	loaded = true
	_, err = service.SubmitTask(t.Context(), r)
	requireReason(t, err, codes.NotFound, taskv1.ErrorReason_ERROR_REASON_TASK_TYPE_NOT_FOUND)
}

func TestQueuedEventOfALargePayload(t *testing.T) {
	t.Parallel()
	for size, omitted := range map[int]bool{0: false, task.MaxPayloadInStatus: false, task.MaxPayloadInStatus + 1: true} {
		m := &broker.TaskMessage{
			ID: task.NewID(), Type: typeDelay, Payload: make([]byte, size), Run: 1, Copy: task.NewCopy(), CreateTime: time.Now(),
			Trace: map[string]string{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		}
		e := queued(m)
		require.NoError(t, e.Validate())
		require.Equal(t, omitted, e.Payload.Omitted)
		require.EqualValues(t, size, e.Payload.Size)
		require.Len(t, e.Payload.SHA256, 32)
		require.Equal(t, omitted || size == 0, len(e.Payload.Bytes) == 0)
		require.Equal(t, task.Key{Run: 1, Attempt: 1, Phase: task.PhaseQueued, Copy: m.Copy}, e.Key)
		require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", e.Head.TraceID)
		shown := accepted(e, names)
		require.Equal(t, omitted, shown.PayloadOmitted)
		require.Equal(t, e.Payload.SHA256, shown.PayloadSha256)
		number, err := parseResumeToken(m.ID, shown.ResumeToken)
		require.NoError(t, err)
		require.Zero(t, number, "a watch from it shows all events")
	}
}
