//go:build unix

package replay_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/broker"
	"github.com/warrenmq/warren/pkg/broker/brokertest"
	"github.com/warrenmq/warren/pkg/catalogue"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/deadletter/internal/replay"
	"github.com/warrenmq/warren/services/deadletter/internal/store"
)

// create creates a replay of tasks.
func (w *world) create(t *testing.T, p store.Plan, ids ...string) store.Replay {
	t.Helper()
	set, err := w.store.Select(t.Context(), store.FreezeRequest{IDs: ids})
	require.NoError(t, err)
	if p.MaxInFlight == 0 {
		p.MaxInFlight = 1000
	}
	r, err := w.store.CreateReplay(t.Context(), store.NewReplay{Selection: set, Plan: p, By: store.Call{Method: "CreateReplay", Actor: "me", Reason: "mended"}})
	require.NoError(t, err)
	w.replayer.Wake()
	return r
}

func (w *world) newTasks(t *testing.T, n int) (ids []string) {
	t.Helper()
	for range n {
		ids = append(ids, w.newTask(t).ID)
	}
	return ids
}

// awaitReplay waits until a replay is as wanted.
func (w *world) awaitReplay(t *testing.T, id string, wanted func(*store.Replay) bool) (r store.Replay) {
	t.Helper()
	brokertest.Eventually(t, patience, func() error {
		var err error
		r, err = w.store.Replay(t.Context(), id)
		require.NoError(t, err)
		if !wanted(&r) {
			return fmt.Errorf("the replay is %+v", r)
		}
		return nil
	})
	return r
}

func ended(r *store.Replay) bool { return !r.EndTime.IsZero() }

func (w *world) knowAll(ids []string, run int, state taskv1.TaskState) {
	for _, id := range ids {
		w.gateway.know(id, run, state)
	}
}

func (w *world) verdicts(t *testing.T, id string) (all []store.Verdict) {
	t.Helper()
	page, err := w.store.ReplayItems(t.Context(), store.ItemQuery{ReplayID: id, Limit: 100})
	require.NoError(t, err)
	for _, i := range page.Items {
		all = append(all, i.Verdict)
	}
	return all
}

func TestAReplayBeginsAllAndLearnsHowTheyEnd(t *testing.T) {
	t.Parallel()
	const n = 450
	w := newWorld(t)
	ids := w.newTasks(t, n)
	run(t, w.replayer.Run)
	r := w.create(t, store.Plan{}, ids...)
	w.awaitReplay(t, r.ID, func(r *store.Replay) bool { return r.Counts.InFlight == n })
	w.awaitIntents(t, store.IntentPublished, n)
	messages := w.broker.Drain(t, names.Work(taskType))
	require.Len(t, messages, n)
	for _, m := range messages {
		require.False(t, headerOf(t, m).Resend, "each was published once")
	}
	w.awaitEvents(t, n)
	w.gateway.set(func(g *gateway) { require.Greater(t, g.most, 50, "questions are for many") })
	w.knowAll(ids[1:], 2, taskv1.TaskState_TASK_STATE_SUCCEEDED)
	w.gateway.know(ids[0], 2, taskv1.TaskState_TASK_STATE_CANCELLED)
	r = w.awaitReplay(t, r.ID, ended)
	require.Equal(t, store.ReplayCompleted, r.State)
	require.Equal(t, store.ReplayCounts{Total: n, Succeeded: n - 1, Cancelled: 1}, r.Counts)
}

// A run that was begun and given up, whose message is lost, is in no later run's way.
func TestAReopenedDeadLetterIsReplayed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.newTasks(t, 2)
	run(t, w.replayer.Run)
	w.create(t, store.Plan{}, ids...)
	w.awaitIntents(t, store.IntentPublished, 2)
	for _, id := range ids {
		w.gateway.know(id, 2, taskv1.TaskState_TASK_STATE_QUEUED)
		_, err := w.store.Reopen(t.Context(), store.ReopenRequest{ID: id, Force: true})
		require.NoError(t, err)
	}
	b, err := w.replayer.Begin(t.Context(), store.ReplayRequest{ID: ids[0], By: store.Call{Reason: "it is lost"}})
	require.NoError(t, err)
	require.Equal(t, 3, b.Run)
	r := w.create(t, store.Plan{}, ids[1])
	w.awaitReplay(t, r.ID, func(r *store.Replay) bool { return r.Counts.InFlight == 1 })
}

func TestAReplaySkipsWhatCannotRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.newTasks(t, 3)
	w.gateway.know(ids[1], 1, taskv1.TaskState_TASK_STATE_SUCCEEDED)
	w.gateway.know(ids[2], 3, taskv1.TaskState_TASK_STATE_RUNNING)
	w.gateway.set(func(g *gateway) { g.shows = 1 })
	now := time.Now().UTC()
	expired := &broker.TaskMessage{
		ID: task.NewID(), Type: taskType, Payload: []byte("p"), Run: 1, CreateTime: now.Add(-time.Hour), ExpireTime: now.Add(-time.Minute), Priority: 4,
	}
	w.die(t, expired)
	foreign := task.NewID()
	_, err := w.store.Put(t.Context(), []store.Arrival{{ID: foreign, Foreign: true, Occurrence: store.Occurrence{Cause: task.CauseUndecodable}}, {
		ID: task.NewID(), Type: taskType, Occurrence: store.Occurrence{Run: 1, Cause: task.CausePermanentFailure}, Template: []byte("{"),
	}})
	require.NoError(t, err)
	all, err := w.store.Select(t.Context(), store.FreezeRequest{})
	require.NoError(t, err)
	previews, err := w.replayer.Preview(t.Context(), all.Members, store.Plan{Expiry: store.ExpiryKept})
	require.NoError(t, err)
	want := []store.Verdict{
		store.VerdictNoWorkers, store.VerdictAlreadySucceeded, store.VerdictInReplay, store.VerdictExpired, store.VerdictNoTask, store.VerdictNotReplayable,
	}
	require.Len(t, previews, len(want))
	for i, p := range previews {
		require.Equal(t, want[i], p.Verdict, "%d: %s", i, p.Message)
		require.NotEmpty(t, p.Message)
	}
	w.gateway.set(func(g *gateway) { g.workers = 1 })
	previews, err = w.replayer.Preview(t.Context(), all.Members[:1], store.Plan{Expiry: store.ExpiryKept})
	require.NoError(t, err)
	require.Equal(t, store.VerdictReady, previews[0].Verdict)
	require.Equal(t, store.StateOpen, w.awaitState(t, ids[1], store.StateOpen).State, "a preview changes nothing")

	run(t, w.replayer.Run)
	r, err := w.store.CreateReplay(t.Context(), store.NewReplay{Selection: all, Plan: store.Plan{MaxInFlight: 10, Expiry: store.ExpiryKept}, By: store.Call{Reason: "r"}})
	require.NoError(t, err)
	w.replayer.Wake()
	w.awaitReplay(t, r.ID, func(r *store.Replay) bool { return r.Counts.Pending == 0 })
	require.Equal(t, append([]store.Verdict{0}, want[1:]...), w.verdicts(t, r.ID))
	w.awaitState(t, ids[1], store.StateResolved)
}

// checker refuses payloads, or can't tell.
type checker struct{ err error }

func (c *checker) Check(context.Context, string, []byte) error { return c.err }

// hold sets or ends the hold of all types.
func hold(t *testing.T, s store.Store, on bool) {
	t.Helper()
	set := store.Settings{store.PolicyHold: 0}
	if on {
		set[store.PolicyHold] = 1
	}
	_, _, err := s.UpdatePolicy(t.Context(), store.PolicyRequest{TaskType: "*", Fields: []store.PolicyField{store.PolicyHold}, Set: set})
	require.NoError(t, err)
}

func TestVerdictsOnPayloads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.newTasks(t, 1)
	all, err := w.store.Select(t.Context(), store.FreezeRequest{IDs: ids})
	require.NoError(t, err)
	c := &checker{}
	cfg := w.config()
	cfg.Checker = c
	r := replay.New(cfg)
	verdict := func(p store.Plan) store.Verdict {
		previews, err := r.Preview(t.Context(), all.Members, p)
		require.NoError(t, err)
		return previews[0].Verdict
	}
	w.gateway.set(func(g *gateway) { g.workers = 1 })
	require.Equal(t, store.VerdictReady, verdict(store.Plan{}))
	require.Equal(t, store.VerdictNoRevision, verdict(store.Plan{Revision: 2}))
	c.err = fmt.Errorf("check it: %w", &catalogue.PayloadError{Err: errors.New("name is empty")})
	require.Equal(t, store.VerdictSchemaIncompatible, verdict(store.Plan{}))
	c.err = errors.New("the gateway is away")
	require.Equal(t, store.VerdictReady, verdict(store.Plan{}), "it can't be told")
	hold(t, w.store, true)
	require.Equal(t, store.VerdictHeld, verdict(store.Plan{}))
	hold(t, w.store, false)
	discarded, err := w.store.Discard(t.Context(), store.DiscardRequest{ID: ids[0], By: store.Call{Reason: "r"}})
	require.NoError(t, err)
	require.Equal(t, store.StateDiscarded, discarded.State)
	require.Equal(t, store.VerdictWrongState, verdict(store.Plan{}))
	w.gateway.set(func(g *gateway) { g.away = true })
	require.Equal(t, store.VerdictWrongState, verdict(store.Plan{}), "without a gateway")
	require.ErrorIs(t, r.Reach(t.Context(), ids[0]), replay.ErrGateway)
}

func TestARevisionRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.newTasks(t, 1)
	for _, payload := range []string{"two", "three"} {
		d, err := w.store.Get(t.Context(), ids[0], false)
		require.NoError(t, err)
		_, _, err = w.store.Revise(t.Context(), store.ReviseRequest{ID: d.ID, Etag: d.Etag, Payload: []byte(payload)})
		require.NoError(t, err)
	}
	run(t, w.replayer.Run)
	r := w.create(t, store.Plan{Revision: 4}, ids[0])
	w.awaitReplay(t, r.ID, ended)
	require.Equal(t, []store.Verdict{store.VerdictNoRevision}, w.verdicts(t, r.ID))
	r = w.create(t, store.Plan{Revision: 2}, ids[0])
	w.awaitIntents(t, store.IntentPublished, 1)
	raw, ok := w.broker.Get(t, names.Work(taskType))
	require.True(t, ok)
	require.Equal(t, "two", string(raw.Body))
	page, err := w.store.ReplayItems(t.Context(), store.ItemQuery{ReplayID: r.ID, Limit: 1})
	require.NoError(t, err)
	require.Equal(t, 2, page.Items[0].Revision)
}

func TestThePlanIsInTheMessage(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Truncate(time.Microsecond)
	for mode, want := range map[store.Expiry]func(time.Time) bool{
		store.ExpiryNone:    time.Time.IsZero,
		store.ExpiryKept:    now.Add(time.Hour).Equal,
		store.ExpiryRenewed: func(at time.Time) bool { return at.After(now.Add(90*time.Minute)) && at.Before(now.Add(3*time.Hour)) },
	} {
		w := newWorld(t)
		m := &broker.TaskMessage{
			ID: task.NewID(), Type: taskType, Payload: []byte("p"), Run: 1, CreateTime: now.Add(-time.Hour), ExpireTime: now.Add(time.Hour), Priority: 4,
			Retry: &taskv1.RetryPolicy{MaxAttempts: 3},
		}
		w.die(t, m)
		run(t, w.replayer.Run)
		w.create(t, store.Plan{Expiry: mode, MaxAttempts: 7}, m.ID)
		w.awaitIntents(t, store.IntentPublished, 1)
		raw, ok := w.broker.Get(t, names.Work(taskType))
		require.True(t, ok)
		got := headerOf(t, raw)
		require.EqualValues(t, 7, got.Retry.MaxAttempts)
		at := time.Time{}
		if got.ExpireTime != nil {
			at = got.ExpireTime.AsTime()
		}
		require.True(t, want(at), "%d: %s", mode, at)
	}
}

func TestACanaryHoldsTheRestBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.newTasks(t, 10)
	w.gateway.know(ids[0], 1, taskv1.TaskState_TASK_STATE_SUCCEEDED) // no canary: it is skipped
	run(t, w.replayer.Run)
	r := w.create(t, store.Plan{Canary: 2}, ids...)
	w.awaitIntents(t, store.IntentPublished, 2)
	require.Equal(t, 3, w.awaitReplay(t, r.ID, func(r *store.Replay) bool { return r.Counts.InFlight == 2 }).Handled)
	w.knowAll(ids[1:3], 2, taskv1.TaskState_TASK_STATE_SUCCEEDED)
	w.awaitReplay(t, r.ID, func(r *store.Replay) bool { return r.State == store.ReplayRunning && r.Counts.InFlight == 7 })
}

func TestAReplayHasSoManyInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.newTasks(t, 9)
	run(t, w.replayer.Run)
	r := w.create(t, store.Plan{MaxInFlight: 3}, ids...)
	for i := 0; i < len(ids); i += 3 {
		now := w.awaitReplay(t, r.ID, func(r *store.Replay) bool { return r.Handled == i+3 })
		require.EqualValues(t, 3, now.Counts.InFlight)
		w.knowAll(ids[i:i+3], 2, taskv1.TaskState_TASK_STATE_SUCCEEDED)
	}
	w.awaitReplay(t, r.ID, ended)
}

// unsent is a replay of five tasks, all begun and none sent, since the broker refuses them.
func unsent(t *testing.T) (w *world, ids []string, r store.Replay) {
	t.Helper()
	w = newWorld(t)
	ids = w.newTasks(t, 5)
	w.publisher.refuse(true)
	run(t, w.replayer.Run)
	r = w.create(t, store.Plan{}, ids...)
	w.awaitReplay(t, r.ID, func(r *store.Replay) bool { return r.Counts.InFlight == 5 })
	return w, ids, r
}

// What could not be sent when the replay was cancelled is not sent later.
func TestWhatIsNotSentIsTakenBack(t *testing.T) {
	t.Parallel()
	w, ids, r := unsent(t)
	_, err := w.store.SteerReplay(t.Context(), store.Steering{ReplayID: r.ID, Action: store.SteerCancel})
	require.NoError(t, err)
	w.replayer.Wake()
	r = w.awaitReplay(t, r.ID, ended)
	require.Equal(t, store.ReplayCounts{Total: 5, Pending: 5}, r.Counts)
	for _, id := range ids {
		w.awaitState(t, id, store.StateOpen)
	}
	w.publisher.refuse(false)
	requireIntentsGone(t, w)
	w.awaitEvents(t, 0)
	require.Empty(t, w.broker.Drain(t, names.Work(taskType)))
}

// looking counts how often replays are looked at.
type looking struct {
	store.Store

	looks atomic.Int64
}

func (l *looking) Replay(ctx context.Context, id string) (store.Replay, error) {
	defer l.looks.Add(1)
	return l.Store.Replay(ctx, id)
}

// A broker that has not taken the messages yet when the replay is cancelled gets none.
func TestACancelStopsWhatIsAboutToBeSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.newTasks(t, 5)
	w.publisher.gate = make(chan struct{})
	cfg, looks := w.config(), &looking{Store: w.store}
	cfg.Store = looks
	w.replayer = replay.New(cfg)
	run(t, w.replayer.Run)
	r := w.create(t, store.Plan{}, ids...)
	w.awaitReplay(t, r.ID, func(r *store.Replay) bool { return r.Counts.InFlight == 5 })
	_, err := w.store.SteerReplay(t.Context(), store.Steering{ReplayID: r.ID, Action: store.SteerCancel})
	require.NoError(t, err)
	seen := looks.looks.Load()
	brokertest.Eventually(t, patience, func() bool {
		w.replayer.Wake()
		return looks.looks.Load() >= seen+3 // one of them began and ended after the cancellation, and was heeded
	})
	close(w.publisher.gate)
	r = w.awaitReplay(t, r.ID, ended)
	require.Equal(t, store.ReplayCounts{Total: 5, Pending: 5}, r.Counts)
	requireIntentsGone(t, w)
	w.awaitEvents(t, 0)
	require.Empty(t, w.broker.Drain(t, names.Work(taskType)))
}

func requireIntentsGone(t *testing.T, w *world) {
	t.Helper()
	w.awaitIntents(t, store.IntentPending, 0)
	w.awaitIntents(t, store.IntentPublished, 0)
}

// While it is paused nothing is sent, resumed it goes on.
func TestAPauseHoldsWhatIsNotSent(t *testing.T) {
	t.Parallel()
	w, _, r := unsent(t)
	steer := func(action store.SteerAction) {
		_, err := w.store.SteerReplay(t.Context(), store.Steering{ReplayID: r.ID, Action: action})
		require.NoError(t, err)
		w.replayer.Wake()
	}
	steer(store.SteerPause)
	w.publisher.refuse(false)
	w.awaitIntents(t, store.IntentPending, 0) // of a paused replay none is to be published
	w.awaitEvents(t, 0)
	steer(store.SteerResume)
	w.awaitIntents(t, store.IntentPublished, 5)
	require.Len(t, w.broker.Drain(t, names.Work(taskType)), 5)
	w.awaitEvents(t, 5)
}

// Another process goes on where the store says.
func TestAnotherProcessGoesOnWithAReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.newTasks(t, 12)
	r := w.create(t, store.Plan{}, ids...)
	set, err := w.store.ReplayMembers(t.Context(), r.ID)
	require.NoError(t, err)
	all, err := w.store.Candidates(t.Context(), set[:4])
	require.NoError(t, err)
	b := store.Begin{ReplayID: r.ID}
	for _, c := range all {
		b.Items = append(b.Items, store.BeginItem{
			Sequence: c.Sequence, DeadLetterID: c.DeadLetter.ID, Etag: c.DeadLetter.Etag, Verdict: store.VerdictReady, IntentID: task.NewID(), Run: 2, Revision: 1,
		})
	}
	_, _, err = w.store.BeginItems(t.Context(), b)
	require.NoError(t, err)
	// It was killed here: nothing of that is known to be published.
	run(t, w.newReplayer().Run)
	w.awaitIntents(t, store.IntentPublished, 12)
	resent := 0
	for _, m := range w.broker.Drain(t, names.Work(taskType)) {
		if headerOf(t, m).Resend {
			resent++
		}
	}
	require.Equal(t, 4, resent, "one may have been sent before")
	w.knowAll(ids, 2, taskv1.TaskState_TASK_STATE_SUCCEEDED)
	w.awaitReplay(t, r.ID, ended)
}

func TestAReplayWaitsForTheGateway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.newTasks(t, 3)
	w.gateway.set(func(g *gateway) { g.away = true })
	run(t, w.replayer.Run)
	r := w.create(t, store.Plan{}, ids...)
	brokertest.Eventually(t, patience, func() bool {
		w.gateway.mu.Lock()
		defer w.gateway.mu.Unlock()
		return w.gateway.asked > 0
	})
	require.EqualValues(t, 3, w.awaitReplay(t, r.ID, func(*store.Replay) bool { return true }).Counts.Pending)
	w.gateway.set(func(g *gateway) { g.away = false })
	w.awaitIntents(t, store.IntentPublished, 3)
}

// An earlier gateway knows no questions for many.
func TestAGatewayThatAnswersOneByOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.newTasks(t, 30)
	w.gateway.set(func(g *gateway) { g.single = true })
	run(t, w.replayer.Run)
	r := w.create(t, store.Plan{}, ids...)
	w.awaitIntents(t, store.IntentPublished, 30)
	w.knowAll(ids, 2, taskv1.TaskState_TASK_STATE_SUCCEEDED)
	w.awaitReplay(t, r.ID, ended)
}

func TestAnItemWithoutAQueueFailsAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := &broker.TaskMessage{ID: task.NewID(), Type: "acme.v1.ImageService.Gone", Run: 1, Priority: 4, CreateTime: time.Now()}
	w.die(t, m)
	run(t, w.replayer.Run)
	r := w.create(t, store.Plan{}, m.ID)
	r = w.awaitReplay(t, r.ID, ended)
	require.EqualValues(t, 1, r.Counts.FailedAgain)
	require.Equal(t, task.CauseUnroutable, w.awaitState(t, m.ID, store.StateOpen).Cause)
}

func TestADelayedReplayBeginsInItsTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.newTasks(t, 1)
	run(t, w.replayer.Run)
	r := w.create(t, store.Plan{Delay: 300 * time.Millisecond}, ids...)
	require.Equal(t, store.ReplayPending, r.State)
	begun := w.awaitReplay(t, r.ID, func(r *store.Replay) bool { return r.Counts.InFlight == 1 })
	require.False(t, begun.StartTime.Before(r.DueTime))
}

// ListWorkers implements [replay.Workers].
func (g *gateway) ListWorkers(context.Context, *adminv1.ListWorkersRequest, ...grpc.CallOption) (*adminv1.ListWorkersResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.away {
		return nil, status.Error(codes.Unavailable, "away")
	}
	return &adminv1.ListWorkersResponse{Workers: make([]*adminv1.Worker, g.workers)}, nil
}

// refuse has nothing sent.
func (p *publisher) refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = on
}

func (p *publisher) refused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refusing
}

// PublishTasks implements [replay.Publisher].
func (p *publisher) PublishTasks(ctx context.Context, ms []*broker.TaskMessage, outcome func(i int, err error), checks ...broker.Check) {
	if p.gate != nil {
		select {
		case <-p.gate:
		case <-ctx.Done():
		}
	}
	if !p.refused() {
		p.Publisher.PublishTasks(ctx, ms, outcome, checks...)
		return
	}
	for i := range ms {
		outcome(i, broker.ErrNotSent)
	}
}
