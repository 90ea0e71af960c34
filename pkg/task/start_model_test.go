package task

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A run may have several messages, which the broker hands over again and again,
// whose workers die, go on after they were cut off, get no answer or get one too
// late. Whatever happens:
//
//   - at most one message gets START; of a type that runs at most once, once,
//     unless the worker that was permitted has settled the message, or has said
//     that its handler was not begun;
//   - none is given up of which nothing can have been begun;
//   - an attempt that was decided is not started again by the same message;
//   - no message is the last to be dropped before the run has ended.
func TestStartsOfAnyRun(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newStartModel(rapid.Bool().Draw(t, "at most once"))
		t.Repeat(map[string]func(*rapid.T){
			"ask":           w.asks,
			"ask in vain":   w.asksInVain,
			"ask late":      w.asksLate,
			"start unasked": w.startsUnasked,
			"finish":        w.finishes,
			"give back":     w.givesBack,
			"pass on":       w.passesOn,
			"not begin":     w.doesNotBegin,
			"die":           w.dies,
			"go on":         w.goesOn,
			"resend":        w.resends,
			"":              w.check,
		})
		w.goToTheEnd(t)
	})
}

// startModel is a run of a task with all its messages and workers.
type startModel struct {
	once     bool
	events   []Event
	claim    *Claim
	messages []*message
	// asked are all requests, permits those that got START.
	asked, permits []StartRequest
	// lost are deliveries whose workers were cut off, and may go on.
	lost []Key
	// settled are deliveries that their workers have settled, or have said that
	// nothing was begun.
	settled map[Key]bool
}

// message is one in the queue, or in the hands of a worker.
type message struct {
	copy                      Copy
	resend                    bool
	attempt                   int
	delivery, settled, failed int64
	taken, started, gone      bool
	putOffFrom, putOffTo      int64
}

func newStartModel(once bool) *startModel {
	return &startModel{once: once, messages: []*message{{copy: Copy{1}, attempt: 1}}, settled: map[Key]bool{}}
}

func (m *message) key(phase Phase) Key {
	return Key{Run: 1, Attempt: m.attempt, Delivery: m.delivery, Phase: phase, Copy: m.copy}
}

// some picks a message; nil if there is none.
func (w *startModel) some(t *rapid.T, which func(*message) bool) *message {
	var found []*message
	for _, m := range w.messages {
		if !m.gone && which(m) {
			found = append(found, m)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found[rapid.IntRange(0, len(found)-1).Draw(t, "message")]
}

func waiting(m *message) bool   { return !m.taken }
func taken(m *message) bool     { return m.taken }
func executing(m *message) bool { return m.taken && m.started }

func (m *message) take() {
	m.delivery++
	m.taken, m.started = true, false
}

func (w *startModel) request(m *message) StartRequest {
	r := StartRequest{
		RequestID: fmt.Sprintf("%x-%d", m.copy[0], m.delivery), TaskID: testID, Type: testType, Run: 1, Attempt: m.attempt, Copy: m.copy,
		Delivery: m.delivery, SettledDelivery: m.settled, Failed: m.failed, Resend: m.resend, AtMostOnce: w.once,
		PutOffFrom: m.putOffFrom, PutOffTo: m.putOffTo,
	}
	w.asked = append(w.asked, r)
	return r
}

func (w *startModel) decide(t *rapid.T, r StartRequest) StartAnswer {
	known, history := knownOf(w.events)
	answer, held := DecideStart(r, known, history, w.claim)
	if w.claim != nil {
		require.Equal(t, w.claim.Copy, held.Copy, "a claim never changes hands")
	}
	w.claim = &held
	again, same := DecideStart(r, known, history, w.claim)
	require.Equal(t, answer, again)
	require.Equal(t, held, same)
	w.checkAnswer(t, r, answer)
	return answer
}

func (w *startModel) checkAnswer(t *rapid.T, r StartRequest, a StartAnswer) {
	if a.Crashed != nil {
		require.Positive(t, a.Crashes)
		require.True(t, a.Crashed.Execution.Alone)
		require.Equal(t, r.Copy, a.Crashed.Key.Copy)
		require.Less(t, a.Crashed.Key.Delivery, r.Delivery)
	}
	require.LessOrEqual(t, int64(a.Crashes), r.Failed)
	require.Equal(t, a.Verdict == VerdictRepeat, a.Outcome != nil)
	switch a.Verdict {
	case VerdictRepeat:
		require.Equal(t, r.Copy, a.Outcome.Key.Copy)
		require.True(t, a.Outcome.Key.Phase == PhaseRetrying || a.Outcome.Key.Phase.State().Terminal())
	case VerdictStart:
		w.checkStart(t, r)
		w.permits = append(w.permits, r)
	case VerdictGiveUp:
		require.True(t, w.once)
		require.True(t, slices.ContainsFunc(w.permits, func(p StartRequest) bool {
			return p.Delivery > r.Delivery || !w.settled[deliveryKey(p.Copy, p.Delivery)]
		}), "given up, and nothing was begun")
	}
}

func (w *startModel) checkStart(t *rapid.T, r StartRequest) {
	require.False(t, w.ended())
	for _, p := range w.permits {
		require.Equal(t, p.Copy, r.Copy)
		if w.once && p.RequestID != r.RequestID {
			require.True(t, w.settled[deliveryKey(p.Copy, p.Delivery)], "permitted to %s and to %s", p.RequestID, r.RequestID)
		}
	}
	for _, e := range w.events {
		decided := e.Key.Phase == PhaseRetrying && e.NextAttempt > e.Key.Attempt
		if decided && e.Key.Copy == r.Copy && e.Key.Delivery < r.Delivery {
			require.NotEqual(t, r.Attempt, e.Key.Attempt, "attempt %d was decided", r.Attempt)
		}
	}
}

func deliveryKey(c Copy, delivery int64) Key { return Key{Copy: c, Delivery: delivery} }

func (w *startModel) ended() bool {
	known, _ := knownOf(w.events)
	return known != nil && known.State.Terminal()
}

func (w *startModel) say(e Event) { w.events = append(w.events, e) }

// asks has a worker take a message and do as it is answered.
func (w *startModel) asks(t *rapid.T) {
	m := w.some(t, waiting)
	if m == nil {
		return
	}
	m.take()
	w.obey(t, m, w.decide(t, w.request(m)))
}

func (w *startModel) obey(t *rapid.T, m *message, a StartAnswer) {
	switch a.Verdict {
	case VerdictStart:
		w.start(t, m)
	case VerdictDrop:
		m.gone = true
	case VerdictRepeat:
		w.settle(m, *a.Outcome)
	case VerdictGiveUp:
		e := event(m.key(PhaseDeadLettered))
		w.say(e)
		w.settle(m, e)
	}
}

func (w *startModel) start(t *rapid.T, m *message) {
	m.started = true
	e := event(m.key(PhaseStarted))
	e.Execution.Alone = rapid.Bool().Draw(t, "alone")
	w.say(e)
}

// settle ends a delivery as its outcome says.
func (w *startModel) settle(m *message, outcome Event) {
	w.settled[deliveryKey(m.copy, m.delivery)] = true
	if outcome.Key.Phase != PhaseRetrying {
		m.gone = true
		return
	}
	m.taken, m.settled, m.failed = false, m.delivery, 0
	m.attempt = outcome.NextAttempt
}

func (m *message) putOff() {
	if m.putOffTo != m.delivery-1 {
		m.putOffFrom = m.delivery
	}
	m.taken, m.putOffTo = false, m.delivery
}

// asksInVain has a worker take a message and get no answer.
func (w *startModel) asksInVain(t *rapid.T) {
	m := w.some(t, waiting)
	if m == nil {
		return
	}
	m.take()
	w.request(m)
	if !w.once && !rapid.Bool().Draw(t, "replay") {
		w.start(t, m)
		return
	}
	if w.once {
		w.say(notBegun(event(m.key(PhaseReleased))))
	}
	w.settled[deliveryKey(m.copy, m.delivery)] = true
	if rapid.Bool().Draw(t, "settles") {
		m.putOff()
	} else {
		m.lose()
	}
}

// passesOn has a worker take a message and release it unstarted, or lose it.
func (w *startModel) passesOn(t *rapid.T) {
	m := w.some(t, waiting)
	if m == nil {
		return
	}
	m.take()
	if rapid.Bool().Draw(t, "settles") {
		m.taken = false
	} else {
		m.lose()
	}
}

// asksLate has an earlier request be answered, once more or for the first time.
func (w *startModel) asksLate(t *rapid.T) {
	if len(w.asked) > 0 {
		w.decide(t, rapid.SampledFrom(w.asked).Draw(t, "request"))
	}
}

// startsUnasked has a worker start what it need not ask about.
func (w *startModel) startsUnasked(t *rapid.T) {
	m := w.some(t, func(m *message) bool { return waiting(m) && !w.once && !m.resend && m.failed == 0 })
	if m != nil {
		m.take()
		w.start(t, m)
	}
}

// finishes has a worker say how an execution ended, and settle unless it dies.
func (w *startModel) finishes(t *rapid.T) {
	m := w.some(t, executing)
	if m == nil {
		return
	}
	e := w.outcome(t, m.key(0))
	w.say(e)
	if rapid.Bool().Draw(t, "settles") {
		w.settle(m, e)
	} else {
		m.lose()
	}
}

func (w *startModel) outcome(t *rapid.T, k Key) Event {
	k.Phase = rapid.SampledFrom([]Phase{PhaseRetrying, PhaseRetrying, PhaseRetrying, PhaseDeadLettered, PhaseSucceeded}).Draw(t, "outcome")
	if w.once && k.Phase == PhaseRetrying {
		k.Phase = PhaseDeadLettered
	}
	e := event(k)
	if k.Phase == PhaseRetrying {
		e.NextAttempt = k.Attempt + rapid.IntRange(0, 1).Draw(t, "spent")
	}
	return e
}

func (m *message) lose() {
	m.taken = false
	m.failed++
}

func (w *startModel) givesBack(t *rapid.T) {
	m := w.some(t, taken)
	if m == nil {
		return
	}
	if m.started {
		w.say(event(m.key(PhaseReleased)))
	}
	m.taken = false
}

// doesNotBegin has a worker say that its handler could not begin, and put the
// message off unless it dies.
func (w *startModel) doesNotBegin(t *rapid.T) {
	m := w.some(t, executing)
	if m == nil {
		return
	}
	w.say(notBegun(event(m.key(PhaseReleased))))
	w.settled[deliveryKey(m.copy, m.delivery)] = true
	if rapid.Bool().Draw(t, "settles") {
		m.putOff()
	} else {
		m.lose()
	}
}

// dies has a connection be lost, of a worker that may go on.
func (w *startModel) dies(t *rapid.T) {
	m := w.some(t, taken)
	if m == nil {
		return
	}
	if m.started {
		w.lost = append(w.lost, m.key(0))
	}
	m.lose()
}

// goesOn has a worker that was cut off say so, or say how it ended.
func (w *startModel) goesOn(t *rapid.T) {
	if len(w.lost) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.lost)-1).Draw(t, "worker")
	k := w.lost[i]
	if rapid.Bool().Draw(t, "says lost") {
		k.Phase = PhaseLost
		w.say(event(k))
		return
	}
	w.lost = slices.Delete(w.lost, i, i+1)
	w.say(w.outcome(t, k))
}

func (w *startModel) resends(*rapid.T) {
	if n := len(w.messages); n < 3 {
		w.messages = append(w.messages, &message{copy: Copy{byte(n + 1)}, resend: true, attempt: 1})
	}
}

// check says that the run goes on unless it has ended.
func (w *startModel) check(t *rapid.T) {
	left := slices.ContainsFunc(w.messages, func(m *message) bool { return !m.gone })
	require.True(t, left || w.ended(), "the run is lost")
}

// goToTheEnd has each message that is left asked about until the run ends.
func (w *startModel) goToTheEnd(t *rapid.T) {
	for !w.ended() {
		var asked bool
		for _, m := range w.messages {
			if m.gone || w.ended() {
				continue
			}
			asked = true
			if m.taken {
				m.lose()
			}
			m.take()
			if w.obey(t, m, w.decide(t, w.request(m))); m.taken && m.started && !m.gone {
				e := event(m.key(PhaseSucceeded))
				w.say(e)
				w.settle(m, e)
			}
		}
		require.True(t, asked, "the run is lost")
	}
}
