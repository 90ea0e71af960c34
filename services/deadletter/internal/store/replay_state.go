package store

import (
	"time"

	"github.com/warrenmq/warren/pkg/filter"
)

// ReplayState is where a replay stands. The numbers are those of
// warren.deadletter.v1.ReplayState; the zero value is no state.
type ReplayState int

// The states of a replay.
const (
	// ReplayPending: its time has not come.
	ReplayPending ReplayState = iota + 1
	// ReplayCanary: its first items must succeed before another is begun.
	ReplayCanary
	// ReplayRunning: its items are begun.
	ReplayRunning
	// ReplayPaused: nothing is begun until it is resumed.
	ReplayPaused
	// ReplayCompleted: every item has ended.
	ReplayCompleted
	// ReplayCancelled: an operator has it begin nothing any more.
	ReplayCancelled
	// ReplayAborted: too much failed again, so that nothing is begun any more.
	ReplayAborted
)

var replayStateNames = [...]string{"UNSPECIFIED", "PENDING", "CANARY", "RUNNING", "PAUSED", "COMPLETED", "CANCELLED", "ABORTED"}

// String is the state's name as the API spells it.
func (s ReplayState) String() string {
	if s < 0 || int(s) >= len(replayStateNames) {
		return replayStateNames[0]
	}
	return replayStateNames[s]
}

// Begins says whether items are begun in the state.
func (s ReplayState) Begins() bool { return s == ReplayCanary || s == ReplayRunning }

// Over says that nothing is begun any more, for good.
func (s ReplayState) Over() bool {
	return s == ReplayCompleted || s == ReplayCancelled || s == ReplayAborted
}

// Expiry says when replayed tasks expire. The numbers are those of
// warren.deadletter.v1.ExpiryMode; the zero value is ExpiryNone.
type Expiry int

// The ways.
const (
	// ExpiryNone: never.
	ExpiryNone Expiry = iota + 1
	// ExpiryKept: when they would have the first time.
	ExpiryKept
	// ExpiryRenewed: as long after the replay as they had after their submission.
	ExpiryRenewed
)

// Plan says how a replay goes. Zero values are none, or the default.
type Plan struct {
	// MaxPerSecond bounds how many items are begun; 0 is as many as can be.
	MaxPerSecond float64 `json:"max_per_second,omitempty"`
	// MaxInFlight bounds the items that were begun and have not ended; above 0.
	MaxInFlight int `json:"max_in_flight,omitempty"`
	// Canary is how many must succeed first.
	Canary int `json:"canary,omitempty"`
	// AbortRatio is the share of failures above which the replay is aborted, from the
	// tenth end on; 0 is never.
	AbortRatio float64 `json:"abort_ratio,omitempty"`
	// Delay is the time from the creation to the begin.
	Delay time.Duration `json:"delay,omitempty"`
	// MaxAttempts is how many each run has; 0 is as the task's policy says.
	MaxAttempts int    `json:"max_attempts,omitempty"`
	Expiry      Expiry `json:"expiry,omitempty"`
	// Revision is that of the payloads; 0 is the last one of each.
	Revision int `json:"revision,omitempty"`
}

// Replay is a set of dead letters whose tasks are to run again.
type Replay struct {
	// ID is a UUIDv7.
	ID string
	// Sequence is its place in the order of creation.
	Sequence int64
	State    ReplayState
	// StateReason says why, for people.
	StateReason string
	// Etag changes with plan and state.
	Etag string
	// Selector is what was asked for, in the caller's encoding.
	Selector []byte
	// Digest and Missing are as of Selection.
	Digest  []byte
	Missing []string
	Plan    Plan
	// By is who created it; its peer is not kept.
	By     Call
	Counts ReplayCounts
	// Handled is how many members, the first ones, were begun or skipped.
	Handled int
	// CreateTime, DueTime, StartTime, UpdateTime and EndTime are when it was created, is
	// to begin, began its first item, changed last, and when everything had ended;
	// zero while that has not happened.
	CreateTime, DueTime, StartTime, UpdateTime, EndTime time.Time
}

// ReplayCounts counts a replay's items; Total is the sum of all others.
type ReplayCounts struct {
	Total, Pending, InFlight, Succeeded, FailedAgain, Cancelled, Skipped int64
	// Unknown are those given up, and those in flight whose outcome is overdue.
	Unknown int64
}

// Stopped says that nothing of it is sent first now: it is paused, cancelled or aborted.
func (r *Replay) Stopped() bool { return r.State == ReplayPaused || r.State.Over() }

// FieldEndTime is when a replay ended, in filters.
const FieldEndTime filter.Field = "end_time"

// ReplayFields is what filters of replays may ask for.
var ReplayFields = filter.Schema{
	FieldState: filter.Names("REPLAY_STATE_", replayStates()), FieldActor: filter.Texts(), FieldReason: filter.Texts(),
	FieldCreateTime: filter.Times(), FieldEndTime: filter.Times(),
}

func replayStates() map[string]int {
	states := map[string]int{}
	for i, name := range replayStateNames {
		if i > 0 {
			states[name] = i
		}
	}
	return states
}
