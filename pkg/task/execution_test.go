package task

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestRecordsOfAnyHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		history := drawHistory(t)
		records := Records(history)
		var starts []Key
		for _, e := range history {
			if e.Key.Phase == PhaseStarted {
				starts = append(starts, e.Key)
			}
		}
		slices.SortFunc(starts, Key.Compare)
		require.Len(t, records, len(starts))
		spent := map[[2]int]bool{}
		for i, r := range records {
			require.Equal(t, starts[i], r.Key)
			require.NotZero(t, r.Outcome)
			number := [2]int{r.Key.Run, r.Key.Attempt}
			require.Equal(t, spent[number] || r.Redelivered, r.Extra)
			retried := !r.NextAttemptTime.IsZero()
			require.Equal(t, retried && r.Failure == nil, r.Outcome == OutcomeSnoozed)
			if r.Outcome == OutcomeReleased && r.Decision != "" {
				continue // nothing was begun: what holds of the attempt is what held before
			}
			spent[number] = r.Outcome != OutcomeSnoozed
		}
	})
}

// drawHistory draws any history, in which some handlers could not begin.
func drawHistory(t *rapid.T) []NumberedEvent {
	events := drawEvents(t)
	for i, e := range events {
		if e.Key.Phase == PhaseReleased && rapid.Bool().Draw(t, "not begun") {
			events[i] = notBegun(e)
		}
	}
	_, history := join(events)
	return history
}

func TestRecordsDoNotDependOnTheOrderOfArrival(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		history := drawHistory(t)
		shuffled := rapid.Permutation(history).Draw(t, "shuffled")
		require.Equal(t, Records(history), Records(shuffled))
	})
}

// notBegun makes a RELEASED event that of a start whose handler could not begin.
func notBegun(e Event) Event {
	e.Decision = "not begun: no connection"
	return e
}

func TestRecords(t *testing.T) {
	t.Parallel()
	at := func(run, attempt int, delivery int64, phase Phase) Event {
		return event(Key{Run: run, Attempt: attempt, Delivery: delivery, Phase: phase})
	}
	other := func(e Event) Event {
		e.Key.Copy = Copy{2}
		return e
	}
	redelivered := at(1, 1, 2, PhaseStarted)
	redelivered.Execution = &Execution{Host: "h", Redelivered: true}
	type outcome struct {
		Outcome Outcome
		Extra   bool
	}
	for name, c := range map[string]struct {
		events []Event
		want   []outcome
	}{
		"running":   {[]Event{at(1, 1, 1, PhaseStarted)}, []outcome{{OutcomeRunning, false}}},
		"succeeded": {[]Event{at(1, 1, 1, PhaseStarted), at(1, 1, 1, PhaseSucceeded)}, []outcome{{OutcomeSucceeded, false}}},
		"released, then started again": {
			[]Event{at(1, 1, 1, PhaseStarted), at(1, 1, 1, PhaseReleased), at(1, 1, 2, PhaseStarted)},
			[]outcome{{OutcomeReleased, false}, {OutcomeRunning, true}},
		},
		"not begun, then started again": {
			[]Event{at(1, 1, 1, PhaseStarted), notBegun(at(1, 1, 1, PhaseReleased)), at(1, 1, 2, PhaseStarted)},
			[]outcome{{OutcomeReleased, false}, {OutcomeRunning, false}},
		},
		"not begun twice, then released": {
			[]Event{
				at(1, 1, 1, PhaseStarted), notBegun(at(1, 1, 1, PhaseReleased)), at(1, 1, 2, PhaseStarted), notBegun(at(1, 1, 2, PhaseReleased)),
				at(1, 1, 3, PhaseStarted), at(1, 1, 3, PhaseReleased), at(1, 1, 4, PhaseStarted),
			},
			[]outcome{{OutcomeReleased, false}, {OutcomeReleased, false}, {OutcomeReleased, false}, {OutcomeRunning, true}},
		},
		"lost, then not begun": {
			[]Event{
				at(1, 1, 1, PhaseStarted), at(1, 1, 1, PhaseLost), at(1, 1, 2, PhaseStarted), notBegun(at(1, 1, 2, PhaseReleased)), at(1, 1, 3, PhaseStarted),
			},
			[]outcome{{OutcomeLost, false}, {OutcomeReleased, true}, {OutcomeRunning, true}},
		},
		"not begun in an attempt that follows a failed one": {
			[]Event{
				at(1, 1, 1, PhaseStarted), at(1, 1, 1, PhaseRetrying), at(1, 2, 2, PhaseStarted), notBegun(at(1, 2, 2, PhaseReleased)), at(1, 2, 3, PhaseStarted),
			},
			[]outcome{{OutcomeFailed, false}, {OutcomeReleased, false}, {OutcomeRunning, false}},
		},
		"not begun, and its connection was lost": {
			[]Event{at(1, 1, 1, PhaseStarted), at(1, 1, 1, PhaseLost), notBegun(at(1, 1, 1, PhaseReleased)), at(1, 1, 2, PhaseStarted)},
			[]outcome{{OutcomeReleased, false}, {OutcomeRunning, false}},
		},
		"delivered again without a word of the first": {
			[]Event{at(1, 1, 1, PhaseStarted), at(1, 1, 2, PhaseStarted)},
			[]outcome{{OutcomeLost, false}, {OutcomeRunning, true}},
		},
		"redelivered, the first start unknown": {
			[]Event{redelivered}, []outcome{{OutcomeRunning, true}},
		},
		"said lost, and went on": {
			[]Event{at(1, 1, 1, PhaseStarted), at(1, 1, 1, PhaseLost), at(1, 1, 1, PhaseSucceeded)},
			[]outcome{{OutcomeSucceeded, false}},
		},
		"given up by the broker": {
			[]Event{at(1, 1, 1, PhaseStarted), at(1, 1, 9, PhaseDeadLettered)},
			[]outcome{{OutcomeLost, false}},
		},
		"ended by the first, the second still runs": {
			[]Event{at(1, 1, 1, PhaseStarted), at(1, 1, 2, PhaseStarted), at(1, 1, 1, PhaseSucceeded)},
			[]outcome{{OutcomeSucceeded, false}, {OutcomeRunning, true}},
		},
		"two messages of the task at once": {
			[]Event{at(1, 1, 1, PhaseStarted), other(at(1, 1, 1, PhaseStarted))},
			[]outcome{{OutcomeRunning, false}, {OutcomeRunning, true}},
		},
		"a later run": {
			[]Event{at(1, 1, 1, PhaseStarted), other(at(2, 1, 1, PhaseStarted))},
			[]outcome{{OutcomeLost, false}, {OutcomeRunning, false}},
		},
		"dead for a reason that nobody has described": {
			[]Event{at(1, 1, 1, PhaseStarted), withFailure(at(1, 1, 1, PhaseDeadLettered), nil)},
			[]outcome{{OutcomeFailed, false}},
		},
		"retried": {
			[]Event{at(1, 1, 1, PhaseStarted), at(1, 1, 1, PhaseRetrying), at(1, 2, 2, PhaseStarted)},
			[]outcome{{OutcomeFailed, false}, {OutcomeRunning, false}},
		},
		"retried, but the settlement was lost and nobody asked": {
			[]Event{at(1, 1, 1, PhaseStarted), at(1, 1, 1, PhaseRetrying), at(1, 1, 2, PhaseStarted)},
			[]outcome{{OutcomeFailed, false}, {OutcomeRunning, true}},
		},
		"said lost, and retried": {
			[]Event{at(1, 1, 1, PhaseStarted), at(1, 1, 1, PhaseRetrying), at(1, 1, 1, PhaseLost)},
			[]outcome{{OutcomeFailed, false}},
		},
		"retried, and succeeded all the same": {
			[]Event{at(1, 1, 1, PhaseStarted), at(1, 1, 1, PhaseRetrying), at(1, 1, 1, PhaseSucceeded)},
			[]outcome{{OutcomeSucceeded, false}},
		},
		"the next attempt shows that one was lost": {
			[]Event{at(1, 1, 1, PhaseStarted), at(1, 2, 2, PhaseRetrying)},
			[]outcome{{OutcomeLost, false}},
		},
		"each kind of failure": {
			[]Event{
				at(1, 1, 1, PhaseStarted), withKind(at(1, 1, 1, PhaseRetrying), KindError),
				at(1, 2, 3, PhaseStarted), withKind(at(1, 2, 3, PhaseRetrying), KindTimeout),
				at(1, 3, 5, PhaseStarted), withKind(at(1, 3, 5, PhaseRetrying), KindPanic),
				at(1, 4, 7, PhaseStarted), withKind(at(1, 4, 7, PhaseDeadLettered), KindCrash),
			},
			[]outcome{{OutcomeFailed, false}, {OutcomeTimedOut, false}, {OutcomePanicked, false}, {OutcomeCrashed, false}},
		},
		"snoozed, which spends nothing": {
			[]Event{at(1, 1, 2, PhaseStarted), at(1, 1, 2, PhaseRetrying), at(1, 1, 4, PhaseStarted), at(1, 1, 4, PhaseRetrying), at(1, 1, 6, PhaseStarted)},
			[]outcome{{OutcomeSnoozed, false}, {OutcomeSnoozed, false}, {OutcomeRunning, false}},
		},
		"a failure that is ignored": {
			[]Event{at(1, 1, 2, PhaseStarted), withKind(at(1, 1, 2, PhaseRetrying), KindTimeout), at(1, 1, 4, PhaseStarted)},
			[]outcome{{OutcomeTimedOut, false}, {OutcomeRunning, false}},
		},
		"snoozed, then lost": {
			[]Event{at(1, 1, 2, PhaseStarted), at(1, 1, 2, PhaseRetrying), at(1, 1, 4, PhaseStarted), at(1, 1, 5, PhaseStarted)},
			[]outcome{{OutcomeSnoozed, false}, {OutcomeLost, false}, {OutcomeRunning, true}},
		},
		"a next attempt": {
			[]Event{at(1, 1, 1, PhaseStarted), at(1, 1, 1, PhaseReleased), at(1, 2, 2, PhaseStarted)},
			[]outcome{{OutcomeReleased, false}, {OutcomeRunning, false}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, history := join(c.events)
			var got []outcome
			for _, r := range Records(history) {
				got = append(got, outcome{r.Outcome, r.Extra})
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestRecordOfARetry(t *testing.T) {
	t.Parallel()
	start := event(Key{Run: 1, Attempt: 1, Delivery: 1, Phase: PhaseStarted})
	start.Execution.Alone = true
	end := event(Key{Run: 1, Attempt: 1, Delivery: 1, Phase: PhaseRetrying})
	_, history := join([]Event{end, start})
	require.Equal(t, []Record{{
		Key: start.Key, WorkerID: "w", Execution: Execution{Host: "h", Version: "v", Alone: true},
		StartTime: start.Time, EndTime: end.Time, Outcome: OutcomeFailed, Failure: end.Failure,
		Decision: end.Decision, NextAttemptTime: end.NextAttemptTime,
	}}, Records(history))
}

func TestRecordOfAStartThatWasNotBegun(t *testing.T) {
	t.Parallel()
	start := event(Key{Run: 1, Attempt: 1, Delivery: 1, Phase: PhaseStarted})
	end := notBegun(event(Key{Run: 1, Attempt: 1, Delivery: 1, Phase: PhaseReleased}))
	_, history := join([]Event{start, end})
	require.Equal(t, []Record{{
		Key: start.Key, WorkerID: "w", Execution: *start.Execution, StartTime: start.Time, EndTime: end.Time,
		Outcome: OutcomeReleased, Decision: end.Decision,
	}}, Records(history))
}

func withFailure(e Event, f *Failure) Event {
	e.Failure = f
	return e
}

func withKind(e Event, k FailureKind) Event {
	return withFailure(e, &Failure{Code: 14, Kind: k})
}
