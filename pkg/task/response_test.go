package task

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Each execution has what its own call answered, that of a correction too; one
// that has not ended has nothing.
func TestRecordsHaveWhatTheirCallsAnswered(t *testing.T) {
	t.Parallel()
	at := func(attempt int, phase Phase) Event {
		e := event(Key{Run: 1, Attempt: attempt, Delivery: int64(attempt), Phase: phase})
		if phase != PhaseStarted {
			e.Headers, e.Trailers = Metadata{"h": {string('a' + rune(phase))}}, Metadata{"t": {string('a' + rune(attempt))}}
		}
		return e
	}
	retrying, dead, succeeded := at(1, PhaseRetrying), at(2, PhaseDeadLettered), at(2, PhaseSucceeded)
	_, history := join([]Event{at(1, PhaseStarted), retrying, at(2, PhaseStarted), dead, succeeded, at(3, PhaseStarted)})
	records := Records(history)
	require.Len(t, records, 3)
	for i, want := range []Event{retrying, succeeded, {}} {
		require.Equal(t, want.Headers, records[i].Headers)
		require.Equal(t, want.Trailers, records[i].Trailers)
	}
}
