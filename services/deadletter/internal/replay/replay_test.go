//go:build unix

package replay_test

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	brokerv1 "github.com/warrenmq/warren/gen/warren/broker/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/pkg/telemetry"
	"github.com/warrenmq/warren/services/deadletter/internal/replay"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

const deadTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func (w *world) begin(t *testing.T, id string) (replay.Begun, error) {
	t.Helper()
	return w.replayer.Begin(t.Context(), store.ReplayRequest{ID: id, By: store.Call{Reason: "mended"}})
}

func headerOf(t *testing.T, m amqp091.Delivery) *brokerv1.TaskHeader {
	t.Helper()
	var h brokerv1.TaskHeader
	require.NoError(t, proto.Unmarshal(m.Headers["warren-task"].([]byte), &h))
	return &h
}

func TestReplayRebuildsTheMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	m := &broker.TaskMessage{
		ID: task.NewID(), Type: taskType, Payload: []byte{0, 0xff}, Run: 1, Copy: task.NewCopy(), Resend: true,
		CreateTime: now.Add(-time.Hour), RunTime: now.Add(-time.Hour), ExpireTime: now.Add(time.Hour), Priority: task.PriorityHigh,
		Labels: map[string]string{"customer": "Müller"}, Metadata: map[string][][]byte{"x-bin": {{0xff}}},
		Trace: map[string]string{"traceparent": deadTrace}, Timeout: durationpb.New(time.Minute), Retry: &taskv1.RetryPolicy{MaxAttempts: 3},
		ScheduleID: "nightly",
	}
	w.die(t, m)
	ctx, call := w.tracer.Tracer("test").Start(t.Context(), "operator")
	b, err := w.replayer.Begin(ctx, store.ReplayRequest{ID: m.ID, By: store.Call{Reason: "mended"}})
	require.NoError(t, err)
	require.Equal(t, 2, b.Run)
	require.Equal(t, store.StateInReplay, b.DeadLetter.State)
	run(t, w.replayer.Run)
	w.awaitIntents(t, store.IntentPublished, 1)

	raw, ok := w.broker.Get(t, names.Work(taskType))
	require.True(t, ok)
	require.Empty(t, raw.Expiration)
	for key := range raw.Headers {
		require.Contains(t, []string{"warren-task", "traceparent"}, key)
	}
	got := headerOf(t, raw)
	require.Equal(t, m.ID, raw.MessageId)
	require.Equal(t, m.Payload, raw.Body)
	require.EqualValues(t, m.Priority, raw.Priority)
	require.EqualValues(t, 2, got.Run)
	require.False(t, got.Resend)
	require.NotEqual(t, m.Copy[:], got.Copy)
	require.True(t, got.CreateTime.AsTime().Equal(m.CreateTime))
	require.WithinDuration(t, time.Now(), got.RunTime.AsTime(), patience)
	require.Nil(t, got.ExpireTime)
	require.Equal(t, m.Labels, got.Labels)
	require.Len(t, got.Metadata, 1)
	require.Equal(t, m.Metadata["x-bin"], got.Metadata[0].Values)
	require.Equal(t, m.Timeout.AsDuration(), got.Timeout.AsDuration())
	require.True(t, proto.Equal(m.Retry, got.Retry))
	require.Equal(t, m.ScheduleID, got.ScheduleId)

	events := w.awaitEvents(t, 1)
	require.Equal(t, task.Key{Run: 2, Attempt: 1, Phase: task.PhaseQueued, Copy: task.Copy(got.Copy)}, events[0].Key)
	require.Equal(t, m.Payload, events[0].Payload.Bytes)
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", events[0].Head.TraceID, "that of the submission")
	require.Equal(t, m.ScheduleID, events[0].Head.ScheduleID)

	brokertest.Eventually(t, patience, func() bool { return len(w.spans.GetSpans()) == 1 })
	span := w.spans.GetSpans()[0]
	require.Equal(t, telemetry.TraceIDOf(map[string]string{"traceparent": raw.Headers["traceparent"].(string)}), span.SpanContext.TraceID().String())
	require.False(t, span.Parent.IsValid(), "a trace of its own")
	var links []string
	for _, l := range span.Links {
		links = append(links, l.SpanContext.TraceID().String())
	}
	require.Equal(t, []string{"0af7651916cd43dd8448eb211c80319c", call.SpanContext().TraceID().String()}, links)
}

func TestEightReplaysAreOneRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.newTask(t)
	run(t, w.replayer.Run)
	var begun, refused atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			switch b, err := w.begin(t, m.ID); {
			case err == nil && b.Run == 2:
				begun.Add(1)
			case errors.Is(err, store.ErrNotOpen):
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	require.Equal(t, []int32{1, 7}, []int32{begun.Load(), refused.Load()})
	w.awaitIntents(t, store.IntentPublished, 1)
	require.Len(t, w.broker.Drain(t, names.Work(taskType)), 1)
	w.awaitEvents(t, 1)
}

func TestReplayOfAnUnknownConfirmIsMarked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.newTask(t)
	w.publisher.before = []error{broker.ErrNotSent}
	w.publisher.after = []error{broker.ErrUnknown}
	_, err := w.begin(t, m.ID)
	require.NoError(t, err)
	run(t, w.replayer.Run)
	intents := w.awaitIntents(t, store.IntentPublished, 1)
	require.Equal(t, 3, intents[0].Publishes)
	messages := w.broker.Drain(t, names.Work(taskType))
	require.Len(t, messages, 2)
	copies := map[task.Copy]bool{}
	for _, raw := range messages {
		got := headerOf(t, raw)
		require.EqualValues(t, 2, got.Run)
		require.True(t, got.Resend, "one may have been sent before")
		copies[task.Copy(got.Copy)] = true
	}
	require.Len(t, copies, 2)
	w.awaitEvents(t, 1)
}

func TestAnotherProcessGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.newTask(t)
	_, err := w.begin(t, m.ID)
	require.NoError(t, err)
	// The process that began it never published.
	run(t, w.newReplayer().Run)
	w.awaitIntents(t, store.IntentPublished, 1)
	w.gateway.know(m.ID, 2, taskv1.TaskState_TASK_STATE_SUCCEEDED)
	w.awaitState(t, m.ID, store.StateResolved)
}

func TestOutcomesAreLearned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run(t, w.replayer.Run)
	states := map[string]taskv1.TaskState{}
	for _, state := range []taskv1.TaskState{
		taskv1.TaskState_TASK_STATE_SUCCEEDED, taskv1.TaskState_TASK_STATE_CANCELLED,
		taskv1.TaskState_TASK_STATE_DEAD_LETTERED, taskv1.TaskState_TASK_STATE_RUNNING,
	} {
		m := w.newTask(t)
		_, err := w.begin(t, m.ID)
		require.NoError(t, err)
		states[m.ID] = state
	}
	w.awaitIntents(t, store.IntentPublished, 4)
	for id, state := range states {
		w.gateway.know(id, 2, state)
	}
	open := w.awaitIntents(t, store.IntentPublished, 2)
	for _, i := range open {
		require.Contains(t, []taskv1.TaskState{taskv1.TaskState_TASK_STATE_DEAD_LETTERED, taskv1.TaskState_TASK_STATE_RUNNING}, states[i.DeadLetterID])
	}
	for id, state := range states {
		if state == taskv1.TaskState_TASK_STATE_SUCCEEDED || state == taskv1.TaskState_TASK_STATE_CANCELLED {
			w.awaitState(t, id, store.StateResolved)
		}
	}
}

func TestWhatTheGatewaySays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, c := range map[string]struct {
		run   int
		state taskv1.TaskState
		want  error
		begun int
	}{
		"not known any more":            {0, 0, nil, 2},
		"dead":                          {1, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, nil, 2},
		"behind":                        {1, taskv1.TaskState_TASK_STATE_RUNNING, nil, 2},
		"dead in a later run":           {4, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, nil, 5},
		"alive":                         {2, taskv1.TaskState_TASK_STATE_RETRYING, replay.ErrAlive, 0},
		"no run left":                   {math.MaxInt32, taskv1.TaskState_TASK_STATE_DEAD_LETTERED, store.ErrNotReplayable, 0},
		"succeeded, a correction":       {1, taskv1.TaskState_TASK_STATE_SUCCEEDED, nil, 0},
		"cancelled in a run of another": {3, taskv1.TaskState_TASK_STATE_CANCELLED, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := w.newTask(t)
			w.gateway.know(m.ID, c.run, c.state)
			if c.run == 0 {
				w.gateway.set(func(g *gateway) { delete(g.tasks, m.ID) })
			}
			b, err := w.begin(t, m.ID)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
				w.awaitState(t, m.ID, store.StateOpen)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.begun, b.Run)
			want := store.StateInReplay
			if c.begun == 0 {
				want = store.StateResolved
			}
			require.Equal(t, want, b.DeadLetter.State)
		})
	}
}

func TestReplayIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.newTask(t)
	_, err := w.begin(t, task.NewID())
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = w.replayer.Begin(t.Context(), store.ReplayRequest{ID: m.ID, Etag: "other"})
	require.ErrorIs(t, err, store.ErrEtag)
	foreign := task.NewID()
	_, err = w.store.Put(t.Context(), []store.Arrival{{ID: foreign, Foreign: true, Occurrence: store.Occurrence{Cause: task.CauseUndecodable}}})
	require.NoError(t, err)
	_, err = w.begin(t, foreign)
	require.ErrorIs(t, err, store.ErrNotReplayable)
	require.Zero(t, w.gateway.asked, "the gateway is not bothered with those")

	w.gateway.set(func(g *gateway) { g.away = true })
	_, err = w.begin(t, m.ID)
	require.ErrorIs(t, err, replay.ErrGateway)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = w.replayer.Begin(ctx, store.ReplayRequest{ID: m.ID})
	require.ErrorIs(t, err, context.Canceled)
	w.awaitState(t, m.ID, store.StateOpen)
}

func TestReplayOfATypeWithoutQueue(t *testing.T) {
	t.Parallel()
	const gone = "acme.v1.ImageService.Gone"
	for name, c := range map[string]struct {
		prepare func(w *world, m *broker.TaskMessage)
		state   store.State
		events  int
	}{
		"dies": {func(*world, *broker.TaskMessage) {}, store.StateOpen, 1},
		"died before a crash": {func(w *world, m *broker.TaskMessage) {
			// The run is held by what is claimed for, and has ended.
			w.gateway.ended = true
			w.gateway.tasks[m.ID] = &taskv1.Task{Run: 2, State: taskv1.TaskState_TASK_STATE_DEAD_LETTERED, Cause: taskv1.Cause_CAUSE_UNROUTABLE}
		}, store.StateOpen, 0},
		"lives in another message": {func(w *world, m *broker.TaskMessage) {
			w.gateway.lives = []byte("an earlier copy")
			w.gateway.tasks[m.ID] = &taskv1.Task{Run: 2, State: taskv1.TaskState_TASK_STATE_RUNNING}
		}, store.StateInReplay, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			m := &broker.TaskMessage{ID: task.NewID(), Type: gone, Run: 1, Priority: 4, CreateTime: time.Now()}
			w.die(t, m)
			_, err := w.begin(t, m.ID)
			require.NoError(t, err)
			w.gateway.set(func(*gateway) { c.prepare(w, m) })
			run(t, w.replayer.Run)
			w.awaitIntents(t, store.IntentPending, 0)
			d := w.awaitState(t, m.ID, c.state)
			events := w.awaitEvents(t, c.events)
			if c.state != store.StateOpen {
				require.Equal(t, 1, d.OccurrenceCount)
				return
			}
			require.Equal(t, task.CauseUnroutable, d.Cause)
			require.Equal(t, "UNROUTABLE", d.Reason)
			require.Equal(t, 2, d.Run)
			require.NotEmpty(t, d.Template, "it can be replayed when there is a worker again")
			for _, e := range events {
				require.Equal(t, task.PhaseDeadLettered, e.Key.Phase)
				require.Equal(t, task.CauseUnroutable, e.Cause)
				require.Equal(t, 2, e.Key.Run)
			}
		})
	}
}

func TestUnroutableWaitsForTheGateway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := &broker.TaskMessage{ID: task.NewID(), Type: "acme.v1.ImageService.Gone", Run: 1, Priority: 4, CreateTime: time.Now()}
	w.die(t, m)
	_, err := w.begin(t, m.ID)
	require.NoError(t, err)
	w.gateway.set(func(g *gateway) { g.away = true })
	run(t, w.replayer.Run)
	brokertest.Eventually(t, patience, func() bool {
		pending := w.awaitIntents(t, store.IntentPending, 1)
		return pending[0].Unroutable
	})
	require.Equal(t, 1, w.awaitIntents(t, store.IntentPending, 1)[0].Publishes, "it is not published again")
	w.gateway.set(func(g *gateway) { g.away = false })
	w.awaitState(t, m.ID, store.StateOpen)
}

// The gateway has recorded the claim and its reply was lost: the run, which
// nothing else can hold any more, ends all the same.
func TestUnroutableWhoseClaimWasRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := &broker.TaskMessage{ID: task.NewID(), Type: "acme.v1.ImageService.Gone", Run: 1, Priority: 4, CreateTime: time.Now()}
	w.die(t, m)
	_, err := w.begin(t, m.ID)
	require.NoError(t, err)
	w.gateway.set(func(g *gateway) { g.lost = 2 })
	run(t, w.replayer.Run)
	w.awaitState(t, m.ID, store.StateOpen)
	d, err := w.store.Get(t.Context(), m.ID, false)
	require.NoError(t, err)
	require.Equal(t, 2, d.Run)
	require.Equal(t, task.CauseUnroutable, d.Cause)
	events := w.awaitEvents(t, 1)
	require.Equal(t, task.PhaseDeadLettered, events[0].Key.Phase)
}

// Not parallel: it looks at all goroutines of the process.
func TestRunLeavesNothingBehind(t *testing.T) {
	t.Run("run", func(t *testing.T) {
		w := newWorld(t)
		m := w.newTask(t)
		stop := run(t, w.replayer.Run)
		_, err := w.begin(t, m.ID)
		require.NoError(t, err)
		w.awaitIntents(t, store.IntentPublished, 1)
		stop()
	})
	goleak.VerifyNone(t, brokertest.LeakOptions()...)
}

// statusWriter refuses its first events.
type statusWriter struct {
	*broker.StatusWriter
	refuse atomic.Int32
}

func (s *statusWriter) Write(ctx context.Context, e *task.Event) (*broker.Receipt, error) {
	if s.refuse.Add(-1) >= 0 {
		return nil, errors.New("refused")
	}
	return s.StatusWriter.Write(ctx, e)
}

func TestWhatIsConfirmedIsNotPublishedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	status := &statusWriter{StatusWriter: w.status}
	status.refuse.Store(3)
	r := replay.New(replay.Config{
		Names: names, Store: w.store, Publisher: w.publisher, Status: status, Tasks: w.gateway, Claims: w.gateway,
		Notify: func(*store.Arrival) bool { return false }, TracerProvider: w.tracer, Logger: slog.New(slog.DiscardHandler),
	})
	m := w.newTask(t)
	_, err := r.Begin(t.Context(), store.ReplayRequest{ID: m.ID, By: store.Call{Reason: "mended"}})
	require.NoError(t, err)
	run(t, r.Run)
	published := w.awaitIntents(t, store.IntentPublished, 1)
	require.Equal(t, 1, published[0].Publishes)
	w.awaitEvents(t, 1)
	require.Len(t, w.broker.Drain(t, names.Work(taskType)), 1)
}
