package api

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/warrenmq/warren/gen/warren/admin/v1"
	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/task"
	"github.com/warrenmq/warren/services/gateway/internal/queues"
	"github.com/warrenmq/warren/services/gateway/internal/store"
)

// noon is the time of all explanations here.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	explained = "0190a000-0000-7000-8000-000000000001"
	workerOne = "0190a000-0000-7000-8000-0000000000a1"
	workerTwo = "0190a000-0000-7000-8000-0000000000a2"
)

// standingAt is a situation that edits are made to: the task in a state for a minute, a
// live worker with a free slot, and an empty queue.
func standingAt(state task.State, edits ...func(*situation)) *situation {
	since := noon.Add(-time.Minute)
	s := &situation{
		now: noon,
		task: task.Task{
			ID: explained, Type: "acme.v1.X.Do", State: state, Run: 1, UpdateTime: since, CreateTime: since, Decided: task.Key{Run: 1, Attempt: 1},
		},
		options: &taskv1.TaskOptions{Timeout: durationpb.New(10 * time.Minute), Retry: &taskv1.RetryPolicy{MaxAttempts: 5}},
		fleet:   fleet{known: true, workers: []crew{liveCrew(workerOne)}},
		queue:   &queues.State{},
	}
	if state.Terminal() {
		s.task.EndTime, s.fleet, s.queue = since, fleet{}, nil
	}
	for _, edit := range edits {
		edit(s)
	}
	return s
}

func liveCrew(id string) crew {
	return crew{id: id, host: "host-1", version: "v1", state: adminv1.WorkerState_WORKER_STATE_LIVE, seen: noon.Add(-time.Second), slots: 4, running: 1}
}

func typePaused(until time.Time) func(*situation) {
	return func(s *situation) {
		s.control = &adminv1.TypeControl{Paused: true, PauseReason: "the disk is full", PauseTime: timestamppb.New(noon.Add(-time.Hour))}
		if !until.IsZero() {
			s.control.PauseUntil = timestamppb.New(until)
		}
	}
}

func withReady(n int) func(*situation) { return func(s *situation) { s.queue.Ready = n } }

func limitedTo(n int64, overflow taskv1.Overflow) func(*situation) {
	return func(s *situation) { s.options.QueueLimit = &taskv1.QueueLimit{MaxLength: n, Overflow: overflow} }
}

func crews(c ...crew) func(*situation) { return func(s *situation) { s.fleet.workers = c } }

// inState is a worker in a state.
func inState(state adminv1.WorkerState, note string) crew {
	c := liveCrew(workerOne)
	c.state, c.note = state, note
	return c
}

func expiresAt(at time.Time) func(*situation) {
	return func(s *situation) { s.task.ExpireTime = at }
}

// executed gives the task a history: a started attempt for each phase, which ended so.
func executed(phases ...task.Phase) func(*situation) {
	return func(s *situation) {
		for i, phase := range phases {
			at := noon.Add(-10*time.Minute + time.Duration(i)*time.Minute)
			key := task.Key{Run: s.task.Run, Attempt: i + 1, Delivery: int64(i + 1), Phase: task.PhaseStarted, Copy: task.Copy{1}}
			s.history = append(s.history, task.NumberedEvent{Event: task.Event{
				TaskID: explained, Key: key, Time: at, WorkerID: workerOne, Execution: &task.Execution{Host: "host-1", Version: "v1"},
			}})
			s.task.Attempt, s.task.StartTime = i+1, at
			if phase == task.PhaseStarted {
				continue
			}
			end := task.Event{TaskID: explained, Key: key, Time: at.Add(30 * time.Second), WorkerID: workerOne}
			end.Key.Phase = phase
			if phase == task.PhaseRetrying || phase == task.PhaseDeadLettered {
				end.Failure, end.Decision = unavailableFailure(), "attempt 1 of 5: UNAVAILABLE is retryable, next in 3.4 s"
				end.NextAttempt = i + 2
			}
			s.history = append(s.history, task.NumberedEvent{Event: end})
		}
		s.records = task.Records(s.history)
	}
}

func unavailableFailure() *task.Failure {
	return &task.Failure{Code: 14, Message: "no route to the printer", Kind: task.KindError}
}

func nextAttempt(at time.Time) func(*situation) {
	return func(s *situation) {
		executed(task.PhaseRetrying)(s)
		s.task.NextAttemptTime, s.task.Failure = at, unavailableFailure()
	}
}

func dueAt(at time.Time) func(*situation) {
	return func(s *situation) { s.task.ScheduleTime = at }
}

func beingCancelled(waits ...string) func(*situation) {
	return func(s *situation) {
		s.cancellation = &store.Cancellation{TaskID: explained, Run: 1, Reason: "not needed", Time: noon.Add(-4 * time.Second)}
		s.cancelWaits = waits
	}
}

func deadOf(cause task.Cause) func(*situation) {
	return func(s *situation) { s.task.Cause, s.task.Failure = cause, unavailableFailure() }
}

func TestSummaries(t *testing.T) {
	t.Parallel()
	const since = "2026-03-01T11:59:00Z, 60 s ago"
	busy := liveCrew(workerOne)
	busy.running = 4
	pausedCrew := liveCrew(workerOne)
	pausedCrew.paused = true
	silent := inState(adminv1.WorkerState_WORKER_STATE_SILENT, "")
	silent.seen = noon.Add(-12 * time.Second)
	for want, s := range map[string]*situation{
		"It waits in its queue: slots are free, it starts in a moment.":                                                                                                                                          standingAt(task.StateQueued, func(s *situation) { s.queue = nil }),
		"It waits in its queue: slots are free, and from 0 to 10 tasks are ahead of it.":                                                                                                                         standingAt(task.StateQueued, withReady(10)),
		"It waits in its queue; this gateway does not know its workers yet.":                                                                                                                                     standingAt(task.StateQueued, func(s *situation) { s.fleet = fleet{} }),
		"It waits in its queue: no worker of the type is live.":                                                                                                                                                  standingAt(task.StateQueued, crews()),
		"It waits in its queue: operators have paused acme.v1.X.Do since 2026-03-01T11:00:00Z (the disk is full).":                                                                                               standingAt(task.StateQueued, typePaused(time.Time{})),
		"It waits in its queue: operators have paused acme.v1.X.Do since 2026-03-01T11:00:00Z (the disk is full), until 2026-03-01T12:05:00Z, in 5 min, and no worker of the type is live.":                      standingAt(task.StateQueued, typePaused(noon.Add(5*time.Minute)), crews()),
		"It waits in its queue: operators have paused acme.v1.X.Do since 2026-03-01T11:00:00Z (the disk is full), and no worker of the type is live.":                                                            standingAt(task.StateQueued, typePaused(time.Time{}), crews()),
		"It waits in its queue: no worker of the type is live (worker " + workerOne + " on host-1 was last heard of 12 s ago).":                                                                                  standingAt(task.StateQueued, crews(silent)),
		"It waits in its queue: no live worker of the type takes tasks: worker " + workerOne + " on host-1 drains (an update).":                                                                                  standingAt(task.StateQueued, crews(inState(adminv1.WorkerState_WORKER_STATE_DRAINING, "an update"))),
		"It waits in its queue: no live worker of the type takes tasks: worker " + workerOne + " on host-1 takes none (its target is away).":                                                                     standingAt(task.StateQueued, crews(inState(adminv1.WorkerState_WORKER_STATE_PAUSED, "its target is away"))),
		"It waits in its queue: no live worker of the type takes tasks: worker " + workerOne + " on host-1 takes none.":                                                                                          standingAt(task.StateQueued, crews(pausedCrew)),
		"It waits in its queue: all 4 slots of its 1 worker are in use.":                                                                                                                                         standingAt(task.StateQueued, crews(busy)),
		"It waits in its queue: RabbitMQ has no queue for its type: somebody has deleted it, and its message with it.":                                                                                           standingAt(task.StateQueued, func(s *situation) { s.queue.Missing = true }),
		"It waits in its queue: its cancellation was asked for at 2026-03-01T11:59:56Z, 4 s ago (not needed) and is about to take effect.":                                                                       standingAt(task.StateQueued, beingCancelled()),
		"It waits in its queue: its cancellation was asked for at 2026-03-01T11:59:56Z, 4 s ago (not needed) and waits for: worker 1 has not answered for 4 s; worker 2 has not.":                                standingAt(task.StateQueued, beingCancelled("worker 1 has not answered for 4 s", "worker 2 has not")),
		"It waits in its queue: its expire time has passed, 2026-03-01T11:59:50Z, 10 s ago: no attempt starts any more, and it becomes a dead letter when its message is met.":                                   standingAt(task.StateQueued, expiresAt(noon.Add(-10*time.Second))),
		"It waits for its time, 2026-03-01T15:00:00Z, in 3 h.":                                                                                                                                                   standingAt(task.StateScheduled, dueAt(noon.Add(3*time.Hour))),
		"It waits for its time, 2026-03-04T12:00:00Z, in 3 days; as things stand, it would not start then: no worker of the type is live.":                                                                       standingAt(task.StateScheduled, dueAt(noon.Add(72*time.Hour)), crews()),
		"Its time came at 2026-03-01T11:59:58Z, 2 s ago, and the gateway is putting it into its queue.":                                                                                                          standingAt(task.StateScheduled, dueAt(noon.Add(-2*time.Second))),
		"Its time came at 2026-03-01T11:59:50Z, 10 s ago, and the gateway can't put it into its queue yet: its queue is at its limit of 5 waiting tasks, and all 4 slots of its 1 worker are in use.":            standingAt(task.StateScheduled, dueAt(noon.Add(-10*time.Second)), limitedTo(5, 0), withReady(5), crews(busy)),
		"Its time came at 2026-03-01T11:59:50Z, 10 s ago, and the gateway can't put it into its queue yet: RabbitMQ takes nothing from this gateway now.":                                                        standingAt(task.StateScheduled, dueAt(noon.Add(-10*time.Second)), func(s *situation) { s.queue, s.away = nil, true }),
		"Its time came at 2026-03-01T11:59:57Z, 3 s ago, and the gateway is putting it into its queue.":                                                                                                          standingAt(task.StateScheduled, dueAt(noon.Add(-3*time.Second)), limitedTo(5, 0), withReady(4), func(s *situation) { s.queue.Missing = true }),
		"Its time came at 2026-03-01T11:59:56Z, 4 s ago, and the gateway is putting it into its queue.":                                                                                                          standingAt(task.StateScheduled, dueAt(noon.Add(-4*time.Second)), limitedTo(5, taskv1.Overflow_OVERFLOW_DEAD_LETTER), withReady(5)),
		"It waits for its time, 2026-03-01T14:00:00Z, in 2 h.":                                                                                                                                                   standingAt(task.StateScheduled, dueAt(noon.Add(2*time.Hour)), limitedTo(5, 0), withReady(5)),
		"It waits for its next attempt, 2026-03-01T12:00:04Z, in 4 s, because the last one failed with UNAVAILABLE: no route to the printer.":                                                                    standingAt(task.StateRetrying, nextAttempt(noon.Add(4*time.Second))),
		"Its next attempt was due at 2026-03-01T11:59:55Z, 5 s ago, and it waits in its queue: all 4 slots of its 1 worker are in use.":                                                                          standingAt(task.StateRetrying, nextAttempt(noon.Add(-5*time.Second)), crews(busy)),
		"Attempt 1 runs on worker " + workerOne + " on host-1, since 2026-03-01T11:50:00Z, 10 min ago.":                                                                                                          standingAt(task.StateRunning, executed(task.PhaseStarted)),
		"Attempt 1 runs on worker " + workerOne + " on host-1, since 2026-03-01T11:50:00Z, 10 min ago; its handler says: half.":                                                                                  standingAt(task.StateRunning, executed(task.PhaseStarted), func(s *situation) { s.task.Progress = &task.ProgressReport{Message: "half"} }),
		"Attempt 1 was started on worker " + workerOne + " on host-1, which is not heard of any more, since 2026-03-01T11:50:00Z, 10 min ago.":                                                                   standingAt(task.StateRunning, executed(task.PhaseStarted), crews(silent)),
		"Attempt 1 runs on worker " + workerOne + " on host-1, since 2026-03-01T11:50:00Z, 10 min ago; its cancellation was asked for at 2026-03-01T11:59:56Z, 4 s ago (not needed) and waits for: its handler.": standingAt(task.StateRunning, executed(task.PhaseStarted), beingCancelled("its handler")),
		"Attempt 1 runs.": standingAt(task.StateRunning),
		"It SUCCEEDED at " + since + ", with attempt 2 of run 1.": standingAt(task.StateSucceeded, executed(task.PhaseRetrying, task.PhaseSucceeded)),
		"It was CANCELLED at " + since + " (not needed).":         standingAt(task.StateCancelled, func(s *situation) { s.task.CancelReason = "not needed" }),
		"It was CANCELLED at " + since + ".":                      standingAt(task.StateCancelled),
		"It is a dead letter since " + since + ": it failed in a way that no other attempt can cure (UNAVAILABLE: no route to the printer).": standingAt(task.StateDeadLettered, deadOf(task.CausePermanentFailure)),
		"Nothing is known of it but its progress.": standingAt(0),
	} {
		require.Equal(t, want, s.summary())
	}
}

// requireFact wants a fact of a kind and source whose text has that part.
func requireFact(t testing.TB, s *situation, kind taskv1.FactKind, source taskv1.FactSource, text string) {
	t.Helper()
	for _, f := range s.facts() {
		if f.Kind == kind && f.Source == source && strings.Contains(f.Text, text) {
			require.NotNil(t, f.Time, text)
			return
		}
	}
	t.Fatalf("no fact %s of %s with %q among %v", kind, source, text, s.facts())
}

const (
	fromStore      = taskv1.FactSource_FACT_SOURCE_STORE
	fromHeartbeats = taskv1.FactSource_FACT_SOURCE_HEARTBEATS
	fromBroker     = taskv1.FactSource_FACT_SOURCE_BROKER
	fromOptions    = taskv1.FactSource_FACT_SOURCE_OPTIONS
	fromOperator   = taskv1.FactSource_FACT_SOURCE_OPERATOR
)

func TestFactsNameTheirSource(t *testing.T) {
	t.Parallel()
	other := liveCrew(workerTwo)
	other.version = "v2"
	running := liveCrew(workerOne)
	running.has = true
	released := func(s *situation) { s.task.Decided = task.Key{Run: 1, Attempt: 2, Phase: task.PhaseReleased} }
	lost := func(s *situation) { s.task.Decided = task.Key{Run: 1, Attempt: 2, Phase: task.PhaseLost} }
	replayed := func(s *situation) {
		executed(task.PhaseRetrying, task.PhaseDeadLettered)(s)
		s.task.Run, s.task.Attempt = 2, 0
	}
	for _, c := range []struct {
		s      *situation
		kind   taskv1.FactKind
		source taskv1.FactSource
		text   string
	}{
		{standingAt(task.StateQueued), taskv1.FactKind_FACT_KIND_STATE, fromStore, "QUEUED since 2026-03-01T11:59:00Z"},
		{standingAt(task.StateQueued, released), taskv1.FactKind_FACT_KIND_STATE, fromStore, "a worker gave it back, attempt 2 is not spent"},
		{standingAt(task.StateQueued, lost), taskv1.FactKind_FACT_KIND_STATE, fromStore, "attempt 2 lost its connection"},
		{standingAt(task.StateQueued, replayed), taskv1.FactKind_FACT_KIND_STATE, fromStore, "run 2: it was replayed"},
		{standingAt(task.StateScheduled, func(s *situation) { s.task.ScheduleID = "nightly" }), taskv1.FactKind_FACT_KIND_STATE, fromStore, "by the schedule nightly"},
		{standingAt(task.StateQueued, withReady(3)), taskv1.FactKind_FACT_KIND_QUEUE, fromBroker, "3 tasks wait in its queue, and workers have fetched up to about 1 besides, so that from 0 to 3 are ahead of it"},
		{standingAt(task.StateQueued), taskv1.FactKind_FACT_KIND_QUEUE, fromBroker, "its queue is empty"},
		{standingAt(task.StateQueued), taskv1.FactKind_FACT_KIND_WORKERS, fromHeartbeats, "1 worker of its type is live, with 4 slots of which 1 is in use"},
		{standingAt(task.StateQueued, crews(liveCrew(workerOne), other)), taskv1.FactKind_FACT_KIND_WORKERS, fromHeartbeats, "2 workers of its type are live, with 8 slots of which 2 are in use"},
		{standingAt(task.StateQueued, crews(liveCrew(workerOne), other)), taskv1.FactKind_FACT_KIND_VERSION, fromHeartbeats, "v1 (1), v2 (1)"},
		{standingAt(task.StateQueued, crews()), taskv1.FactKind_FACT_KIND_NO_WORKER, fromHeartbeats, "no worker of the type is live"},
		{standingAt(task.StateQueued, typePaused(time.Time{})), taskv1.FactKind_FACT_KIND_PAUSED, fromOperator, "the disk is full"},
		{standingAt(task.StateQueued, crews(inState(adminv1.WorkerState_WORKER_STATE_PAUSED, "x"))), taskv1.FactKind_FACT_KIND_PAUSED, fromHeartbeats, "takes none (x)"},
		{standingAt(task.StateQueued, expiresAt(noon.Add(time.Hour))), taskv1.FactKind_FACT_KIND_EXPIRY, fromStore, "no attempt starts after 2026-03-01T13:00:00Z, in 60 min"},
		{standingAt(task.StateQueued, expiresAt(noon)), taskv1.FactKind_FACT_KIND_EXPIRY, fromStore, "its expire time has passed"},
		{standingAt(task.StateQueued, beingCancelled()), taskv1.FactKind_FACT_KIND_CANCELLATION, fromStore, "not needed"},
		{standingAt(task.StateQueued), taskv1.FactKind_FACT_KIND_POLICY, fromOptions, "its type allows 5 attempts of 10 min each"},
		{standingAt(task.StateQueued, func(s *situation) { yes := true; s.options.AtMostOnce = &yes }), taskv1.FactKind_FACT_KIND_POLICY, fromOptions, "runs at most once"},
		{standingAt(task.StateScheduled, dueAt(noon.Add(time.Hour))), taskv1.FactKind_FACT_KIND_TIME, fromStore, "it is put into its queue at 2026-03-01T13:00:00Z, in 60 min"},
		{standingAt(task.StateScheduled, dueAt(noon.Add(-time.Second))), taskv1.FactKind_FACT_KIND_TIME, fromStore, "its time came at 2026-03-01T11:59:59Z"},
		{standingAt(task.StateScheduled, dueAt(noon.Add(-time.Second)), limitedTo(5, 0), withReady(7)), taskv1.FactKind_FACT_KIND_QUEUE, fromBroker, "its queue is at its limit of 5 waiting tasks"},
		{standingAt(task.StateScheduled, dueAt(noon.Add(-time.Second)), limitedTo(5, 0), withReady(7)), taskv1.FactKind_FACT_KIND_TIME, fromStore, "puts it into its queue as soon as it can"},
		{standingAt(task.StateRetrying, nextAttempt(noon.Add(time.Hour))), taskv1.FactKind_FACT_KIND_TIME, fromStore, "its next attempt is due at 2026-03-01T13:00:00Z"},
		{standingAt(task.StateRetrying, nextAttempt(noon.Add(-time.Second))), taskv1.FactKind_FACT_KIND_TIME, fromStore, "its next attempt was due at 2026-03-01T11:59:59Z, 1 s ago"},
		{standingAt(task.StateRetrying, nextAttempt(noon)), taskv1.FactKind_FACT_KIND_POLICY, fromStore, "it was decided: attempt 1 of 5: UNAVAILABLE is retryable, next in 3.4 s"},
		{standingAt(task.StateRetrying, nextAttempt(noon)), taskv1.FactKind_FACT_KIND_ATTEMPTS, fromStore, "1 execution; the last that ended, attempt 1 on worker " + workerOne + " on host-1: FAILED at 2026-03-01T11:50:30Z with UNAVAILABLE: no route to the printer"},
		{standingAt(task.StateRunning, executed(task.PhaseStarted), crews(running)), taskv1.FactKind_FACT_KIND_WORKERS, fromHeartbeats, "host-1 runs it, as it said 1 s ago"},
		{standingAt(task.StateRunning, executed(task.PhaseStarted)), taskv1.FactKind_FACT_KIND_WORKERS, fromHeartbeats, "did not list it"},
		{standingAt(task.StateRunning, executed(task.PhaseStarted), crews(other)), taskv1.FactKind_FACT_KIND_WORKERS, fromHeartbeats, "is gone or not known"},
		{standingAt(task.StateRunning, executed(task.PhaseStarted)), taskv1.FactKind_FACT_KIND_TIME, fromOptions, "attempt 1 may take 10 min, until 2026-03-01T12:00:00Z"},
		{standingAt(task.StateSucceeded, executed(task.PhaseRetrying, task.PhaseSucceeded)), taskv1.FactKind_FACT_KIND_ATTEMPTS, fromStore, "2 executions; the last that ended, attempt 2"},
		{standingAt(task.StateCancelled), taskv1.FactKind_FACT_KIND_CANCELLATION, fromStore, "nobody said why"},
		{standingAt(task.StateCancelled, func(s *situation) { s.task.CancelReason, s.task.Failure = "x", unavailableFailure() }), taskv1.FactKind_FACT_KIND_CANCELLATION, fromStore, "it was cancelled: x; its handler ended with UNAVAILABLE"},
		{standingAt(task.StateDeadLettered, executed(task.PhaseDeadLettered), deadOf(task.CauseAttemptsExhausted)), taskv1.FactKind_FACT_KIND_POLICY, fromStore, "it was decided"},
	} {
		requireFact(t, c.s, c.kind, c.source, c.text)
	}
	require.Equal(t, taskv1.FactKind_FACT_KIND_STATE, standingAt(task.StateQueued, crews()).facts()[0].Kind)
	require.Equal(t, taskv1.FactKind_FACT_KIND_NO_WORKER, standingAt(task.StateQueued, crews()).facts()[1].Kind, "what keeps it comes next")
}

func TestEveryCauseIsExplained(t *testing.T) {
	t.Parallel()
	for cause := task.CauseAttemptsExhausted; cause <= task.CauseMaxLength; cause++ {
		require.NotEmpty(t, causeTexts[cause], cause)
		s := standingAt(task.StateDeadLettered, deadOf(cause))
		requireFact(t, s, taskv1.FactKind_FACT_KIND_DEAD_LETTER, fromStore, "of the cause "+cause.String()+": "+causeTexts[cause]+"; it failed with UNAVAILABLE")
		require.Contains(t, s.summary(), causeTexts[cause])
	}
}

func TestStartNotBefore(t *testing.T) {
	t.Parallel()
	at := noon.Add(time.Hour)
	for name, c := range map[string]struct {
		s    *situation
		want time.Time
	}{
		"queued":                {standingAt(task.StateQueued), time.Time{}},
		"scheduled":             {standingAt(task.StateScheduled, dueAt(at)), at},
		"overdue":               {standingAt(task.StateScheduled, dueAt(noon)), time.Time{}},
		"retrying":              {standingAt(task.StateRetrying, nextAttempt(at)), at},
		"paused until":          {standingAt(task.StateQueued, typePaused(at)), at},
		"paused for ever":       {standingAt(task.StateRetrying, nextAttempt(at), typePaused(time.Time{})), time.Time{}},
		"the later of both":     {standingAt(task.StateRetrying, nextAttempt(noon.Add(time.Minute)), typePaused(at)), at},
		"the pause ends before": {standingAt(task.StateRetrying, nextAttempt(at), typePaused(noon.Add(time.Minute))), at},
		"a pause that ended":    {standingAt(task.StateRetrying, nextAttempt(at), typePaused(noon.Add(-time.Minute))), at},
		"cancelled":             {standingAt(task.StateRetrying, nextAttempt(at), beingCancelled()), time.Time{}},
		"expires before":        {standingAt(task.StateRetrying, nextAttempt(at), expiresAt(at)), time.Time{}},
		"running":               {standingAt(task.StateRunning), time.Time{}},
		"ended":                 {standingAt(task.StateSucceeded), time.Time{}},
	} {
		got := c.s.startNotBefore()
		if c.want.IsZero() {
			require.Nil(t, got, name)
			continue
		}
		require.True(t, c.want.Equal(got.AsTime()), name)
	}
}

func TestPositions(t *testing.T) {
	t.Parallel()
	position := func(edits ...func(*situation)) *taskv1.QueuePosition {
		return standingAt(task.StateQueued, edits...).position()
	}
	require.EqualValues(t, 10, position(withReady(10)).AtMost, "nine others are ready, and one is fetched")
	require.EqualValues(t, 1, position().AtMost)
	require.EqualValues(t, 0, position(crews()).AtMost)
	require.Nil(t, position(func(s *situation) { s.queue = nil }))
	require.Nil(t, position(func(s *situation) { s.queue.Missing = true }))
	require.Nil(t, position(func(s *situation) { s.fleet.known = false }))
	require.Nil(t, standingAt(task.StateRunning).position())
}

func TestActionsAreCalls(t *testing.T) {
	t.Parallel()
	busy := liveCrew(workerOne)
	busy.running = 4
	cancel := `cancel it: warren.task.v1.TaskService/CancelTask {"task_id":"` + explained + `","reason":"WHY"}`
	for name, c := range map[string]struct {
		s    *situation
		want []string
	}{
		"queued": {standingAt(task.StateQueued), []string{cancel}},
		"paused": {standingAt(task.StateQueued, typePaused(time.Time{})), []string{
			`let its type run again: warren.admin.v1.AdminService/ResumeTaskType {"task_type":"acme.v1.X.Do","reason":"WHY"}`, cancel,
		}},
		"nobody works": {standingAt(task.StateQueued, crews()), []string{
			`start a worker that serves acme.v1.X.Do, and see that it is there: warren.admin.v1.AdminService/ListWorkers {"task_type":"acme.v1.X.Do"}`, cancel,
		}},
		"busy": {standingAt(task.StateQueued, crews(busy)), []string{
			`give each worker more slots: warren.admin.v1.AdminService/UpdateConcurrency {"task_type":"acme.v1.X.Do","concurrency":8,"reason":"WHY"}`, cancel,
		}},
		"scheduled": {standingAt(task.StateScheduled, dueAt(noon.Add(time.Hour))), []string{
			`run it now: warren.task.v1.TaskService/RunTaskNow {"task_id":"` + explained + `","reason":"WHY"}`, cancel,
		}},
		"running": {standingAt(task.StateRunning, executed(task.PhaseStarted)), []string{
			`see what its worker does: warren.admin.v1.AdminService/GetWorker {"worker_id":"` + workerOne + `"}`, cancel,
		}},
		"being cancelled": {standingAt(task.StateQueued, beingCancelled()), nil},
		"succeeded":       {standingAt(task.StateSucceeded), nil},
		"dead": {standingAt(task.StateDeadLettered), []string{
			`look at the dead letter: warren.deadletter.v1.DeadLetterService/GetDeadLetter {"dead_letter_id":"` + explained + `"}`,
			`run it again, once what made it fail is mended: warren.deadletter.v1.DeadLetterService/ReplayDeadLetter {"dead_letter_id":"` + explained + `","reason":"WHY"}`,
			`give it up for good: warren.deadletter.v1.DeadLetterService/DiscardDeadLetter {"dead_letter_id":"` + explained + `","reason":"WHY"}`,
		}},
	} {
		require.Equal(t, c.want, c.s.actions(), name)
	}
}

func TestSpans(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"0 ms": -time.Second, "999 ms": 999 * time.Millisecond, "90 s": 90 * time.Second, "119 min": 119 * time.Minute, "47 h": 47 * time.Hour, "2 days": 48 * time.Hour,
	} {
		require.Equal(t, want, span(d))
	}
}

func TestLongFailuresAreCut(t *testing.T) {
	t.Parallel()
	text := failureText(&task.Failure{Code: 2, Message: strings.Repeat("ä", maxFailureText)})
	require.LessOrEqual(t, len(text), maxFailureText+len("UNKNOWN: …"))
	require.True(t, strings.HasSuffix(text, "…"))
	require.Equal(t, "code 99", failureText(&task.Failure{Code: 99}))
	require.Empty(t, failureText(nil))
}
