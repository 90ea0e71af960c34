package schedules

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	otelcodes "go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/rpc"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/store"
	"github.com/warrenmq/warren/services/gateway/internal/store/sqlite"
)

const patience = 20 * time.Second

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// fixture is an engine with a real store, whose clock stands still.
type fixture struct {
	*Engine
	store store.Store

	mu     sync.Mutex
	now    time.Time
	makes  error
	asked  []*taskv1.SubmitTaskRequest
	laters []time.Time
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	s, err := sqlite.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	f := &fixture{store: s, now: created}
	f.Engine = New(Config{
		Store: s, Maker: f, Changed: func(string) {}, Clock: f.clock, Logger: quiet(),
		Later: func(at time.Time) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.laters = append(f.laters, at)
		},
	})
	return f
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fixture) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

// MakeTask makes a task without a payload.
func (f *fixture) MakeTask(_ context.Context, r *taskv1.SubmitTaskRequest, scheduleID, taskID string, at time.Time) (*store.Scheduled, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.makes != nil {
		return nil, f.makes
	}
	f.asked = append(f.asked, r)
	m := &broker.TaskMessage{ID: taskID, Type: r.Type, Run: 1, Copy: task.NewCopy(), CreateTime: f.now, Priority: 4, ScheduleID: scheduleID}
	b, err := broker.EncodeTask(m)
	if err != nil {
		return nil, err
	}
	return &store.Scheduled{Message: b, Event: task.Event{
		TaskID: taskID, Type: r.Type, Time: f.now, ScheduleTime: at, Payload: &task.Payload{Bytes: []byte{}, SHA256: []byte{1}},
		Key: task.Key{Run: 1, Attempt: 1, Phase: task.PhaseScheduled, Copy: m.Copy}, Head: &task.Head{CreateTime: f.now, Priority: 4, ScheduleID: scheduleID},
	}}, nil
}

// put keeps a schedule that was made when the clock began.
func (f *fixture) put(t testing.TB, id string, s *adminv1.Schedule) {
	t.Helper()
	s.ScheduleId, s.Task = id, &taskv1.SubmitTaskRequest{Type: "a.B.C"}
	spec, err := proto.Marshal(s)
	require.NoError(t, err)
	require.NoError(t, f.store.PutSchedule(t.Context(), store.Schedule{ID: id, Version: 1, Spec: spec, Next: compile(t, s).Next(created)}))
}

// fireNow does all that is due.
func (f *fixture) fireNow(t testing.TB) {
	t.Helper()
	for {
		due, _, err := f.store.DueSchedules(t.Context(), f.Now(), maxDue)
		require.NoError(t, err)
		if len(due) == 0 {
			return
		}
		for _, s := range due {
			require.NoError(t, f.fireAll(t.Context(), s))
		}
	}
}

// firings are those of a schedule, the oldest first.
func (f *fixture) firings(t testing.TB, id string) (all []*adminv1.Firing) {
	t.Helper()
	s, err := f.store.GetSchedule(t.Context(), id)
	require.NoError(t, err)
	for _, kept := range s.Firings {
		firing := new(adminv1.Firing)
		require.NoError(t, proto.Unmarshal(kept.Encoded, firing))
		all = append([]*adminv1.Firing{firing}, all...)
	}
	return all
}

func outcomes(firings []*adminv1.Firing) (out []adminv1.FiringOutcome) {
	for _, f := range firings {
		out = append(out, f.Outcome)
	}
	return out
}

func TestAFiringIsATaskForLater(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := each(time.Hour)
	s.Jitter, s.ExpireAfter = durationpb.New(time.Minute), durationpb.New(2*time.Hour)
	f.put(t, "hourly", s)
	f.fireNow(t)
	require.Empty(t, f.firings(t, "hourly"))
	f.pass(time.Hour)
	f.fireNow(t)
	firings := f.firings(t, "hourly")
	require.Equal(t, []adminv1.FiringOutcome{fired}, outcomes(firings))
	at := created.Add(time.Hour)
	require.Equal(t, at, firings[0].Time.AsTime())
	require.Equal(t, taskID("hourly", at), firings[0].TaskId)
	made, err := f.store.Task(t.Context(), firings[0].TaskId)
	require.NoError(t, err)
	require.Equal(t, task.StateScheduled, made.State)
	require.Equal(t, "hourly", made.ScheduleID)
	require.Equal(t, compile(t, s).dueTime("hourly", at), made.ScheduleTime)
	require.Equal(t, []time.Time{made.ScheduleTime}, f.laters)
	require.Equal(t, at.Add(2*time.Hour), f.asked[0].ExpireTime.AsTime())
	kept, err := f.store.GetSchedule(t.Context(), "hourly")
	require.NoError(t, err)
	require.Equal(t, at.Add(time.Hour), kept.Next)
}

func TestOverlap(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := each(time.Hour)
	s.Overlap = adminv1.OverlapPolicy_OVERLAP_POLICY_SKIP
	f.put(t, "skips", s)
	f.put(t, "overlaps", each(time.Hour))
	for range 2 * store.MaxFirings {
		f.pass(time.Hour)
		f.fireNow(t)
	}
	require.Equal(t, fired, f.firings(t, "overlaps")[store.MaxFirings-1].Outcome)
	firings := f.firings(t, "skips")
	require.Len(t, firings, store.MaxFirings)
	first := taskID("skips", created.Add(time.Hour))
	for _, firing := range firings {
		require.Equal(t, skipped, firing.Outcome, "however long it runs")
		require.Equal(t, first, firing.TaskId)
	}
	_, err := f.store.Apply(t.Context(), []task.Event{{
		TaskID: first, Type: "a.B.C", Time: f.Now(), WorkerID: "w", Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseSucceeded},
	}})
	require.NoError(t, err)
	f.pass(time.Hour)
	f.fireNow(t)
	last := f.firings(t, "skips")[store.MaxFirings-1]
	require.Equal(t, fired, last.Outcome)
	require.Equal(t, taskID("skips", f.Now()), last.TaskId)
}

// A run that goes on counts, however many firings and runs that have ended came after it.
func TestOverlapWithAnOldRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := each(time.Hour)
	s.Overlap = adminv1.OverlapPolicy_OVERLAP_POLICY_SKIP
	f.put(t, "skips", s)
	end := func(id string) {
		_, err := f.store.Apply(t.Context(), []task.Event{{
			TaskID: id, Type: "a.B.C", Time: f.Now(), WorkerID: "w", Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseSucceeded},
		}})
		require.NoError(t, err)
	}
	f.pass(time.Hour)
	f.fireNow(t)
	old := taskID("skips", f.Now())
	for range store.MaxFirings + 1 {
		f.pass(time.Minute)
		triggered, err := f.Trigger(t.Context(), "skips", "")
		require.NoError(t, err)
		end(triggered.TaskId)
	}
	for _, firing := range f.firings(t, "skips") {
		require.NotEqual(t, old, firing.TaskId, "it is none of the last ones")
	}
	f.pass(time.Hour)
	f.fireNow(t)
	last := f.firings(t, "skips")[store.MaxFirings-1]
	require.Equal(t, skipped, last.Outcome)
	require.Equal(t, old, last.TaskId)

	end(old)
	f.pass(time.Hour)
	f.fireNow(t)
	require.Equal(t, fired, f.firings(t, "skips")[store.MaxFirings-1].Outcome)
	// Of another schedule's runs it knows nothing.
	f.put(t, "skips-too", s)
	f.fireNow(t)
	require.Equal(t, []adminv1.FiringOutcome{missing, fired}, outcomes(f.firings(t, "skips-too")))
}

func TestCatchUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := each(time.Hour)
	f.put(t, "last", s)
	s.CatchUp = adminv1.CatchUpPolicy_CATCH_UP_POLICY_NONE
	f.put(t, "none", s)
	f.pass(10*time.Hour + 30*time.Minute)
	f.fireNow(t)
	last := f.firings(t, "last")
	require.Equal(t, []adminv1.FiringOutcome{missing, fired}, outcomes(last))
	require.Equal(t, created.Add(time.Hour), last[0].Time.AsTime())
	require.Equal(t, "9 times in a row were missed", last[0].Problem)
	require.Equal(t, created.Add(10*time.Hour), last[1].Time.AsTime())
	none := f.firings(t, "none")
	require.Equal(t, []adminv1.FiringOutcome{missing}, outcomes(none))
	require.Equal(t, "10 times in a row were missed", none[0].Problem)
	for _, id := range []string{"last", "none"} {
		kept, err := f.store.GetSchedule(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, created.Add(11*time.Hour), kept.Next)
	}
}

// TestCatchUpIsOneFiring: times within the last minute are among those that passed.
func TestCatchUpIsOneFiring(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "often", each(10*time.Second))
	f.pass(time.Hour + 5*time.Second)
	f.fireNow(t)
	firings := f.firings(t, "often")
	require.Equal(t, []adminv1.FiringOutcome{missing, fired}, outcomes(firings))
	require.Equal(t, created.Add(time.Hour), firings[1].Time.AsTime())
}

func TestWhatCantBeSubmittedDoesNotStopASchedule(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "unlucky", each(time.Hour))
	f.pass(time.Hour)
	f.makes = status.Error(codes.Unavailable, "not loaded yet")
	due, _, err := f.store.DueSchedules(t.Context(), f.Now(), maxDue)
	require.NoError(t, err)
	require.False(t, f.fireDue(t.Context(), due[0]))
	require.Empty(t, f.firings(t, "unlucky"), "it passes by itself")
	f.makes = status.Error(codes.NotFound, "no such type")
	f.fireNow(t)
	f.pass(time.Hour)
	f.makes = nil
	f.fireNow(t)
	firings := f.firings(t, "unlucky")
	require.Equal(t, []adminv1.FiringOutcome{failed, fired}, outcomes(firings))
	require.Equal(t, "no such type", firings[0].Problem)
	require.Empty(t, firings[0].TaskId)

	require.NoError(t, f.store.PutSchedule(t.Context(), store.Schedule{ID: "unreadable", Version: 1, Spec: []byte{0xff}, Next: f.Now()}))
	f.fireNow(t)
	kept, err := f.store.GetSchedule(t.Context(), "unreadable")
	require.NoError(t, err)
	require.Zero(t, kept.Next)
	require.Equal(t, []adminv1.FiringOutcome{failed}, outcomes(f.firings(t, "unreadable")))
}

// A span says why its firing failed, but not what is private, which may quote a payload.
func TestASpanHasNothingPrivate(t *testing.T) {
	t.Parallel()
	private := rpc.Errorf(codes.InvalidArgument, taskv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "bad value: hunter2").Hidden()
	for name, makes := range map[string]error{
		"for good": private,
		"for now":  fmt.Errorf("%w: %w", status.Error(codes.Unavailable, "not now"), private),
	} {
		f := newFixture(t)
		recorder := tracetest.NewSpanRecorder()
		f.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("test")
		f.put(t, "s", each(time.Hour))
		f.pass(time.Hour)
		f.makes = makes
		due, _, err := f.store.DueSchedules(t.Context(), f.Now(), maxDue)
		require.NoError(t, err)
		f.fireDue(t.Context(), due[0])
		require.Len(t, recorder.Ended(), 1, name)
		require.Equal(t, sdktrace.Status{Code: otelcodes.Error, Description: "INVALID_REQUEST"}, recorder.Ended()[0].Status(), name)
	}
}

func TestAChangedScheduleDoesNotFireAsItWas(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "changed", each(time.Hour))
	f.pass(time.Hour)
	due, _, err := f.store.DueSchedules(t.Context(), f.Now(), maxDue)
	require.NoError(t, err)
	paused := due[0]
	paused.Version, paused.Next = 2, time.Time{}
	require.NoError(t, f.store.PutSchedule(t.Context(), paused))
	require.ErrorIs(t, f.fireAll(t.Context(), due[0]), store.ErrChanged)
	f.fireNow(t)
	require.Empty(t, f.firings(t, "changed"))
}

func TestTrigger(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := each(time.Hour)
	s.Paused, s.Overlap = true, adminv1.OverlapPolicy_OVERLAP_POLICY_SKIP
	f.put(t, "s", s)
	before, err := f.store.GetSchedule(t.Context(), "s")
	require.NoError(t, err)
	first, err := f.Trigger(t.Context(), "s", "")
	require.NoError(t, err)
	require.True(t, first.Triggered)
	require.Equal(t, f.Now(), first.Time.AsTime())
	second, err := f.Trigger(t.Context(), "s", "")
	require.NoError(t, err)
	require.NotEqual(t, first.TaskId, second.TaskId)
	after, err := f.store.GetSchedule(t.Context(), "s")
	require.NoError(t, err)
	require.Equal(t, before.Next, after.Next)

	// One request is one firing, from many callers and for a day.
	request := uuid.NewString()
	f.pass(23*time.Hour - f.Now().Sub(f.Now().Truncate(window)))
	var wg sync.WaitGroup
	ids := make([]string, 8)
	for i := range ids {
		wg.Go(func() {
			firing, err := f.Trigger(t.Context(), "s", request)
			if err == nil {
				ids[i] = firing.TaskId
			}
		})
	}
	wg.Wait()
	f.pass(23 * time.Hour)
	again, err := f.Trigger(t.Context(), "s", request)
	require.NoError(t, err)
	require.True(t, again.Triggered)
	for _, id := range ids {
		require.Equal(t, again.TaskId, id)
	}
	require.Len(t, f.firings(t, "s"), 3)

	_, err = f.Trigger(t.Context(), "other", request)
	require.ErrorIs(t, err, store.ErrNotFound)
	f.makes = status.Error(codes.NotFound, "no such type")
	_, err = f.Trigger(t.Context(), "s", "")
	require.Equal(t, codes.NotFound, status.Code(err))
	require.Len(t, f.firings(t, "s"), 3)
}

// TestATriggerOfAForgottenTask: the one call that fires is the first.
func TestATriggerOfAForgottenTask(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.put(t, "s", each(time.Hour))
	request := uuid.NewString()
	first, err := f.Trigger(t.Context(), "s", request)
	require.NoError(t, err)
	_, err = f.store.Apply(t.Context(), []task.Event{{
		TaskID: first.TaskId, Type: "a.B.C", Time: f.Now(), WorkerID: "w", Key: task.Key{Run: 1, Attempt: 1, Delivery: 1, Phase: task.PhaseSucceeded},
	}})
	require.NoError(t, err)
	_, err = f.store.PurgeEnded(t.Context(), store.Ended{Before: f.Now().Add(time.Second)}, 1000)
	require.NoError(t, err)
	_, err = f.store.Task(t.Context(), first.TaskId)
	require.ErrorIs(t, err, store.ErrNotFound)
	f.pass(time.Minute)
	again, err := f.Trigger(t.Context(), "s", request)
	require.NoError(t, err)
	require.True(t, proto.Equal(first, again), "%v", again)

	// Nor when its firing is none of the last ones.
	for range store.MaxFirings {
		_, err = f.Trigger(t.Context(), "s", "")
		require.NoError(t, err)
		f.pass(time.Second)
	}
	before := f.firings(t, "s")
	again, err = f.Trigger(t.Context(), "s", request)
	require.NoError(t, err)
	require.Equal(t, first.TaskId, again.TaskId)
	require.Equal(t, forgotten, again.Problem)
	require.Nil(t, again.Time)
	after := f.firings(t, "s")
	require.Len(t, after, len(before))
	for i := range after {
		require.True(t, proto.Equal(before[i], after[i]))
	}
}

// TestATaskThatTheStoreRefuses fails once, and does not keep its schedule.
func TestATaskThatTheStoreRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	bad := fmt.Errorf("%w: its labels", store.ErrBadEvent)
	f.cfg.Store = &brokenStore{Store: f.store, errs: []error{bad}}
	f.put(t, "s", each(time.Hour))
	f.pass(time.Hour)
	f.fireNow(t)
	f.pass(time.Hour)
	f.fireNow(t)
	firings := f.firings(t, "s")
	require.Equal(t, []adminv1.FiringOutcome{failed, fired}, outcomes(firings))
	require.Contains(t, firings[0].Problem, "its labels")
	require.Empty(t, firings[0].TaskId)
}

// TestWarningsAreFew: what can't fire yet is tried many times a second.
func TestWarningsAreFew(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var log bytes.Buffer
	f.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	f.makes = status.Error(codes.Unavailable, "not loaded yet")
	f.put(t, "s", each(time.Hour))
	f.pass(time.Hour)
	due, _, err := f.store.DueSchedules(t.Context(), f.Now(), maxDue)
	require.NoError(t, err)
	for range 20 {
		require.False(t, f.fireDue(t.Context(), due[0]))
	}
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("can't fire now")))
}

// TestTheEngineFollowsItsClock: forwards it catches up, backwards it waits.
func TestTheEngineFollowsItsClock(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	looks := &looks{Store: f.store}
	f.cfg.Store = looks
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx)
	}()
	f.put(t, "minutely", each(time.Minute))
	f.Wake()
	f.pass(time.Minute)
	f.await(t, "minutely", 1)
	f.pass(-time.Hour)
	looks.await(t, f.Now())
	f.pass(time.Hour)
	looks.await(t, f.Now())
	f.await(t, "minutely", 1)
	f.pass(time.Minute)
	f.await(t, "minutely", 2)
	cancel()
	<-done
	for i, firing := range f.firings(t, "minutely") {
		require.Equal(t, created.Add(time.Duration(i+1)*time.Minute), firing.Time.AsTime())
	}
}

// looks is a store that knows by which time it was last asked what is due.
type looks struct {
	Store
	mu   sync.Mutex
	last time.Time
}

func (s *looks) DueSchedules(ctx context.Context, now time.Time, limit int) ([]store.Schedule, time.Time, error) {
	s.mu.Lock()
	s.last = now
	s.mu.Unlock()
	return s.Store.DueSchedules(ctx, now, limit)
}

// await waits until it was asked by a time.
func (s *looks) await(t testing.TB, now time.Time) {
	t.Helper()
	brokertest.Eventually(t, patience, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.last.Equal(now) {
			return fmt.Errorf("was asked by %v last", s.last)
		}
		return nil
	})
}

func (f *fixture) await(t testing.TB, id string, n int) {
	t.Helper()
	brokertest.Eventually(t, patience, func() error {
		if got := len(f.firings(t, id)); got != n {
			return fmt.Errorf("%d firings", got)
		}
		return nil
	})
}

// brokenStore answers with an error for as long as it has some.
type brokenStore struct {
	Store
	mu   sync.Mutex
	errs []error
}

func (s *brokenStore) Fire(ctx context.Context, fire store.Fire) ([]store.Change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.errs) > 0 {
		err := s.errs[0]
		s.errs = s.errs[1:]
		if errors.Is(err, errLost) {
			// It was done, and the answer was lost.
			_, _ = s.Store.Fire(ctx, fire)
		}
		return nil, err
	}
	return s.Store.Fire(ctx, fire)
}

var errLost = fmt.Errorf("%w: the answer was lost", store.ErrUnavailable)

func TestAStoreThatFails(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cfg.Store = &brokenStore{Store: f.store, errs: []error{store.ErrUnavailable, errLost}}
	f.put(t, "s", each(time.Minute))
	f.pass(time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	f.await(t, "s", 1)
	f.pass(time.Minute)
	f.await(t, "s", 2)
	cancel()
	running.Wait()
}
