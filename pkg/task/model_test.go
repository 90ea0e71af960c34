package task_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	taskv1 "github.com/warrenmq/warren/gen/warren/task/v1"
	"github.com/warrenmq/warren/pkg/policy"
	"github.com/warrenmq/warren/pkg/task"
)

// The model is one task on its way: its messages in the broker, workers that
// crash, lose their connection or are slow, a status queue, and a store that is
// away at times. The join, the start decision and the policy are the real ones.
// Each action is one border at which something can be lost.

// message is one message of the task in its queue.
type message struct {
	run    int
	copy   task.Copy
	resend bool
	// What the broker counts, and what settlements have noted.
	acquired, failed         int64
	attempt                  int
	settledCount, settledAcq int64
	putOffFrom, putOffTo     int64
	alone                    bool
	ignored                  int
	due                      time.Time
	held                     *execution
	gone, dead               bool
}

type phase int

const (
	received phase = iota
	running
	reporting
	reported
	finished
)

// execution is what a worker does with one delivery.
type execution struct {
	m        *message
	worker   *modelWorker
	delivery int64
	attempt  int
	failed   int64
	settled  int64
	alone    bool
	phase    phase
	// lost: the connection that could settle it is gone.
	lost   bool
	settle func(*message)
	// pending is the outcome that is not confirmed yet.
	pending *task.Event
}

// modelWorker is a process; what it has written and is not confirmed goes with it.
type modelWorker struct {
	id      string
	written []task.Event
}

type model struct {
	t      *rapid.T
	now    time.Time
	rules  policy.Policy
	max    int
	once   bool
	killer bool

	messages []*message
	workers  [2]*modelWorker
	busy     []*execution
	status   []task.Event

	row     *task.Task
	history []task.NumberedEvent
	claims  map[int]*task.Claim

	accepted bool
	starts   map[[2]int][]task.Copy
}

// TestMain has the model go through more cases than is the default.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("2000"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func TestPromisesOfTheModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"submit again":    m.resubmit,
			"deliver":         m.deliver,
			"go on":           m.step,
			"confirm":         m.confirm,
			"apply":           m.apply,
			"lose connection": m.loseConnection,
			"crash":           m.crash,
			"days pass":       func(*rapid.T) { m.now = m.now.Add(24 * time.Hour) },
		})
		m.drain()
		m.check()
	})
}

func newModel(t *rapid.T) *model {
	m := &model{
		t: t, now: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC), max: rapid.IntRange(1, 4).Draw(t, "max attempts"),
		once: rapid.IntRange(0, 3).Draw(t, "at most once") == 0, claims: map[int]*task.Claim{}, starts: map[[2]int][]task.Copy{},
	}
	o := &taskv1.TaskOptions{Retry: &taskv1.RetryPolicy{
		MaxAttempts: int32(m.max), Backoff: &taskv1.Backoff{Kind: &taskv1.Backoff_Fixed{Fixed: durationpb.New(time.Second)}}, Budget: durationpb.New(90 * 24 * time.Hour),
	}}
	if m.once {
		m.max, o.Retry, o.AtMostOnce = 1, nil, &m.once
	}
	m.killer = !m.once && rapid.IntRange(0, 4).Draw(t, "killer") == 0
	var err error
	m.rules, err = policy.Compile(policy.Effective(o, nil, nil))
	require.NoError(t, err)
	for i := range m.workers {
		m.workers[i] = &modelWorker{id: fmt.Sprint("w", i)}
	}
	// A run that is a replay asks for every start.
	run := rapid.IntRange(1, 2).Draw(t, "run")
	m.publish(run, false, rapid.Bool().Draw(t, "the first confirm is lost"))
	return m
}

// publish puts a message into the queue. A client whose confirm was lost has not
// been answered OK: it may submit again.
func (m *model) publish(run int, resend, unknown bool) {
	msg := &message{run: run, copy: task.NewCopy(), resend: resend, attempt: 1, due: m.now}
	m.messages = append(m.messages, msg)
	if unknown {
		return
	}
	m.accepted = true
	m.status = append(m.status, m.event(msg, 1, 0, task.PhaseQueued))
}

func (m *model) resubmit(t *rapid.T) {
	if m.accepted || len(m.messages) > 3 {
		t.Skip("answered")
	}
	m.publish(m.messages[0].run, true, rapid.Bool().Draw(t, "confirm lost"))
}

func (m *model) event(msg *message, attempt int, delivery int64, p task.Phase) task.Event {
	return task.Event{
		TaskID: "0190b5ae-0000-7000-8000-000000000000", Type: "a.v1.A.B", Time: m.now,
		Key: task.Key{Run: msg.run, Attempt: attempt, Delivery: delivery, Phase: p, Copy: msg.copy},
	}
}

func (m *model) ready() []*message {
	var ready []*message
	for _, msg := range m.messages {
		if !msg.gone && msg.held == nil {
			ready = append(ready, msg)
		}
	}
	return ready
}

func (m *model) deliver(t *rapid.T) {
	ready := m.ready()
	if len(ready) == 0 {
		t.Skip("nothing waits")
	}
	msg := rapid.SampledFrom(ready).Draw(t, "message")
	m.hand(msg, m.workers[rapid.IntRange(0, 1).Draw(t, "worker")])
}

// hand delivers a message, when it is due.
func (m *model) hand(msg *message, w *modelWorker) {
	if m.now.Before(msg.due) {
		m.now = msg.due
	}
	msg.acquired++
	x := &execution{
		m: msg, worker: w, delivery: msg.acquired, attempt: msg.attempt, failed: msg.failed - msg.settledCount, settled: msg.settledAcq,
	}
	msg.held = x
	m.busy = append(m.busy, x)
}

func (m *model) step(t *rapid.T) {
	if len(m.busy) == 0 {
		t.Skip("nothing runs")
	}
	m.advance(rapid.SampledFrom(m.busy).Draw(t, "execution"))
}

// advance does the next step of an execution.
func (m *model) advance(x *execution) {
	switch x.phase {
	case received:
		m.admit(x)
	case running:
		m.finish(x)
	case reported:
		m.settle(x)
	}
	m.busy = slices.DeleteFunc(m.busy, func(x *execution) bool { return x.phase == finished })
}

// admit is what a worker does before it starts a handler.
func (m *model) admit(x *execution) {
	if x.lost {
		m.write(x, m.event(x.m, x.attempt, x.delivery, task.PhaseLost))
		x.phase = finished
		return
	}
	crashes := 0
	asks := x.m.resend || x.m.run > 1 || x.failed > 0 || m.once
	if asks {
		// What this worker had written is confirmed, then all is applied.
		m.confirmAll(x.worker)
		m.applyAll()
		a := m.ask(x)
		switch a.Verdict {
		case task.VerdictDrop:
			m.decided(x, nil, func(msg *message) { msg.gone = true })
			return
		case task.VerdictRepeat:
			m.decided(x, nil, settlementOf(*a.Outcome, m))
			return
		case task.VerdictGiveUp:
			e := m.event(x.m, x.attempt, x.delivery, task.PhaseDeadLettered)
			e.Cause, e.Failure = task.CauseDeliveryLimit, &task.Failure{Code: 10}
			m.decided(x, &e, settlementOf(e, m))
			return
		}
		if a.Crashed != nil {
			e := m.event(x.m, a.Crashed.Key.Attempt, a.Crashed.Key.Delivery, task.PhaseRetrying)
			m.end(x, e, &task.Failure{Code: 13, Kind: task.KindCrash}, 0)
			return
		}
		crashes = a.Crashes
	}
	x.alone = x.m.alone || crashes >= 2
	e := m.event(x.m, x.attempt, x.delivery, task.PhaseStarted)
	e.Execution = &task.Execution{Redelivered: x.failed > 0 || x.m.resend && x.m.run == 1, Alone: x.alone}
	m.write(x, e)
	if x.alone || asks {
		m.confirmAll(x.worker)
	}
	key := [2]int{x.m.run, x.attempt}
	m.starts[key] = append(m.starts[key], x.m.copy)
	require.LessOrEqual(m.t, x.attempt, m.max, "no attempt above the policy's")
	x.phase = running
	if m.killer {
		m.kill(x.worker)
	}
}

func (m *model) ask(x *execution) task.StartAnswer {
	r := task.StartRequest{
		RequestID: fmt.Sprint(x.m.copy, x.delivery), TaskID: "t", Run: x.m.run, Attempt: x.attempt, Copy: x.m.copy,
		Delivery: x.delivery, SettledDelivery: x.settled, Failed: x.failed, Resend: x.m.resend, AtMostOnce: m.once,
		PutOffFrom: x.m.putOffFrom, PutOffTo: x.m.putOffTo,
	}
	answer, claim := task.DecideStart(r, m.row, m.history, m.claims[x.m.run])
	m.claims[x.m.run] = &claim
	return answer
}

// finish is the handler's return.
func (m *model) finish(x *execution) {
	how := rapid.IntRange(0, 5).Draw(m.t, "how it ends")
	switch {
	case how == 0:
		e := m.event(x.m, x.attempt, x.delivery, task.PhaseSucceeded)
		m.decided(x, &e, settlementOf(e, m))
	case x.lost:
		e := m.event(x.m, x.attempt, x.delivery, task.PhaseLost)
		m.decided(x, &e, nil)
	case how == 5:
		m.notBegun(x)
	case how == 1:
		m.end(x, m.event(x.m, x.attempt, x.delivery, task.PhaseRetrying), &task.Failure{Code: 5}, 0)
	case how == 2:
		m.end(x, m.event(x.m, x.attempt, x.delivery, task.PhaseRetrying), nil, task.AdviceSnooze)
	default:
		m.end(x, m.event(x.m, x.attempt, x.delivery, task.PhaseRetrying), &task.Failure{Code: 14}, 0)
	}
}

// notBegun is a handler that could not begin: its start counts for nothing.
func (m *model) notBegun(x *execution) {
	key := [2]int{x.m.run, x.attempt}
	i := slices.Index(m.starts[key], x.m.copy)
	m.starts[key] = slices.Delete(m.starts[key], i, i+1)
	e := m.event(x.m, x.attempt, x.delivery, task.PhaseReleased)
	e.Decision = "not begun"
	m.decided(x, &e, func(msg *message) {
		if msg.putOffTo != msg.acquired-1 {
			msg.putOffFrom = msg.acquired
		}
		msg.putOffTo, msg.due = msg.acquired, m.now.Add(time.Second)
	})
}

// end has the policy decide what follows a failure.
func (m *model) end(x *execution, e task.Event, f *task.Failure, advice task.Advice) {
	d := m.rules.Decide(policy.Attempt{
		Number: e.Key.Attempt, Ignored: x.m.ignored, RunTime: m.now.Add(-time.Hour), Now: m.now, Failure: f, Advice: advice, Delay: time.Second,
	})
	e.Failure, e.Decision = f, d.Why
	if d.Retry {
		e.NextAttempt, e.NextAttemptTime = d.NextAttempt, d.At
	} else {
		e.Key.Phase, e.Cause = task.PhaseDeadLettered, d.Cause
	}
	m.decided(x, &e, settlementOf(e, m))
}

// settlementOf is how an outcome is settled.
func settlementOf(e task.Event, m *model) func(*message) {
	return func(msg *message) {
		switch e.Key.Phase {
		case task.PhaseRetrying:
			if e.NextAttempt == e.Key.Attempt {
				msg.ignored++
			}
			msg.attempt, msg.due = e.NextAttempt, e.NextAttemptTime
			msg.settledCount, msg.settledAcq = msg.failed, msg.acquired
			msg.alone = e.Failure != nil && e.Failure.Kind == task.KindCrash
			msg.held = nil
		case task.PhaseDeadLettered:
			msg.gone, msg.dead = true, true
		default:
			msg.gone = true
		}
	}
}

// decided writes the outcome; it is settled once that is confirmed.
func (m *model) decided(x *execution, e *task.Event, settle func(*message)) {
	x.settle = settle
	if e == nil {
		x.phase = reported
		return
	}
	x.pending, x.phase = e, reporting
	m.write(x, *e)
}

func (m *model) settle(x *execution) {
	x.phase = finished
	if x.lost || x.settle == nil {
		return
	}
	x.settle(x.m)
	x.m.held = nil
}

func (m *model) write(x *execution, e task.Event) { x.worker.written = append(x.worker.written, e) }

func (m *model) confirm(t *rapid.T) {
	w := m.workers[rapid.IntRange(0, 1).Draw(t, "worker")]
	if len(w.written) == 0 {
		t.Skip("nothing is written")
	}
	m.confirmOne(w)
}

func (m *model) confirmOne(w *modelWorker) {
	e := w.written[0]
	w.written = w.written[1:]
	m.status = append(m.status, e)
	if rapid.IntRange(0, 9).Draw(m.t, "published twice") == 0 {
		m.status = append(m.status, e)
	}
	for _, x := range m.busy {
		if x.worker == w && x.phase == reporting && x.pending.Key == e.Key {
			x.phase = reported
		}
	}
}

func (m *model) confirmAll(w *modelWorker) {
	for len(w.written) > 0 {
		m.confirmOne(w)
	}
}

func (m *model) apply(t *rapid.T) {
	if len(m.status) == 0 {
		t.Skip("the status queue is empty")
	}
	m.applyOne()
}

func (m *model) applyOne() {
	e := m.status[0]
	m.status = m.status[1:]
	if slices.ContainsFunc(m.history, func(h task.NumberedEvent) bool { return h.Key == e.Key }) {
		return
	}
	if m.row == nil {
		m.row = &task.Task{}
	}
	before := *m.row
	a := m.row.Apply(&e)
	require.EqualValues(m.t, len(m.history)+1, a.Number, "numbers have no gap")
	m.history = append(m.history, task.NumberedEvent{Event: e, Applied: a})
	if before.State.Terminal() && before.Run == m.row.Run && before.State != m.row.State {
		require.True(m.t, a.Correction, "%v became %v without a word", before.State, m.row.State)
	}
}

func (m *model) applyAll() {
	for len(m.status) > 0 {
		m.applyOne()
	}
}

// loseConnection cuts a worker off: what it holds is delivered again, and it
// goes on with what it has begun.
func (m *model) loseConnection(t *rapid.T) {
	w := m.workers[rapid.IntRange(0, 1).Draw(t, "worker")]
	for _, x := range m.busy {
		if x.worker == w && !x.lost {
			x.lost = true
			m.returned(x)
		}
	}
}

func (m *model) returned(x *execution) {
	if x.m.held == x {
		x.m.held = nil
		x.m.failed++
	}
}

func (m *model) crash(t *rapid.T) { m.kill(m.workers[rapid.IntRange(0, 1).Draw(t, "worker")]) }

func (m *model) kill(w *modelWorker) {
	for _, x := range m.busy {
		if x.worker == w {
			if !x.lost {
				m.returned(x)
			}
			x.phase = finished
		}
	}
	w.written = nil
	m.busy = slices.DeleteFunc(m.busy, func(x *execution) bool { return x.phase == finished })
}

// drain lets everything end without further mishaps, but those of the task.
func (m *model) drain() {
	for i := 0; ; i++ {
		require.Less(m.t, i, 5000, "it goes on for ever")
		for _, w := range m.workers {
			m.confirmAll(w)
		}
		if len(m.busy) > 0 {
			m.advance(m.busy[0])
			continue
		}
		if ready := m.ready(); len(ready) > 0 {
			m.hand(ready[0], m.workers[0])
			continue
		}
		m.applyAll()
		return
	}
}

func (m *model) check() {
	run := m.messages[0].run
	require.NotNil(m.t, m.row)
	// Promise 1: it has ended, and a dead one is in the dead-letter queue.
	require.True(m.t, m.row.State.Terminal(), "it ends as %v: %v", m.row.State, keys(m.history))
	dead := slices.ContainsFunc(m.messages, func(msg *message) bool { return msg.dead })
	if m.row.State == task.StateDeadLettered {
		require.True(m.t, dead, "dead, and not in the dead-letter queue: %v", keys(m.history))
	}
	// Promise 2: further executions are marked.
	extra := 0
	for _, r := range task.Records(m.history) {
		if r.Extra {
			extra++
		}
	}
	for key, copies := range m.starts {
		ignored := 0
		for _, e := range m.history {
			if e.Key.Phase == task.PhaseRetrying && e.Key.Attempt == key[1] && e.NextAttempt == key[1] {
				ignored++
			}
		}
		if again := len(copies) - 1 - ignored; again > 0 {
			require.NotZero(m.t, extra, "attempt %v was started %d times and none is marked: %v", key, len(copies), keys(m.history))
		}
		if m.once {
			require.LessOrEqual(m.t, len(copies), 1, "at most once")
		}
		if run > 1 {
			for _, c := range copies {
				require.Equal(m.t, m.claims[run].Copy, c, "only the message that holds the run is started")
			}
		}
	}
}

func keys(history []task.NumberedEvent) []string {
	var all []string
	for _, e := range history {
		all = append(all, fmt.Sprintf("%v/%d.%d.%d %v", e.State, e.Key.Run, e.Key.Attempt, e.Key.Delivery, e.Key.Phase))
	}
	return all
}
