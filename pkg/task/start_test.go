package task

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// of makes the event of a message that has a key of run 1, attempt 1.
func of(c Copy, delivery int64, phase Phase) Event {
	return event(Key{Run: 1, Attempt: 1, Delivery: delivery, Phase: phase, Copy: c})
}

// alone makes a STARTED event one of a task that had its process for itself.
func alone(e Event) Event {
	e.Execution.Alone = true
	return e
}

// retrying makes a RETRYING event.
func retrying(c Copy, attempt int, delivery int64, next int) Event {
	e := event(Key{Run: 1, Attempt: attempt, Delivery: delivery, Phase: PhaseRetrying, Copy: c})
	e.NextAttempt = next
	return e
}

func TestDecideStart(t *testing.T) {
	t.Parallel()
	a, b, c := Copy{1}, Copy{2}, Copy{3}
	replayed := event(Key{Run: 2, Attempt: 1, Phase: PhaseQueued, Copy: c})
	ask := func(copy Copy, delivery int64, edit ...func(*StartRequest)) StartRequest {
		r := StartRequest{RequestID: "now", TaskID: testID, Type: testType, Run: 1, Attempt: 1, Copy: copy, Delivery: delivery}
		for _, f := range edit {
			f(&r)
		}
		return r
	}
	once := func(r *StartRequest) { r.AtMostOnce = true }
	settled := func(delivery int64) func(*StartRequest) {
		return func(r *StartRequest) { r.SettledDelivery = delivery }
	}
	putOff := func(from, to int64) func(*StartRequest) {
		return func(r *StartRequest) { r.PutOffFrom, r.PutOffTo = from, to }
	}
	failed := func(n int64) func(*StartRequest) { return func(r *StartRequest) { r.Failed = n } }
	attempt := func(n int) func(*StartRequest) { return func(r *StartRequest) { r.Attempt = n } }
	run := func(n int) func(*StartRequest) { return func(r *StartRequest) { r.Run = n } }

	for name, x := range map[string]struct {
		history []Event
		claim   *Claim
		ask     StartRequest
		verdict StartVerdict
		// outcome and crashed are the keys of the events in the answer.
		outcome, crashed Key
		crashes          int
		// held is the claim after it.
		held Claim
	}{
		"nothing on record": {
			ask: ask(a, 1), verdict: VerdictStart, held: Claim{a, 1, "now"},
		},
		"queued": {
			history: []Event{of(a, 0, PhaseQueued)}, ask: ask(b, 1), verdict: VerdictStart, held: Claim{b, 1, "now"},
		},
		"its own claim": {
			claim: &Claim{Copy: a}, ask: ask(a, 1), verdict: VerdictStart, held: Claim{a, 1, "now"},
		},
		"another's claim": {
			claim: &Claim{b, 4, "then"}, ask: ask(a, 5), verdict: VerdictDrop, held: Claim{b, 4, "then"},
		},
		"another was started unasked": {
			history: []Event{of(b, 1, PhaseStarted)}, ask: ask(a, 1), verdict: VerdictDrop, held: Claim{Copy: b},
		},
		"both were started unasked": {
			history: []Event{of(a, 1, PhaseStarted), of(b, 1, PhaseStarted)}, ask: ask(a, 2), verdict: VerdictStart, held: Claim{a, 2, "now"},
		},
		"another was started, but of another run": {
			history: []Event{of(b, 1, PhaseStarted), of(b, 1, PhaseDeadLettered), replayed}, ask: ask(c, 1, run(2)),
			verdict: VerdictStart, held: Claim{c, 1, "now"},
		},
		"the next run is not on record yet": {
			history: []Event{of(b, 1, PhaseStarted), of(b, 1, PhaseDeadLettered)}, ask: ask(c, 1, run(2)),
			verdict: VerdictStart, held: Claim{c, 1, "now"},
		},
		"a later run is on record": {
			history: []Event{of(a, 1, PhaseStarted), of(a, 1, PhaseDeadLettered), replayed}, ask: ask(a, 2),
			verdict: VerdictDrop, held: Claim{Copy: a},
		},
		"the same request again": {
			claim: &Claim{a, 2, "now"}, ask: ask(a, 2, once), verdict: VerdictStart, held: Claim{a, 2, "now"},
		},
		"a request that comes late": {
			claim: &Claim{a, 4, "then"}, ask: ask(a, 2), verdict: VerdictStart, held: Claim{a, 4, "then"},
		},

		"ended, by this message": {
			history: []Event{of(a, 1, PhaseStarted), of(a, 1, PhaseSucceeded)}, ask: ask(a, 2),
			verdict: VerdictRepeat, outcome: of(a, 1, PhaseSucceeded).Key, held: Claim{Copy: a},
		},
		"given up, by this message": {
			history: []Event{of(a, 1, PhaseStarted), of(a, 1, PhaseDeadLettered)}, claim: &Claim{a, 1, "then"}, ask: ask(a, 2, once),
			verdict: VerdictRepeat, outcome: of(a, 1, PhaseDeadLettered).Key, held: Claim{a, 1, "then"},
		},
		"ended, by another message": {
			history: []Event{of(b, 1, PhaseSucceeded)}, ask: ask(a, 2), verdict: VerdictDrop, held: Claim{Copy: b},
		},
		"given up by this message, done by another": {
			history: []Event{of(a, 1, PhaseDeadLettered), of(b, 1, PhaseSucceeded)}, claim: &Claim{Copy: a}, ask: ask(a, 2),
			verdict: VerdictDrop, held: Claim{Copy: a},
		},

		"the settlement of a retry was lost": {
			history: []Event{of(a, 1, PhaseStarted), retrying(a, 1, 1, 2)}, ask: ask(a, 2, failed(1)),
			verdict: VerdictRepeat, outcome: retrying(a, 1, 1, 2).Key, held: Claim{Copy: a},
		},
		"the settlement of a retry that spent nothing was lost": {
			history: []Event{of(a, 1, PhaseStarted), retrying(a, 1, 1, 1)}, ask: ask(a, 2, failed(1)),
			verdict: VerdictRepeat, outcome: retrying(a, 1, 1, 1).Key, held: Claim{Copy: a},
		},
		"the latest of two retries": {
			history: []Event{retrying(a, 1, 3, 1), retrying(a, 1, 1, 1)}, ask: ask(a, 4),
			verdict: VerdictRepeat, outcome: retrying(a, 1, 3, 1).Key, held: Claim{Copy: a},
		},
		"the settlement was lost, then the message was put off": {
			history: []Event{of(a, 1, PhaseStarted), retrying(a, 1, 1, 2)}, ask: ask(a, 3, settled(2)),
			verdict: VerdictRepeat, outcome: retrying(a, 1, 1, 2).Key, held: Claim{Copy: a},
		},
		"settled as the retry says": {
			history: []Event{of(a, 1, PhaseStarted), retrying(a, 1, 1, 2)}, ask: ask(a, 2, settled(1), attempt(2)),
			verdict: VerdictStart, held: Claim{a, 2, "now"},
		},
		"settled as the retry that spent nothing says": {
			history: []Event{of(a, 1, PhaseStarted), retrying(a, 1, 1, 1)}, ask: ask(a, 2, settled(1)),
			verdict: VerdictStart, held: Claim{a, 2, "now"},
		},
		"a retry of another message": {
			history: []Event{of(a, 1, PhaseStarted), retrying(b, 1, 1, 2)}, ask: ask(a, 2), verdict: VerdictStart, held: Claim{a, 2, "now"},
		},
		"a retry of a delivery to come": {
			history: []Event{of(a, 1, PhaseStarted), retrying(a, 1, 3, 2)}, ask: ask(a, 2), verdict: VerdictStart, held: Claim{a, 2, "now"},
		},

		"at most once, for the first time": {
			claim: &Claim{Copy: a}, ask: ask(a, 3, once, failed(2)), verdict: VerdictStart, crashes: 2, held: Claim{a, 3, "now"},
		},
		"at most once, and permitted before": {
			claim: &Claim{a, 1, "then"}, ask: ask(a, 2, once), verdict: VerdictGiveUp, held: Claim{a, 1, "then"},
		},
		"at most once, permitted to a worker that has put it off": {
			claim: &Claim{a, 1, "then"}, ask: ask(a, 2, once, putOff(1, 1)), verdict: VerdictStart, held: Claim{a, 2, "now"},
		},
		"at most once, permitted to a worker that was lost before another put it off": {
			claim: &Claim{a, 1, "then"}, ask: ask(a, 3, once, putOff(2, 2)), verdict: VerdictGiveUp, held: Claim{a, 1, "then"},
		},
		"at most once, permitted after it was put off": {
			claim: &Claim{a, 3, "then"}, ask: ask(a, 4, once, putOff(2, 2)), verdict: VerdictGiveUp, held: Claim{a, 3, "then"},
		},

		"at most once, and not begun": {
			history: []Event{of(a, 1, PhaseStarted), notBegun(of(a, 1, PhaseReleased))}, claim: &Claim{a, 1, "then"}, ask: ask(a, 2, once, putOff(1, 1)),
			verdict: VerdictStart, held: Claim{a, 2, "now"},
		},
		"at most once, and not begun, but the settlement was lost": {
			history: []Event{of(a, 1, PhaseStarted), notBegun(of(a, 1, PhaseReleased)), of(a, 1, PhaseLost)}, claim: &Claim{a, 1, "then"}, ask: ask(a, 2, once, failed(1)),
			verdict: VerdictStart, held: Claim{a, 2, "now"},
		},
		"at most once, and given back by a worker that drained": {
			history: []Event{of(a, 1, PhaseStarted), of(a, 1, PhaseReleased)}, claim: &Claim{a, 1, "then"}, ask: ask(a, 2, once),
			verdict: VerdictGiveUp, held: Claim{a, 1, "then"},
		},
		"at most once, and not begun before it was permitted again": {
			history: []Event{of(a, 1, PhaseStarted), notBegun(of(a, 1, PhaseReleased))}, claim: &Claim{a, 2, "then"}, ask: ask(a, 3, once, putOff(1, 1)),
			verdict: VerdictGiveUp, held: Claim{a, 2, "then"},
		},
		"at most once, and asked late by whose turn has passed": {
			history: []Event{of(a, 2, PhaseStarted), notBegun(of(a, 2, PhaseReleased))}, claim: &Claim{a, 2, "then"}, ask: ask(a, 1, once),
			verdict: VerdictGiveUp, held: Claim{a, 2, "then"},
		},
		"at most once, asked for in vain, then given back and put off by others": {
			history: []Event{notBegun(of(a, 5, PhaseReleased))}, claim: &Claim{a, 5, "then"}, ask: ask(a, 8, once, putOff(7, 7)),
			verdict: VerdictStart, held: Claim{a, 8, "now"},
		},
		"at most once, asked for in vain by a worker that was cut off": {
			history: []Event{notBegun(of(a, 5, PhaseReleased)), of(a, 5, PhaseLost)}, claim: &Claim{a, 5, "then"}, ask: ask(a, 6, once, failed(1)),
			verdict: VerdictStart, held: Claim{a, 6, "now"},
		},
		"at most once, and not begun in another run": {
			history: []Event{event(Key{Run: 2, Attempt: 1, Phase: PhaseQueued, Copy: a}), notBegun(of(a, 1, PhaseReleased))},
			claim:   &Claim{a, 1, "then"}, ask: ask(a, 2, once, run(2)), verdict: VerdictGiveUp, held: Claim{a, 1, "then"},
		},
		"a replay that was not begun": {
			history: []Event{replayed, event(Key{Run: 2, Attempt: 1, Delivery: 1, Phase: PhaseStarted, Copy: c}),
				notBegun(event(Key{Run: 2, Attempt: 1, Delivery: 1, Phase: PhaseReleased, Copy: c}))},
			claim: &Claim{c, 1, "then"}, ask: ask(c, 2, run(2), putOff(1, 1)), verdict: VerdictStart, held: Claim{c, 2, "now"},
		},

		"crashes": {
			history: []Event{of(a, 1, PhaseStarted)}, ask: ask(a, 3, failed(2)), verdict: VerdictStart, crashes: 2, held: Claim{a, 3, "now"},
		},
		"crashes, one survived": {
			history: []Event{of(a, 1, PhaseStarted), of(a, 1, PhaseLost)}, ask: ask(a, 3, failed(2)),
			verdict: VerdictStart, crashes: 1, held: Claim{a, 3, "now"},
		},
		"more survived than the broker counts": {
			history: []Event{of(a, 1, PhaseStarted), of(a, 1, PhaseLost)}, ask: ask(a, 2), verdict: VerdictStart, held: Claim{a, 2, "now"},
		},
		"survived before it was settled": {
			history: []Event{of(a, 1, PhaseStarted), of(a, 1, PhaseLost)}, ask: ask(a, 4, settled(2), failed(1)),
			verdict: VerdictStart, crashes: 1, held: Claim{a, 4, "now"},
		},
		"crashed alone": {
			history: []Event{of(a, 1, PhaseStarted), alone(of(a, 3, PhaseStarted))}, ask: ask(a, 4, failed(3)),
			verdict: VerdictStart, crashes: 3, crashed: of(a, 3, PhaseStarted).Key, held: Claim{a, 4, "now"},
		},
		"crashed alone, then was not started": {
			history: []Event{alone(of(a, 3, PhaseStarted))}, ask: ask(a, 5, failed(4)),
			verdict: VerdictStart, crashes: 4, crashed: of(a, 3, PhaseStarted).Key, held: Claim{a, 5, "now"},
		},
		"crashed alone, then survived alone": {
			history: []Event{alone(of(a, 3, PhaseStarted)), alone(of(a, 4, PhaseStarted)), of(a, 4, PhaseLost)}, ask: ask(a, 5, failed(2)),
			verdict: VerdictStart, crashes: 1, crashed: of(a, 3, PhaseStarted).Key, held: Claim{a, 5, "now"},
		},
		"survived alone": {
			history: []Event{of(a, 1, PhaseStarted), alone(of(a, 3, PhaseStarted)), of(a, 3, PhaseLost)}, ask: ask(a, 4, failed(2)),
			verdict: VerdictStart, crashes: 1, held: Claim{a, 4, "now"},
		},
		"released alone": {
			history: []Event{alone(of(a, 3, PhaseStarted)), of(a, 3, PhaseReleased)}, ask: ask(a, 4, failed(1)),
			verdict: VerdictStart, crashes: 1, held: Claim{a, 4, "now"},
		},
		"not begun alone": {
			history: []Event{alone(of(a, 3, PhaseStarted)), notBegun(of(a, 3, PhaseReleased))}, ask: ask(a, 4, failed(2), putOff(3, 3)),
			verdict: VerdictStart, crashes: 2, held: Claim{a, 4, "now"},
		},
		"crashed alone before it was settled": {
			history: []Event{alone(of(a, 3, PhaseStarted))}, ask: ask(a, 5, settled(4), attempt(2), failed(1)),
			verdict: VerdictStart, crashes: 1, held: Claim{a, 5, "now"},
		},
		"alone, and no delivery failed": {
			history: []Event{alone(of(a, 3, PhaseStarted))}, ask: ask(a, 4), verdict: VerdictStart, held: Claim{a, 4, "now"},
		},
		"another message crashed alone": {
			history: []Event{of(a, 1, PhaseStarted), alone(of(b, 2, PhaseStarted))}, ask: ask(a, 4, failed(1)),
			verdict: VerdictStart, crashes: 1, held: Claim{a, 4, "now"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			known, history := knownOf(x.history)
			answer, held := DecideStart(x.ask, known, history, x.claim)
			require.Equal(t, x.verdict, answer.Verdict)
			require.Equal(t, x.held, held)
			require.Equal(t, x.crashes, answer.Crashes)
			require.Equal(t, x.outcome, keyOfEvent(answer.Outcome))
			require.Equal(t, x.crashed, keyOfEvent(answer.Crashed))
			again, same := DecideStart(x.ask, known, history, &held)
			require.Equal(t, answer, again, "the same request again")
			require.Equal(t, held, same)
		})
	}
}

func TestHolder(t *testing.T) {
	t.Parallel()
	a, b := Copy{1}, Copy{2}
	for name, x := range map[string]struct {
		history []Event
		claim   *Claim
		want    Claim
	}{
		"nothing on record":                {want: Claim{Copy: a}},
		"claimed by another":               {claim: &Claim{b, 1, "r"}, want: Claim{b, 1, "r"}},
		"claimed by itself":                {claim: &Claim{a, 1, "r"}, want: Claim{a, 1, "r"}},
		"another is queued":                {history: []Event{of(b, 0, PhaseQueued)}, want: Claim{Copy: a}},
		"another was started":              {history: []Event{of(b, 1, PhaseStarted), of(b, 1, PhaseReleased)}, want: Claim{Copy: b}},
		"it was started too":               {history: []Event{of(a, 1, PhaseStarted), of(b, 1, PhaseStarted)}, want: Claim{Copy: a}},
		"another has ended the run":        {history: []Event{of(a, 1, PhaseStarted), of(b, 1, PhaseCancelled)}, want: Claim{Copy: b}},
		"another has ended the run before": {history: []Event{event(Key{Run: 2, Attempt: 1, Phase: PhaseQueued, Copy: b}), of(b, 1, PhaseDeadLettered)}, want: Claim{Copy: a}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			known, history := knownOf(x.history)
			require.Equal(t, x.want, Holder(known, history, x.claim, 1, a))
		})
	}
}

// knownOf joins events as a store does for who decides about starts: nil is a
// task that is not known.
func knownOf(events []Event) (*Task, []NumberedEvent) {
	joined, history := join(events)
	if joined.State == 0 {
		return nil, nil
	}
	return &joined, slices.DeleteFunc(history, func(e NumberedEvent) bool { return e.Key.Phase == PhaseMessage })
}

func keyOfEvent(e *Event) Key {
	if e == nil {
		return Key{}
	}
	return e.Key
}

func TestValidateOfRetrying(t *testing.T) {
	t.Parallel()
	good := event(Key{Run: 1, Attempt: 2, Delivery: 1, Phase: PhaseRetrying})
	require.NoError(t, good.Validate())
	for name, spoil := range map[string]func(*Event){
		"no time":                      func(e *Event) { e.NextAttemptTime = time.Time{} },
		"no next attempt":              func(e *Event) { e.NextAttempt = 0 },
		"an earlier one":               func(e *Event) { e.NextAttempt = 1 },
		"next attempt, beyond 32 bits": func(e *Event) { e.NextAttempt = 1 << 31 },
	} {
		e := good
		spoil(&e)
		require.Error(t, e.Validate(), name)
	}
}
